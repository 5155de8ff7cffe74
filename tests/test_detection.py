import numpy as np
import pytest
import small_checkpoint
from hypothesis import given
from hypothesis import strategies as st
from small_checkpoint import photo

from pose3d_jax.errors import UserError
from pose3d_jax.prediction import detection
from pose3d_jax.prediction.predictor import Predictor
from pose3d_jax.skeleton import MIRROR_ORDER

pytestmark = pytest.mark.usefixtures("compile_quickly")

#: Somebody's joints in units of their height, around the middle.
STANDING = np.array([
    (-0.1, 0.5), (-0.1, 0.25), (-0.06, 0.0), (0.06, 0.0), (0.1, 0.25), (0.12, 0.5), (0.0, 0.0),
    (0.0, -0.2), (0.0, -0.32), (0.0, -0.5), (-0.2, 0.02), (-0.18, -0.12), (-0.12, -0.3),
    (0.12, -0.3), (0.17, -0.14), (0.25, -0.05),
])  # fmt: skip


def blank(width: int, height: int) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


def stand(x: float, y: float, height: float) -> np.ndarray:
    return STANDING * height + (x, y)


def square_of(joints: np.ndarray) -> np.ndarray:
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


@pytest.mark.parametrize("height", [0.2, 0.27, 0.4, 0.6, 0.8, 1.0])
@pytest.mark.parametrize("place", [(0.1, 0.0), (0.5, 0.5), (0.87, 1.0)])
def test_somebody_is_found_from_a_fifth_of_the_height_to_all(height, place):
    width, tall = 640, 480
    x = place[0] * width
    y = height * tall / 2 + place[1] * (1 - height) * tall
    own = stand(x, y, height * tall)
    squares, scores = detection.search(blank(width, tall), network([own]))
    np.testing.assert_allclose(squares[0], square_of(own), rtol=0.05)
    assert scores[0] > 0.3
    assert (scores[1:] < 0.1).all()


def test_everybody_is_found_once():
    people = [stand(90, 250, 300), stand(330, 300, 200), stand(540, 240, 400)]
    squares, scores = detection.search(blank(640, 480), network(people))
    assert (scores > 0.2).sum() == 3 and (scores[3:] < 0.1).all()
    expected = sorted(square_of(own).tolist() for own in people)
    np.testing.assert_allclose(sorted(squares[:3].tolist()), expected, rtol=0.05)


def test_nothing_is_detected_in_an_empty_image():
    boxes, confidences = detection.detect(photo(60, 90), network([]), 32, threshold=0.1)
    assert boxes.shape == (0, 4) and confidences.shape == (0,)


def test_a_large_image_is_reduced_and_boxes_are_in_its_own_px():
    own = stand(2000, 1500, 1400)
    sizes = []

    def predict(image, squares):
        sizes.append(image.shape)
        return network([own * (image.shape[1] / 4000)])(image, squares)

    boxes, _ = detection.detect(blank(4000, 3000), predict, 128, threshold=0.2)
    np.testing.assert_allclose(boxes, detection.as_boxes(square_of(own)[None]), rtol=0.05)
    assert max(sizes[0]) < 700


def test_max_people_keeps_the_most_confident():
    people = [stand(90, 250, 300), stand(330, 300, 200), stand(540, 240, 400)]
    image, predict = blank(640, 480), network(people)
    boxes, confidences = detection.detect(image, predict, 256, threshold=0.2)
    assert len(boxes) == 3 and (np.diff(confidences) <= 0).all()
    two = detection.detect(image, predict, 256, threshold=0.2, max_people=2)
    np.testing.assert_array_equal(two[0], boxes[:2])


def test_a_person_half_of_whose_joints_are_hidden_keeps_the_confidence():
    confidence = np.array([[0.9] * 8 + [0.0] * 8, [0.9] * 16])
    np.testing.assert_allclose(detection.person_confidence(confidence), 0.9)


@given(
    st.integers(60, 900), st.integers(60, 900), st.floats(0.2, 1.0), st.floats(0, 1),
    st.floats(0, 1),
)  # fmt: skip
def test_every_place_and_size_has_a_square_nearby(width, height, share, x, y):
    """Of people upright in the image, who are no taller than twice the image's width."""
    tall = share * min(height, 2 * width)
    centre = (x * width, tall / 2 + y * (height - tall))
    squares = detection.search_grid(width, height)
    zoom = squares[:, 2] / (detection.MARGIN * tall)
    away = np.abs(squares[:, :2] - centre).max(axis=1) / squares[:, 2]
    good = (np.abs(np.log(zoom)) <= np.log(detection.SIZE_STEP)) & (away <= 0.3 + 1e-6)
    assert good.any()
    assert len(squares) < 220 * max(1, width / height)


def ideal_head(people: list[np.ndarray], width: int):
    """A detection head that knows the squares (px of the image of this width) of all people."""

    def head(image):
        factor = max(pixel[1] for pixel in np.argwhere(image.any(-1))) / (width - 1)
        scores, squares = np.zeros((2, image.shape[0] // 16, image.shape[1] // 16, 3))
        for n, square in enumerate(people):
            own = np.array(square) * factor
            row, column = (own[1::-1] // 16).astype(int)
            # As a real head: sizes that it has not seen are less certain.
            scores[row, column] = 0.9 - 0.1 * n - 0.1 * abs(np.log(own[2] / 100))
            squares[row, column] = own
        return scores[..., 0], squares

    return head


def test_a_detection_head_finds_people_of_all_sizes_once():
    people = [(300, 400, 700), (900, 500, 150), (1000, 520, 160), (1100, 100, 60)]
    image = np.full((800, 1200, 3), 100, np.uint8)
    head = ideal_head(people, 1200)
    boxes, confidences = detection.detect(image, network([]), 128, head=head, threshold=0.2)
    # The last is too small for the pyramid's first level; the third is a separate person.
    expected = detection.as_boxes(np.array(people[:3], float))
    np.testing.assert_allclose(boxes, expected, rtol=0.02, atol=2)
    assert (np.diff(confidences) <= 0).all()
    one = detection.detect(image, network([]), 128, head=head, threshold=0.2, max_people=1)
    np.testing.assert_array_equal(one[0], boxes[:1])


def test_left_for_right_is_the_same_person_and_a_neighbour_is_not():
    own = stand(100, 100, 150)
    joints = np.array([own, own[MIRROR_ORDER] + 2, own + np.array([50, 0]), own * 0.5])
    same = detection.same_person(joints, joints)
    assert same[0].tolist() == [True, True, False, False]
    assert detection.distinct(joints, np.array([0.5, 0.9, 0.2, 0.7])).tolist() == [1, 3, 2]


def test_overlapping_poses():
    own = stand(100, 100, 150)
    others = np.array([own, own * 0.5 + 50, own + np.array([60, 0]), own + 300])
    assert detection.overlapping(own[None], others).tolist() == [[True, True, False, False]]


def test_squares_outside_the_image_are_not_plausible():
    squares = np.array([[0.0, 0, 50], [-1, 20, 100], [50, 101, 10], [50, 50, 500]])
    assert detection.plausible(squares, 120, 100).tolist() == [True, False, False, False]


def test_low_peaks_do_not_widen_a_square():
    joints, scores = stand(100, 100, 150)[None].repeat(2, 0), np.ones((2, 16))
    joints[1, 10], scores[1, 10] = (400, 400), 0.1
    squares = detection.squares_around(joints, scores)
    np.testing.assert_allclose(squares[1], squares[0], rtol=0.1)


@pytest.fixture(scope="module")
def predictor(compile_quickly) -> Predictor:
    return Predictor.from_checkpoint(small_checkpoint.directory())


@pytest.fixture
def gullible(monkeypatch):
    """Everything is a detection: the weights are random."""
    monkeypatch.setattr(detection, "THRESHOLD", -np.inf)


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


def test_another_word_is_refused(predictor):
    with pytest.raises(UserError, match="boxes must be"):
        predictor(photo(9, 9), "everyone")


@pytest.mark.parametrize(("width", "height"), [(1, 5000), (30_000, 3), (59_000_000, 3)])
def test_few_pixels_in_a_row_are_no_work_without_end(width, height):
    assert 500 < len(detection.search_grid(width, height)) <= detection.MAX_GRID
