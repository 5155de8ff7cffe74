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
    keys = jax.random.split(jax.random.key(0), COUNT)
    made = framing.sample_framing(keys, batch, jnp.full(COUNT, apply), config)
    return jax.tree.map(np.asarray, made)


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
