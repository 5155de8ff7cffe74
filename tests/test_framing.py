import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from pose3d_jax.data import framing
from pose3d_jax.data.examples import make_examples, no_augmentation

COUNT, SIDE = 400, 160.0


@pytest.fixture(scope="module")
def batch():
    """People of 120 px in the middle of records of 320 px; the last two joints are unlabelled."""
    rng = np.random.default_rng(0)
    joints = 160 + rng.uniform(-60, 60, (COUNT, 16, 2)).astype(np.float32)
    valid = np.ones((COUNT, 16), bool)
    valid[:, 14:] = False
    joints[:, 14:] = 0.0
    return {
        "image": np.full((COUNT, 320, 320, 3), 255, np.uint8),
        "box": np.tile(np.float32([160, 160, SIDE]), (COUNT, 1)),
        "joints_2d": joints,
        "joints_valid": valid,
        "joints_3d": np.zeros((COUNT, 16, 3), np.float32),
        "has_3d": np.zeros(COUNT, bool),
    }


def draw(batch, cut=0.0, empty=0.0, apply=True):
    config = ml_collections.ConfigDict({"cut_probability": cut, "empty_probability": empty})
    count = len(batch["box"])
    keys = jax.random.split(jax.random.key(0), count)
    made = framing.sample_framing(keys, batch, jnp.full(count, apply), config)
    return jax.tree.map(np.asarray, made)


@pytest.fixture(scope="module")
def many(batch):
    """The same people ten times, half of them small, without their images."""
    people = {name: np.concatenate([batch[name]] * 10) for name in ("joints_2d", "joints_valid")}
    people["joints_2d"][::2] = 160 + 0.3 * (people["joints_2d"][::2] - 160)
    return people | {"box": np.tile(np.float32([163, 155, SIDE]), (10 * COUNT, 1))}


@pytest.fixture(scope="module")
def cut(many):
    return draw(many, cut=1.0)


@pytest.fixture(scope="module")
def empty(many):
    return draw(many, empty=1.0)


#: Index in the window, sign of the direction, share of the cuts, and the least and most that is
#: kept of the labelled joints' extent.
SIDES = {
    "below": (3, 1, 0.6, 0.25),
    "right": (2, 1, 0.15, 0.45),
    "left": (0, -1, 0.15, 0.45),
    "above": (1, -1, 0.1, 0.4),
}


@pytest.mark.parametrize("side", SIDES)
def test_people_end_mostly_below_and_at_most_the_documented_part_is_lost(many, cut, side):
    place, sign, share, least = SIDES[side]
    black = np.isfinite(cut.window).any(1)
    chosen = np.isfinite(cut.window[:, place])
    assert abs(chosen.sum() / black.sum() - share) < 0.04
    joints = np.where(many["joints_valid"][..., None], many["joints_2d"], np.nan)
    along = sign * joints[chosen, :, place % 2]
    low, high = np.nanmin(along, 1), np.nanmax(along, 1)
    kept = (sign * cut.window[chosen, place] - low) / (high - low)
    assert least - 1e-4 <= kept.min() < least + 0.04 and 0.81 < kept.max() <= 0.85 + 1e-4


def test_the_square_of_a_cut_off_person_is_that_of_the_visible_part(many, cut):
    """Joints and the cut, with a margin of 0.3 of the larger extent."""
    chosen = np.flatnonzero(np.isfinite(cut.window).any(1))[:200]
    assert (cut.box[chosen, 2] == np.float32(0.3 * SIDE)).any()
    for i in chosen:
        seen = many["joints_2d"][i][cut.visible[i]]
        first, last = cut.window[i, :2], cut.window[i, 2:]
        low = np.where(np.isfinite(first), first, seen.min(0))
        high = np.where(np.isfinite(last), last, seen.max(0))
        side = max(1.3 * (high - low).max(), 0.3 * SIDE)
        np.testing.assert_allclose(cut.box[i], [*(low + high) / 2, side], rtol=1e-5)


def test_squares_without_a_person_are_small_near_people_or_far_too_large(many, empty):
    ratio = empty.box[:, 2] / SIDE
    large = ratio > 2
    assert 0.25 < large.mean() < 0.31  # A quarter, and where all candidates show people.
    assert 2.8 <= ratio[large].min() < 2.9 and 4.4 < ratio[large].max() <= 4.5
    np.testing.assert_array_equal(empty.box[large, :2], many["box"][large, :2])
    assert 2**-1.7 <= ratio[~large].min() < 0.33 and 1.05 < ratio[~large].max() <= 2**0.2
    joints = np.where(many["joints_valid"][..., None], many["joints_2d"], np.nan)[~large]
    inside = np.abs(joints - empty.box[~large, None, :2]).max(-1) < empty.box[~large, 2:] / 2
    assert inside.sum(1).max() == 1
    away = np.maximum(
        np.nanmin(joints, 1) - empty.box[~large, :2], empty.box[~large, :2] - np.nanmax(joints, 1)
    )
    assert 0.33 * SIDE < away.max() <= 0.35 * SIDE + 1e-3 and away.min() < -0.3 * SIDE


def test_pixels_are_inside_all_four_sides_of_a_window():
    matrix = np.float32([[[2, 0, 10], [0, 3, -5]], [[0, -4, 30], [1, 0, 0]]])
    window = np.float32([[13, 0, 20, 9], [9, 1.2, 25, 4.8]])
    found = np.asarray(framing.is_inside(jnp.asarray(matrix), jnp.asarray(window), 6))
    assert found.any() and not found.all()
    for image, row, column in np.ndindex(2, 6, 6):
        point = matrix[image] @ [column + 0.5, row + 0.5, 1]
        low, high = window[image, :2], window[image, 2:]
        assert found[image, row, column] == ((low <= point) & (point <= high)).all()


@pytest.mark.parametrize("options", [{}, {"cut": 1.0, "apply": False}])
def test_without_it_the_box_and_the_labels_stay(batch, options):
    made = draw(batch, **options)
    np.testing.assert_array_equal(made.box, batch["box"])
    np.testing.assert_array_equal(made.visible, batch["joints_valid"])
    np.testing.assert_array_equal(made.known, batch["joints_valid"])
    assert not np.isfinite(made.window).any()


def test_the_shares_are_those_of_the_config(batch):
    made = draw(batch, cut=0.3, empty=0.2)
    empty = ~made.visible.any(1)
    cut = ~empty & (made.box != batch["box"]).any(1)
    assert abs(empty.mean() - 0.2) < 0.07
    assert abs(cut.mean() - 0.3) < 0.08


def test_cut_off_people_are_seen_inside_the_window_only(batch):
    made = draw(batch, cut=1.0)
    low, high = made.window[:, None, :2], made.window[:, None, 2:]
    inside = ((batch["joints_2d"] >= low) & (batch["joints_2d"] <= high)).all(-1)
    np.testing.assert_array_equal(made.visible, batch["joints_valid"] & inside)
    np.testing.assert_array_equal(made.known, batch["joints_valid"])
    black = np.isfinite(made.window).any(1)
    assert abs(black.mean() - framing.BLACK) < 0.1
    assert (np.isfinite(made.window[black]).sum(1) == 1).all()  # One side is cut.
    assert (made.visible.sum(1) >= framing.FEWEST_JOINTS).all()


def test_the_square_of_a_cut_off_person_holds_all_that_is_visible(batch):
    made = draw(batch, cut=1.0)
    black = np.isfinite(made.window).any(1)
    away = np.abs(batch["joints_2d"] - made.box[:, None, :2]).max(-1)
    inside = away <= made.box[:, 2:] / 2
    assert inside[black][made.visible[black]].all()
    assert (made.box[:, 2] >= framing.SMALLEST * SIDE - 1e-3).all()


def test_empty_squares_show_at_most_one_joint_or_a_far_too_small_person(batch):
    made = draw(batch, empty=1.0)
    away = np.abs(batch["joints_2d"] - made.box[:, None, :2]).max(-1)
    shown = ((away < made.box[:, 2:] / 2) & batch["joints_valid"]).sum(1)
    large = made.box[:, 2] > 2 * SIDE
    assert (shown[~large] <= framing.MOST_JOINTS).all()
    assert large.any() and (~large).any()
    assert not made.visible.any() and made.known.all()


def test_pixels_outside_the_window_are_black_and_maps_of_hidden_joints_empty(batch):
    few = {name: value[:1] for name, value in batch.items()}
    window = jnp.array([[-jnp.inf, -jnp.inf, jnp.inf, 160.0]])  # The lower half is cut off.
    visible = jnp.asarray(few["joints_valid"]) & (few["joints_2d"][..., 1] <= 160.0)
    made = framing.Framing(
        jnp.asarray(few["box"]), window, visible, jnp.asarray(few["joints_valid"])
    )
    example = make_examples(
        few, 64, no_augmentation(1), sigma=1.0, lab_joints="projection", framing=made
    )
    assert (np.asarray(example.images[0, :32]) == 1.0).all()
    assert (np.asarray(example.images[0, 32:]) == 0.0).all()
    drawn = np.asarray(example.heatmaps).max((1, 2)) > 0.1
    np.testing.assert_array_equal(drawn, visible)
    np.testing.assert_array_equal(example.known, few["joints_valid"])
