import numpy as np
import pytest
from small_checkpoint import pose_of
from test_detection import stand

from pose3d_jax.prediction import detection, tracking
from pose3d_jax.prediction.inputs import Options
from pose3d_jax.prediction.pose import Pose
from pose3d_jax.prediction.predictor import Predictor
from pose3d_jax.prediction.tracking import Tracker

RATE = 25.0


def square_of(joints: np.ndarray) -> np.ndarray:
    """The square around a person: centre x, y and side, px."""
    return detection.squares_around(joints[None], np.ones((1, 16)))[0]


def network(people: list[np.ndarray]):
    """A network that answers well where somebody is at its size, and worse the farther off."""

    def predict(image, squares):
        joints, scores = [], []
        for x, y, side in squares:
            best = (np.full((16, 2), (x, y)) + np.linspace(-0.2, 0.2, 16)[:, None] * side, 0.02)
            for own in people:
                cx, cy, own_side = square_of(own)
                zoom = np.log(side / own_side) / np.log(2)
                away = np.hypot(x - cx, y - cy) / side
                score = 0.9 * np.exp(-(zoom**2) - 4 * away**2)
                if score > best[1]:
                    # Only what the square shows can be found in it.
                    seen = np.clip(own, (x - side / 2, y - side / 2), (x + side / 2, y + side / 2))
                    best = seen, score
            joints.append(best[0])
            scores.append(np.full(16, best[1]))
        return np.array(joints), np.array(scores)

    return predict


class Scripted(Predictor):
    """In place of a `Predictor`: the people of every frame are known."""

    def __init__(self, people_of):
        self.people_of, self.detections = people_of, 0

    def squares(self, frame, boxes, *_, **__):
        assert boxes == "auto"
        self.detections += 1
        squares = [square_of(own) for own in self.people_of(int(frame[0, 0, 0]))]
        return np.array(squares).reshape(-1, 3)

    def predict_squares(self, frames, squares, *_):
        (frame,), (squares,) = frames, squares
        joints, confidence = network(self.people_of(int(frame[0, 0, 0])))(frame, squares)
        joints, confidence = np.reshape(joints, (-1, 16, 2)), np.reshape(confidence, (-1, 16))
        return pose_of(joints, confidence=confidence, squares=squares)


def track(people_of, count: int, **options) -> tuple[list[Pose], Scripted]:
    scripted = Scripted(people_of)
    tracker = Tracker(scripted, Options(**options))
    frames = [np.full((480, 640, 3), number, np.uint8) for number in range(count)]
    return [tracker(frame, n / RATE) for n, frame in enumerate(frames)], scripted


def test_people_who_pass_each_other_keep_their_identities():
    def people(t):
        return [stand(100 + 6 * t, 120, 200), stand(500 - 6 * t, 360, 150)]

    poses, scripted = track(people, 60)
    for t, pose in enumerate(poses):
        assert sorted(pose.id.tolist()) == [0, 1]
        order = np.argsort(pose.id)
        if t:  # The first frame's squares are those of detection.
            first = 0 if poses[0].joints_2d[poses[0].id == 0][0, 0, 0] < 300 else 1
            np.testing.assert_allclose(pose.joints_2d[order[0]], people(t)[first], atol=1)
    assert scripted.detections == pytest.approx(60 / RATE / tracking.INTERVAL, abs=1)


def test_newcomers_are_found_within_a_second():
    def people(t):
        return [stand(100, 240, 200)] + [stand(450, 240, 200)] * (t >= 20)

    poses, _ = track(people, 80)
    counts = np.array([len(pose) for pose in poses])
    assert (counts[:20] == 1).all() and (counts[20 + int(RATE) :] == 2).all()
    assert {tuple(sorted(pose.id)) for pose in poses} == {(0,), (0, 1)}


@pytest.mark.parametrize(("gap", "ids"), [(15, {0, 1}), (80, {0, 1, 2})])
def test_identities_are_kept_through_short_gaps(gap, ids):
    def people(t):
        gone = 10 <= t < 10 + gap
        return [stand(100, 240, 200)] + [stand(450, 240, 200)] * (not gone)

    poses, _ = track(people, 60 + gap)
    assert {number for pose in poses for number in pose.id.tolist()} == ids
    assert len(poses[-1]) == 2 and len(poses[11]) == 1


def test_empty_frames_and_max_people():
    poses, scripted = track(lambda t: [], 60)
    assert all(len(pose) == 0 for pose in poses) and scripted.detections <= 5
    everyone = [stand(100, 240, 200), stand(300, 240, 190), stand(520, 240, 210)]
    poses, _ = track(lambda t: everyone, 30, max_people=2)
    assert all(len(pose) == 2 for pose in poses)
