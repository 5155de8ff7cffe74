import numpy as np
import pytest
import small_checkpoint
from scipy import ndimage
from small_checkpoint import photo

from pose3d_jax.models.detector import CELL
from pose3d_jax.prediction import detection
from pose3d_jax.prediction.predictor import Predictor
from pose3d_jax.skeleton import MIRROR_ORDER

#: Somebody's joints in units of their height, around the middle.
STANDING = np.array([
    (-0.1, 0.5), (-0.1, 0.25), (-0.06, 0.0), (0.06, 0.0), (0.1, 0.25), (0.12, 0.5), (0.0, 0.0),
    (0.0, -0.2), (0.0, -0.32), (0.0, -0.5), (-0.2, 0.02), (-0.18, -0.12), (-0.12, -0.3),
    (0.12, -0.3), (0.17, -0.14), (0.25, -0.05),
])  # fmt: skip


def stand(x: float, y: float, height: float) -> np.ndarray:
    return STANDING * height + (x, y)


def scene(width: int, height: int, people: list[tuple[int, int, int]]) -> np.ndarray:
    """A black image; each person is a disc in an own channel: centre x, y and diameter, px."""
    y, x = np.mgrid[:height, :width] + 0.5
    image = np.zeros((height, width, 3), np.uint8)
    for number, (cx, cy, size) in enumerate(people):
        image[np.hypot(x - cx, y - cy) < size / 2, number] = 255
    return image


def propose(canvas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A detector of discs of the sizes that the real one is trained for."""
    height, width = canvas.shape[0] // CELL, canvas.shape[1] // CELL
    scores, squares = np.zeros((height, width)), np.zeros((height, width, 3))
    for number in (2, 1, 0):
        for rows, columns in ndimage.find_objects(ndimage.label(canvas[..., number] > 127)[0]):
            x, y = (columns.start + columns.stop) / 2, (rows.start + rows.stop) / 2
            if 44 <= (side := 1.3 * (columns.stop - columns.start)) <= 200:
                cell = int(y) // CELL, int(x) // CELL
                scores[cell], squares[cell] = 0.9 - 0.1 * number, (x, y, side)
    return scores, squares


def predict(image: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """People who stand upright in their squares."""
    joints = np.stack([STANDING * side / 1.3 + (x, y) for x, y, side in squares])
    return joints, np.full(joints.shape[:2], 0.9)


@pytest.mark.parametrize("size", [100, 150, 400])
@pytest.mark.parametrize("width", [320, 640, 2000])
def test_a_person_of_any_size_is_detected_once_in_px_of_the_image(size, width):
    size = size * width // 640
    image = scene(width, 3 * width // 4, [(width // 3, width // 3, size)])
    squares, confidences = detection.detect(image, propose, predict, threshold=0.5)
    expected = [width / 3, width / 3, 1.3 * size]
    np.testing.assert_allclose(squares, [expected], atol=0.05 * size + 4)
    np.testing.assert_allclose(confidences, [0.9])


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (300, 300), (200, 10), (7, 90)])
def test_the_levels_of_a_pyramid_lie_side_by_side_and_are_not_enlarged(size):
    image = np.full((*size[::-1], 3), 255, np.uint8)
    canvas, levels = detection.pyramid(image)
    assert all(side % CELL == 0 for side in canvas.shape[:2])
    assert canvas.any(-1).sum() == sum(level.size.prod() for level in levels)
    for (x, y), (width, height), factors in levels:
        assert (canvas[y : y + height, x : x + width] == 255).all() and (factors <= 1).all()
        np.testing.assert_allclose((width, height), factors * size)
    longest = [max(level.size) for level in levels]
    assert longest[0] == min(max(size), 512) and longest[-1] == min(max(size), 128)


def test_people_are_sorted_by_confidence_and_limited():
    image = scene(640, 480, [(110, 250, 150), (330, 300, 180), (540, 240, 160)])
    squares, confidences = detection.detect(image, propose, predict, threshold=0.2)
    assert len(squares) == 3 and (np.diff(confidences) < 0).all()
    two = detection.detect(image, propose, predict, threshold=0.2, max_people=2)
    np.testing.assert_array_equal(two[0], squares[:2])
    few, _ = detection.detect(image, propose, predict, threshold=confidences[1] + 1e-6)
    np.testing.assert_array_equal(few, squares[:1])


def test_confidence_is_the_weighted_geometric_mean_of_detector_and_joints():
    def unsure(image, squares):
        joints, peaks = predict(image, squares)
        return joints, peaks * 0.4

    image = scene(640, 480, [(320, 240, 300)])
    _, confidences = detection.detect(image, propose, unsure, threshold=0.0)
    np.testing.assert_allclose(confidences, [(0.9 * 0.36**3) ** 0.25])


def test_averaged_predictions_decide_on_those_that_are_kept():
    """Two people whose confidences by one pass are equal; the average has seen two, not three."""
    image = scene(640, 480, [(160, 200, 100), (420, 200, 100), (425, 205, 100)])
    asked = []

    def average(image, squares):
        asked.append(squares)
        joints, confidence = predict(image, squares)
        return joints, confidence * np.where(squares[:, :1] < 300, 0.4, 1.0)

    squares, confidences = detection.detect(image, propose, predict, average, threshold=0.0)
    assert len(asked) == 1 and len(asked[0]) == 2
    assert squares[0, 0] > 300 > squares[1, 0]
    expected = np.array([0.8 * 0.9**3, 0.9 * 0.36**3]) ** 0.25
    np.testing.assert_allclose(confidences, expected, atol=1e-6)
    squares, _ = detection.detect(image, propose, predict, average, threshold=0.7)
    assert len(squares) == 1


def test_intersection_over_union_in_closed_form():
    squares = np.array([[0.0, 0.0, 2.0], [1.0, 0.0, 2.0], [5.0, 0.0, 2.0], [0.0, 0.0, 1.0]])
    ratios = detection.intersection_over_union(squares, squares)
    np.testing.assert_allclose(ratios[0], [1.0, 1 / 3, 0.0, 1 / 4])
    np.testing.assert_array_equal(ratios, ratios.T)


def test_a_person_half_of_whose_joints_are_hidden_keeps_the_confidence():
    confidence = np.array([[0.9] * 8 + [0.0] * 8, [0.9] * 16])
    np.testing.assert_allclose(detection.person_confidence(confidence), 0.9)


def test_left_for_right_is_the_same_person_and_a_neighbour_is_not():
    own = stand(100, 100, 150)
    joints = np.array([own, own[MIRROR_ORDER] + 2, own + np.array([50, 0]), own * 0.5])
    same = detection.same_person(joints, joints)
    assert same[0].tolist() == [True, True, False, False]
    part, rest = own.copy(), own.copy()
    part[:8] += 100  # Half of the joints suffice.
    rest[:9] += 100
    assert detection.same_person(own[None], np.array([part, rest])).tolist() == [[True, False]]
    confidence = np.array([0.5, 0.9, 0.2, 0.7])
    assert detection.distinct(joints, confidence, detection.same_person).tolist() == [1, 3, 2]


def test_overlapping_poses():
    own = stand(100, 100, 150)
    others = np.array([own, own * 0.5 + 50, own + np.array([60, 0]), own + 300])
    assert detection.overlapping(own[None], others).tolist() == [[True, True, False, False]]


def test_squares_outside_the_image_are_not_plausible():
    squares = np.array([[0.0, 0, 50], [-1, 20, 100], [50, 101, 10], [50, 50, 500]])
    assert detection.plausible(squares, 120, 100).tolist() == [True, False, False, False]


def test_squares_are_around_joints_with_high_peaks():
    joints, scores = stand(100, 100, 150)[None].repeat(2, 0), np.ones((2, 16))
    joints[1, 10], scores[1, 10] = (400, 400), 0.1  # The right wrist is the leftmost joint.
    squares = detection.squares_around(joints, scores)
    right, left = 100 + 0.25 * 150, np.array([100 - 0.2 * 150, 100 - 0.18 * 150])
    expected = np.stack([(left + right) / 2, [100, 100], [1.3 * 150] * 2], axis=-1)
    np.testing.assert_allclose(squares, expected)
    np.testing.assert_allclose(detection.as_boxes(np.array([[9.0, 5, 4]])), [[7, 3, 4, 4]])


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.from_checkpoint(small_checkpoint.directory())


@pytest.fixture
def gullible(monkeypatch):
    """Everything is a detection: the weights are random."""
    monkeypatch.setattr(detection, "THRESHOLD", -np.inf)
    monkeypatch.setattr(detection, "LOWEST_SCORE", 0.01)


def test_auto_predicts_the_detected_people(predictor, gullible):
    image = photo(60, 80)
    boxes, confidences = predictor.detect(image)
    assert len(boxes) and (np.diff(confidences) <= 0).all()
    pose = predictor(image, "auto", margin=1.25)  # The margin is for given boxes.
    np.testing.assert_allclose(pose.squares, predictor(image, boxes).squares, rtol=1e-6)
    together = predictor([image, image, image], ["auto", None, (5, 5, 30, 30)])
    assert (together.image == 0).sum() == len(boxes) and len(together) == len(boxes) + 2
    everywhere = predictor([image, image], "auto", max_people=1)
    np.testing.assert_array_equal(everywhere.of_image(1).squares, pose.squares[:1])


def test_auto_detects_nobody_above_the_threshold(predictor):
    boxes, confidences = predictor.detect(photo(60, 80), threshold=np.inf)
    assert len(boxes) == len(confidences) == 0
    assert len(predictor(photo(60, 80), "auto", threshold=np.inf)) == 0


@pytest.mark.parametrize(("width", "height"), [(90, 60), (1, 5000), (30_000, 3), (1, 1)])
def test_nobody_is_detected_in_an_empty_image(width, height):
    squares, confidences = detection.detect(scene(width, height, []), propose, predict)
    assert squares.shape == (0, 3) and confidences.shape == (0,)
