"""Tracking: people in a video keep their identity from frame to frame.

Each frame's squares are those around the joints of the frame before. People are detected in the
first frame and about twice a second; a detection that overlaps no tracked person starts a new
identity, or continues that of a person lost nearby a short time before.
"""

import dataclasses

import numpy as np
from jaxtyping import UInt8

from pose3d_jax.prediction import detection
from pose3d_jax.prediction.arguments import AUTO
from pose3d_jax.prediction.inputs import Options
from pose3d_jax.prediction.pose import Pose
from pose3d_jax.prediction.predictor import Predictor

#: Seconds between two detections: people are found within a second of their arrival.
INTERVAL = 0.6
#: Seconds for which the identity of a lost person is kept.
MEMORY = 2.0
#: A tracked person is lost below this share of the detection threshold.
HYSTERESIS = 0.7
#: A lost person reappears within this many sides of the last square, per second, at sizes of at
#: most this ratio.
SPEED, RATIO = 1.0, 2.0


class Tracker:
    """Predicts the frames of a video in their order, without boxes.

    Args:
        predictor: that predicts.
        options: how to detect and to predict.
    """

    def __init__(self, predictor: Predictor, options: Options = Options()):  # noqa: B008
        self._predictor, self._options = predictor, options
        default = detection.THRESHOLD
        self._threshold = default if options.threshold is None else options.threshold
        self._squares, self._ids = np.zeros((0, 3)), np.zeros(0, np.int32)
        # Last square (centre x, y and side, px) of lost people, and its time, s, by identity.
        self._lost: dict[int, tuple[np.ndarray, float]] = {}
        self._next_id, self._next_detection = 0, -np.inf

    def __call__(self, frame: UInt8[np.ndarray, "_ _ 3"], time: float) -> Pose:
        """The people of the next frame, with `Pose.id`; those tracked the longest come first.

        `time` is s, and at least that of the frame before.
        """
        before = dict(zip(self._ids.tolist(), self._squares))
        pose = self._predict(frame, self._squares, self._ids)
        lost = {i: (square, time) for i, square in before.items() if i not in pose.id}
        self._lost = {i: x for i, x in self._lost.items() if time - x[1] <= MEMORY} | lost
        if time >= self._next_detection:
            self._next_detection = time + INTERVAL
            limit = self._options.max_people
            if limit is None or len(pose) < limit:
                pose = self._with_detections(frame, time, pose)
        self._squares = detection.squares_around(pose.joints_2d, pose.confidence)
        self._ids = pose.id
        return pose

    def _with_detections(self, frame, time: float, pose: Pose) -> Pose:
        squares = self._predictor.squares(frame, AUTO, threshold=self._threshold)
        # Tracked people come first: of two poses of one person the first stays.
        tracked = detection.squares_around(pose.joints_2d, pose.confidence)
        everyone = np.concatenate([tracked, squares])
        unknown = np.full(len(squares), -1, np.int32)
        pose = self._predict(frame, everyone, np.concatenate([pose.id, unknown]))
        new = pose.id < 0
        covered = detection.overlapping(pose.joints_2d, pose.joints_2d[~new]).any(axis=1)
        pose = pose[~(new & covered)][: self._options.max_people]
        ids = [
            self._identify(square, time) if i < 0 else i for i, square in zip(pose.id, pose.squares)
        ]
        return dataclasses.replace(pose, id=np.array(ids, np.int32).reshape(-1))

    def _identify(self, square: np.ndarray, time: float) -> int:
        """The identity of a detected person: of a person lost nearby, or a new one."""
        for number, (last, last_time) in self._lost.items():
            reach = SPEED * max(time - last_time, 0.5) * max(square[2], last[2])
            near = np.linalg.norm(square[:2] - last[:2]) <= reach
            if near and 1 / RATIO <= square[2] / last[2] <= RATIO:
                del self._lost[number]
                return number
        self._next_id += 1
        return self._next_id - 1

    def _predict(self, frame, squares: np.ndarray, ids: np.ndarray) -> Pose:
        """The people in squares, each once, without those below the threshold."""
        chosen = detection.plausible(squares, *frame.shape[1::-1])
        pose = self._predictor.predict_squares(
            [frame], [squares[chosen]], self._options.bone_length_sum, self._options.intrinsics
        )
        pose = dataclasses.replace(pose, id=ids[chosen])
        limit = np.where(pose.id < 0, 1.0, HYSTERESIS) * self._threshold
        pose = pose[pose.person_confidence >= limit]
        order = -np.arange(len(pose), dtype=np.float64)
        kept = detection.distinct(pose.joints_2d, order, detection.same_person)
        return pose[np.sort(kept)]
