"""Clutter beside independent constructions: what is replaced, and by what."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from pose3d_jax.data import clutter
from pose3d_jax.data.examples import make_examples, no_augmentation
from pose3d_jax.models.variables import AXIS

SIDE, COUNT = 16, 500
WHITE, DARK = np.ones((1, SIDE, SIDE, 3), np.float32), np.full((1, SIDE, SIDE, 3), 0.25, np.float32)
JOINTS = np.linspace(6, 10, 32, dtype=np.float32).reshape(1, 16, 2)
ALL = np.ones((1, 16), bool)
EVERYWHERE = np.ones((1, SIDE, SIDE), bool)


def none(**changes):
    """The clutter of one image: none but the changes."""
    neutral = {
        "continued": False, "angles": (0.0, 0.0), "spaces": (np.inf, np.inf),
        "hidden": np.eye(16)[3], "occluder": (0.0, 0.0), "grey": False, "blurred": False,
    }  # fmt: skip
    return clutter.Clutter(*(jnp.asarray(value)[None] for value in (neutral | changes).values()))


def add(images=WHITE, others=DARK, visible=ALL, inside=EVERYWHERE, **changes):
    return np.asarray(
        clutter.add_clutter(images, others, none(**changes), JOINTS, visible, inside)[0]
    )


def draw(clutter_share=0.0, blur=0.0, grey=0.0, apply=True):
    config = ml_collections.ConfigDict(
        {"clutter_probability": clutter_share, "grey_probability": grey, "blur_probability": blur}
    )
    keys = jax.random.split(jax.random.key(0), COUNT)
    made = clutter.sample_clutter(keys, np.full(COUNT, apply), config)
    return jax.tree.map(np.asarray, made)


def test_without_clutter_images_stay():
    random = np.random.default_rng(0).random((1, SIDE, SIDE, 3), np.float32)
    np.testing.assert_array_equal(add(random), random[0])


@pytest.mark.parametrize(
    ("degrees", "axis", "first"), [(0, 1, 12), (90, 0, 12), (180, 1, -4), (270, 0, -4)]
)
def test_a_half_plane_beside_the_joints_shows_the_other_image(degrees, axis, first):
    """Joints reach from 6 to 10 px, and 2 of 16 px are left beside them."""
    image = add(angles=(np.deg2rad(degrees), 0.0), spaces=(2 / SIDE, np.inf))
    where = np.arange(SIDE) >= first if first > 0 else np.arange(SIDE) < -first
    expected = np.where(np.expand_dims(where, 1 - axis), 0.25, 1.0)[..., None]
    np.testing.assert_array_equal(image, np.broadcast_to(expected, image.shape))


def test_joints_that_are_not_visible_do_not_count():
    few = np.arange(16) < 8
    image = add(visible=few[None], spaces=(0.0, np.inf))
    assert (image[0, :, 0] == 0.25).argmax() == np.ceil(JOINTS[0, few, 0].max() - 0.5)


def test_without_a_person_the_half_plane_begins_at_the_middle():
    image = add(visible=~ALL, spaces=(0.0, np.inf))
    assert (image[:, :8] == 1.0).all() and (image[:, 8:] == 0.25).all()


def test_an_occluder_is_in_front_of_the_chosen_joint():
    image = add(occluder=(4 / SIDE, 2 / SIDE))
    rows, columns = np.nonzero(image[..., 0] == 0.25)
    centre = JOINTS[0, 3]
    assert (np.abs(columns + 0.5 - centre[0]) < 2).all() and len(set(columns)) == 4
    assert (np.abs(rows + 0.5 - centre[1]) < 1).all() and len(set(rows)) == 2


@pytest.mark.parametrize("continued", [False, True])
def test_outside_the_image_is_black_or_the_other_one_with_its_person_at_the_border(continued):
    other = np.arange(SIDE * SIDE * 3, dtype=np.float32).reshape(1, SIDE, SIDE, 3) / 1000
    inside = EVERYWHERE.copy()
    inside[:, 10:] = False
    image = add(others=other, inside=inside, continued=continued)
    assert (image[:10] == 1.0).all()
    moved = np.concatenate([other[0, :, 8:], other[0, :, :8]], axis=1)
    np.testing.assert_array_equal(image[10:], moved[10:] * continued)


def test_blurred_images_have_half_the_resolution_and_grey_ones_the_luminance():
    random = np.random.default_rng(0).random((1, SIDE, SIDE, 3), np.float32)
    means = np.float64(random[0]).reshape(SIDE // 2, 2, SIDE // 2, 2, 3).mean((1, 3))
    position = (np.arange(SIDE) + 0.5) / 2 - 0.5
    weights = np.maximum(1 - np.abs(position[:, None] - np.arange(SIDE // 2)), 0)
    weights /= weights.sum(1, keepdims=True)
    expected = np.einsum("yi,xj,ijc->yxc", weights, weights, means)
    np.testing.assert_allclose(add(random, blurred=True), expected, rtol=1e-5)
    grey = add(random, grey=True)
    np.testing.assert_allclose(
        grey, np.repeat(random[0] @ [[0.299], [0.587], [0.114]], 3, 2), rtol=1e-5
    )


def test_the_shares_are_those_of_the_config():
    made = draw(clutter_share=0.6, blur=0.2, grey=0.4)
    beside, hides = np.isfinite(made.spaces), made.occluder.any(1)
    shares = [beside.mean(), hides.mean(), made.blurred.mean(), made.grey.mean()]
    np.testing.assert_allclose(shares, [0.3, 0.6 * clutter.HIDDEN, 0.2, 0.4], atol=0.07)
    assert not beside[~beside.any(1) & hides].any() and (beside.any(1) & hides).any()
    assert abs(made.continued.mean() - clutter.CONTINUED) < 0.07
    for values, ends in (
        (made.angles, (0, 2 * np.pi)),
        (made.spaces[beside], clutter.SPACE),
        (made.occluder[hides], clutter.OCCLUDER),
    ):
        np.testing.assert_allclose([values.min(), values.max()], ends, atol=0.05)


@pytest.mark.parametrize("options", [{}, {"clutter_share": 1.0, "blur": 1.0, "apply": False}])
def test_without_it_nothing_is_sampled(options):
    made = draw(**options)
    assert not np.isfinite(made.spaces).any() and not made.occluder.any()
    assert not (made.continued | made.grey | made.blurred).any()


def test_records_have_content_between_their_black_borders():
    images = np.full((3, 20, 30, 3), 3, np.uint8)  # Compression changes black pixels.
    images[0, 4:9, 7:21] = 200
    images[0, 6] = 0  # A black row inside.
    images[1] = 255
    found = clutter.content_window(images)
    np.testing.assert_array_equal(found, [[7, 4, 21, 9], [0, 0, 30, 20], [0, 0, 0, 0]])


def test_the_next_image_is_that_of_the_global_batch():
    images = np.arange(6, dtype=np.float32).reshape(2, 3, 1, 1, 1) * np.ones((1, 1, 2, 2, 3), "f4")
    moved = jax.vmap(lambda own: clutter.next_images(own, AXIS), axis_name=AXIS)(images)
    assert np.asarray(moved)[..., 0, 0, 0].ravel().tolist() == [1, 2, 3, 4, 5, 0]


def test_an_example_shows_the_next_photograph_where_its_own_ends():
    batch = {
        "image": np.zeros((2, 32, 32, 3), np.uint8),
        "box": np.tile(np.float32([16, 16, 32]), (2, 1)),
        "joints_2d": np.full((2, 16, 2), 12, np.float32),
        "joints_valid": np.ones((2, 16), bool),
        "joints_3d": np.zeros((2, 16, 3), np.float32),
        "has_3d": np.zeros(2, bool),
    }
    batch["image"][0, 8:, :24], batch["image"][1] = 255, 102
    continued = jax.tree.map(lambda one: jnp.concatenate([one, one]), none(continued=True))

    def make(batch):
        return make_examples(
            batch, 32, no_augmentation(2), sigma=1.0, lab_joints="projection", clutter=continued
        ).images

    images = jax.vmap(make, axis_name=AXIS)(jax.tree.map(lambda value: value[None], batch))[0]
    np.testing.assert_allclose(images[0, 8:, :24], 1.0)
    np.testing.assert_allclose(images[0, :8], 0.4, rtol=1e-6)
    np.testing.assert_allclose(images[0, 8:, 24:], 0.4, rtol=1e-6)
    np.testing.assert_allclose(images[1], 0.4, rtol=1e-6)
