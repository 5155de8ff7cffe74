import numpy as np
import pytest
import small_checkpoint
from hypothesis import given
from hypothesis import strategies as st
from small_checkpoint import photo

from pose3d_jax.errors import UserError
from pose3d_jax.prediction import finding
from pose3d_jax.prediction.following import Follower
from pose3d_jax.prediction.predictor import Pose, Predictor
from pose3d_jax.skeleton import MIRROR_ORDER

pytestmark = pytest.mark.usefixtures("compile_quickly")

#: Somebody's joints in units of their height, around the middle.
STANDING = np.array([
    (-0.1, 0.5), (-0.1, 0.25), (-0.06, 0.0), (0.06, 0.0), (0.1, 0.25), (0.12, 0.5), (0.0, 0.0),
    (0.0, -0.2), (0.0, -0.32), (0.0, -0.5), (-0.2, 0.02), (-0.18, -0.12), (-0.12, -0.3),
    (0.12, -0.3), (0.17, -0.14), (0.25, -0.05),
])  # fmt: skip


def stand(x: float, y: float, height: float) -> np.ndarray:
    return STANDING * height + (x, y)


def square_of(joints: np.ndarray) -> np.ndarray:
    return finding.squares_of(joints[None], np.ones((1, 16)))[0]


def network(people: list[np.ndarray]):
    """A network that answers well where somebody is at its size, and worse the farther off."""

    def predict(squares):
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
    squares, scores = finding.search(width, tall, network([own]))
    np.testing.assert_allclose(squares[0], square_of(own), rtol=0.05)
    assert scores[0] > 0.3
    assert (scores[1:] < 0.1).all()


def test_everybody_is_found_once():
    people = [stand(90, 250, 300), stand(330, 300, 200), stand(540, 240, 400)]
    squares, scores = finding.search(640, 480, network(people))
    assert (scores > 0.2).sum() == 3 and (scores[3:] < 0.1).all()
    expected = sorted(square_of(own).tolist() for own in people)
    np.testing.assert_allclose(sorted(squares[:3].tolist()), expected, rtol=0.05)


def test_nobody_is_found_where_nobody_is():
    image = photo(60, 90)
    squares, scores = finding.find_people(image, 32, lambda image, s: network([])(s), 0.1)
    assert squares.shape == (0, 3) and scores.shape == (0,)


def test_a_large_image_is_searched_as_a_small_one_and_found_in_its_own_px():
    own = stand(2000, 1500, 1400)
    sizes = []

    def predict(image, squares):
        sizes.append(image.shape)
        factor = image.shape[1] / 4000
        return network([own * factor])(squares)

    squares, _ = finding.find_people(np.zeros((3000, 4000, 3), np.uint8), 128, predict, 0.2)
    np.testing.assert_allclose(squares, [square_of(own)], rtol=0.05)
    assert max(sizes[0]) < 700


@given(
    st.integers(60, 900), st.integers(60, 900), st.floats(0.2, 1.0), st.floats(0, 1),
    st.floats(0, 1),
)  # fmt: skip
def test_every_place_and_size_has_a_square_nearby(width, height, share, x, y):
    """Of people upright in the image, who are no taller than twice the image's width."""
    tall = share * min(height, 2 * width)
    centre = (x * width, tall / 2 + y * (height - tall))
    squares = finding.search_squares(width, height)
    zoom = squares[:, 2] / (finding.MARGIN * tall)
    away = np.abs(squares[:, :2] - centre).max(axis=1) / squares[:, 2]
    good = (np.abs(np.log(zoom)) <= np.log(finding.SIZE_STEP)) & (away <= 0.3 + 1e-6)
    assert good.any()
    assert len(squares) < 600 * max(1, width / height)


def test_left_for_right_is_the_same_person_and_a_neighbour_is_not():
    own = stand(100, 100, 150)
    joints = np.array([own, own[MIRROR_ORDER] + 2, own + np.array([50, 0]), own * 0.5])
    same = finding.same_person(joints, joints)
    assert same[0].tolist() == [True, True, False, False]
    assert finding.distinct(joints, np.array([0.5, 0.9, 0.2, 0.7])).tolist() == [1, 3, 2]


def test_a_find_counts_the_more_the_more_squares_agree():
    joints = np.stack([stand(100, 100, 150), stand(400, 100, 150)])
    scores = np.full((2, 16), 0.8)
    agreeing = [joints[0] + 3 * k for k in range(finding.HALF_SUPPORT)]
    others = np.array([*agreeing, joints[0] + 200])
    np.testing.assert_allclose(finding.sureness(joints, scores, others), [0.4, 0])
    mirrored = others[:, MIRROR_ORDER]
    np.testing.assert_allclose(finding.sureness(joints, scores, mirrored), [0.4, 0])


def test_finds_in_one_place_are_one():
    own = stand(100, 100, 150)
    others = np.array([own, own * 0.5 + 50, own + np.array([60, 0]), own + 300])
    assert finding.in_one_place(own[None], others).tolist() == [[True, True, False, False]]


def test_squares_beyond_the_image_are_nobodys():
    squares = np.array([[0.0, 0, 50], [-1, 20, 100], [50, 101, 10], [50, 50, 500]])
    assert finding.inside(squares, 120, 100).tolist() == [True, False, False, False]


def test_low_peaks_do_not_widen_a_square():
    joints, scores = stand(100, 100, 150)[None].repeat(2, 0), np.ones((2, 16))
    joints[1, 10], scores[1, 10] = (400, 400), 0.1
    squares = finding.squares_of(joints, scores)
    np.testing.assert_allclose(squares[1], squares[0], rtol=0.1)


@pytest.fixture(scope="module")
def predictor(compile_quickly) -> Predictor:
    return Predictor.from_checkpoint(small_checkpoint.directory())


@pytest.fixture
def gullible(monkeypatch):
    """Every find is somebody: the weights are random."""
    monkeypatch.setattr(finding, "THRESHOLD", -np.inf)


def test_auto_predicts_those_who_are_found(predictor, gullible):
    image = photo(60, 80)
    squares, scores = predictor.find(image)
    assert len(squares) and (np.diff(scores) <= 0).all()
    pose = predictor(image, "auto")
    np.testing.assert_allclose(pose.squares, squares, rtol=1e-6)
    again = predictor(image, boxes="auto")
    np.testing.assert_array_equal(pose.joints_3d, again.joints_3d)
    together = predictor([image, image, image], ["auto", None, (5, 5, 30, 30)])
    assert (together.image == 0).sum() == len(squares) and len(together) == len(squares) + 2
    everywhere = predictor([image, image], "auto")
    np.testing.assert_array_equal(everywhere.of_image(1).squares, pose.squares)


def test_auto_finds_nobody_above_the_threshold(predictor):
    squares, scores = predictor.find(photo(60, 80), threshold=np.inf)
    assert len(squares) == len(scores) == 0


def test_another_word_is_refused(predictor):
    with pytest.raises(UserError, match="boxes must be"):
        predictor(photo(9, 9), "everyone")


class Follows(Predictor):
    """In place of a `Predictor`: people whose places in every frame are known."""

    def __init__(self, people_of):
        self.people_of, self.searches = people_of, 0

    def find(self, frame, threshold=None):
        self.searches += 1
        squares = [square_of(own) for own in self.people_of(int(frame[0, 0, 0]))]
        return np.array(squares).reshape(-1, 3), np.ones(len(squares))

    def __call__(self, frame, boxes, **_):
        squares = np.column_stack([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2]])
        people = self.people_of(int(frame[0, 0, 0]))
        joints, scores = network(people)(squares) if len(squares) else (np.zeros((0, 16, 2)), None)
        scores = np.zeros((0, 16)) if scores is None else scores
        zeros = np.zeros((len(squares), 16, 3)), np.zeros(len(squares), np.int32)
        return Pose(joints, zeros[0], scores, squares, zeros[1])


def frames(count: int) -> list[np.ndarray]:
    return [np.full((480, 640, 3), number, np.uint8) for number in range(count)]


def test_people_are_followed_and_keep_their_places():
    """They walk past each other, at a distance; nobody is searched for again."""
    walkers = Follows(lambda t: [stand(100 + 8 * t, 120, 200), stand(500 - 8 * t, 400, 150)])
    poses = Follower(walkers)(frames(40))
    assert poses.image.tolist() == np.repeat(np.arange(40), 2).tolist()
    assert walkers.searches == 1
    for t in range(1, 40):
        np.testing.assert_allclose(poses.of_image(t).joints_2d, walkers.people_of(t), atol=1)


def test_somebody_who_is_lost_is_searched_for_now_and_then():
    def people(t):
        return [stand(100, 200, 200)] + [stand(400, 200, 200)] * (not 10 <= t < 20)

    walkers = Follows(people)
    follower = Follower(walkers)
    parts = [follower(frames(80)[start : start + 16]) for start in range(0, 80, 16)]
    counts = np.concatenate([np.bincount(p.image, minlength=16) for p in parts])
    assert (counts[:10] == 2).all() and (counts[10:20] == 1).all() and counts[-1] == 2
    assert walkers.searches <= 3
    for part in parts:
        np.testing.assert_allclose(part.of_image(0).joints_2d[0], stand(100, 200, 200), atol=1)


def test_where_nobody_is_searches_are_rare():
    empty = Follows(lambda t: [])
    poses = Follower(empty)(frames(60))
    assert len(poses) == 0 and empty.searches == 3


@pytest.mark.parametrize(("width", "height"), [(1, 5000), (30_000, 3), (59_000_000, 3)])
def test_few_pixels_in_a_row_are_no_work_without_end(width, height):
    assert 1000 < len(finding.search_squares(width, height)) <= finding.MOST
