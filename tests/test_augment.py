import functools

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pose3d_jax import geometry, heatmaps, metrics
from pose3d_jax.data import examples
from pose3d_jax.images.crop import crop_to_image, sample
from pose3d_jax.skeleton import BONES, MIRROR_ORDER

#: The release's settings, and shifts, which it has not.
CONFIG = ml_collections.ConfigDict({
    "scale_mean": 0.0, "scale_sigma": 0.25, "scale_limit": 0.5,
    "rotation_sigma": 30.0, "rotation_limit": 60.0, "rotation_probability": 0.4,
    "mirror_probability": 0.5, "colour_range": (0.6, 1.4), "shift_limit": 0.1,
})  # fmt: skip


make_examples = functools.partial(examples.make_examples, sigma=1.0, lab_joints="projection")


def fixed(scale=1.0, degrees=0.0, mirror=False, colour=(1.0, 1.0, 1.0), shift=(0.0, 0.0)):
    """One image's augmentation."""
    return examples.Augmentation(
        scale=jnp.array([scale], jnp.float32),
        rotation=jnp.deg2rad(jnp.array([degrees], jnp.float32)),
        mirror=jnp.array([mirror]),
        colour=jnp.array([colour], jnp.float32),
        shift=jnp.array([shift], jnp.float32),
    )


def random_images(side=24, count=1):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)


def crop_one(image, box, side, augmentation):
    matrix = crop_to_image(jnp.array([box], jnp.float32), side, *augmentation[:3])
    return np.asarray(sample(image, matrix, side))[0]


def random_batch(seed=0, count=2, image_side=40):
    """Records of random people, 3D- and 2D-labelled in turn."""
    rng = np.random.default_rng(seed)
    has_3d = np.arange(count) % 2 == 0
    return {
        "image": rng.integers(0, 256, (count, image_side, image_side, 3), np.uint8),
        "box": np.tile(np.float32([21, 19, 30]), (count, 1)),
        "joints_2d": rng.uniform(8, 32, (count, 16, 2)).astype(np.float32),
        "joints_valid": has_3d[:, None] | (rng.random((count, 16)) < 0.7),
        "joints_3d": (rng.normal(scale=300, size=(count, 16, 3)) * has_3d[:, None, None]).astype(
            np.float32
        ),
        "has_3d": has_3d,
    }


@pytest.mark.parametrize(
    ("box", "augmentation", "expected"),
    [
        ((12, 12, 24), {}, lambda image: image),
        ((12, 12, 24), {"mirror": True}, lambda image: image[:, ::-1]),
        # A quarter turn is clockwise, and comes before the mirroring.
        ((12, 12, 24), {"degrees": 90}, lambda image: np.rot90(image, k=-1)),
        ((12, 12, 24), {"degrees": 90, "mirror": True},
         lambda image: np.rot90(image, k=-1)[:, ::-1]),
        # A scale above one takes a larger square.
        ((12, 12, 12), {"scale": 2.0}, lambda image: image),
    ],
)  # fmt: skip
def test_crops_of_the_whole_image_have_its_pixels(box, augmentation, expected):
    image = random_images()
    pixels = crop_one(image, box, 24, fixed(**augmentation))
    np.testing.assert_allclose(
        pixels, expected(image[0]) / 255, atol=1e-4 if "degrees" in augmentation else 1e-6
    )
    assert pixels.dtype == np.float32


def test_the_box_is_a_square_around_its_centre_and_black_outside_the_image():
    image = random_images()
    pixels = crop_one(image, (4, 19, 16), 16, examples.no_augmentation(1))
    expected = np.zeros((16, 16, 3))
    expected[:13, 4:] = image[0, 11:24, :12] / 255  # columns −4…12, rows 11…27
    np.testing.assert_allclose(pixels, expected, atol=1e-6)


def test_pixels_between_are_bilinear():
    image = random_images(side=20)
    matrix = np.float32([[[0.7, 0.4, -3.0], [-0.3, 0.9, 2.0]]])
    pixels = sample(image, matrix, 24)[0]
    padded = np.pad(image[0].astype(np.float64), ((30, 30), (30, 30), (0, 0))) / 255
    for row, column in np.ndindex(24, 24):
        x, y = matrix[0].astype(np.float64) @ [column + 0.5, row + 0.5, 1] + 29.5
        left, top = int(np.floor(x)), int(np.floor(y))
        u, v = x - left, y - top
        upper = (1 - u) * padded[top, left] + u * padded[top, left + 1]
        lower = (1 - u) * padded[top + 1, left] + u * padded[top + 1, left + 1]
        np.testing.assert_allclose(pixels[row, column], (1 - v) * upper + v * lower, atol=1e-4)


@given(
    st.floats(0, 500),
    st.floats(0, 500),
    st.floats(20, 400),
    st.floats(0.7, 1.42),
    st.floats(-60, 60),
    st.booleans(),
)
def test_the_crops_map_is_a_similarity_about_the_boxs_centre(x, y, side, scale, degrees, mirror):
    matrix = crop_to_image(
        jnp.array([[x, y, side]], jnp.float32), 256, *fixed(scale, degrees, mirror)[:3]
    )
    centre = geometry.apply_affine(matrix, jnp.array([[[128.0, 128.0]]]))
    np.testing.assert_allclose(centre[0, 0], [x, y], atol=1e-3)
    linear = np.asarray(matrix[0, :, :2], np.float64)
    zoom = side * scale / 256
    np.testing.assert_allclose(linear.T @ linear, zoom**2 * np.eye(2), atol=1e-4)
    assert np.sign(np.linalg.det(linear)) == (-1 if mirror else 1)

    points = np.random.default_rng(0).uniform(0, 256, (1, 20, 2)).astype(np.float32)
    image_points = geometry.apply_affine(matrix, points)
    back = geometry.apply_affine(geometry.invert_affine(matrix), image_points)
    np.testing.assert_allclose(back, points, atol=0.02)


def test_the_crops_map_is_computed_in_full_precision():
    # On recent accelerators, the default rounds coordinates to 10 bits: invisible on a CPU.
    lowered = jax.jit(crop_to_image, static_argnums=1).lower(jnp.ones((1, 3)), 256, *fixed()[:3])
    products = [line for line in lowered.as_text().splitlines() if "dot_general" in line]
    assert products
    for line in products:
        assert "HIGHEST" in line, line


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("degrees", [0.0, 37.0, -58.0])
def test_a_bright_dot_lands_on_its_joint(degrees, mirror):
    wrist, dot = 10, np.array([37.3, 21.8])  # the right wrist, and where it is in the image
    centres = np.arange(64) + 0.5
    blob = np.exp(-((centres - dot[0]) ** 2 + (centres[:, None] - dot[1]) ** 2) / (2 * 2.0**2))
    batch = {
        "image": np.repeat(np.uint8(255 * blob)[None, :, :, None], 3, axis=-1),
        "box": np.float32([[31, 28, 44]]),
        "joints_2d": np.zeros((1, 16, 2), np.float32),
        "joints_valid": np.arange(16)[None] == wrist,
        "joints_3d": np.zeros((1, 16, 3), np.float32),
        "has_3d": np.array([False]),
    }
    batch["joints_2d"][0, wrist] = dot
    example = make_examples(batch, 64, fixed(1.1, degrees, mirror))

    labelled = 15 if mirror else wrist  # a mirrored right wrist is a left one
    np.testing.assert_array_equal(example.valid[0], np.arange(16) == labelled)
    brightness = np.asarray(example.images[0, :, :, 1], np.float64)
    rows, columns = np.mgrid[:64, :64] + 0.5
    centroid = np.array([(brightness * columns).sum(), (brightness * rows).sum()])
    centroid /= brightness.sum()
    joint = (np.asarray(example.joints[0, labelled]) + 1) * 32
    np.testing.assert_allclose(joint, centroid, atol=0.1)
    # The target's peak is there too, and no other joint has one.
    maps = np.asarray(example.heatmaps[0])
    assert maps.shape == (16, 16, 16)
    peak = np.unravel_index(maps[:, :, labelled].argmax(), (16, 16))
    np.testing.assert_array_equal(peak[::-1], np.floor(joint / 4))
    assert np.delete(maps, labelled, axis=-1).max() == 0


def test_mirror_joints_exchanges_left_and_right_only_where_asked():
    joints = np.random.default_rng(0).normal(size=(2, 16, 3)).astype(np.float32)
    mirrored = examples.mirror_joints(joints, jnp.array([True, False]))
    np.testing.assert_array_equal(mirrored[0], joints[0][[5, 4, 3, 2, 1, 0, *range(6, 10),
                                                          15, 14, 13, 12, 11, 10]])  # fmt: skip
    np.testing.assert_array_equal(mirrored[1], joints[1])
    valid = joints[..., 0] > 0
    np.testing.assert_array_equal(
        examples.mirror_joints(valid, jnp.array([True, False]))[0], valid[0][MIRROR_ORDER]
    )


def test_colour_multiplies_each_channel_and_is_clipped():
    batch = random_batch()
    plain = make_examples(batch, 32, examples.no_augmentation(2)).images
    factors = jnp.array([[0.6, 1.0, 1.4], [1.4, 0.7, 1.0]])
    coloured = make_examples(batch, 32, examples.no_augmentation(2)._replace(colour=factors)).images
    expected = np.minimum(np.asarray(plain) * np.asarray(factors)[:, None, None], 1.0)
    np.testing.assert_allclose(coloured, expected, atol=1e-6)
    assert coloured.max() == 1.0


SHIFTS = st.floats(-0.2, 0.2)


def test_a_shift_of_whole_pixels_moves_the_image():
    batch = random_batch() | {"box": np.array([[20, 20, 32]] * 2, np.float32)}
    neutral = examples.no_augmentation(2)
    plain = make_examples(batch, 32, neutral).images
    moved = make_examples(batch, 32, neutral._replace(shift=jnp.array([[0.125, -0.0625]] * 2)))
    np.testing.assert_allclose(moved.images[:, 2:, :-4], plain[:, :-2, 4:], atol=1e-5)


@given(st.floats(0.7, 1.42), st.floats(-60, 60), st.booleans(), st.tuples(SHIFTS, SHIFTS))
def test_examples_end_to_end(scale, degrees, mirror, shift):
    batch = random_batch()
    one = fixed(scale, degrees, mirror, shift=shift)
    both = jax.tree.map(lambda field: jnp.repeat(field, 2, axis=0), one)
    example = jax.tree.map(np.asarray, make_examples(batch, 64, both))

    np.testing.assert_array_equal(example.has_3d, batch["has_3d"])
    for image in range(2):
        order = MIRROR_ORDER if mirror else np.arange(16)
        # Image to crop: about the centre, turned clockwise (y points down), then mirrored.
        centre = np.array([21, 19]) + np.array(shift) * 30 * scale
        angle = np.deg2rad(degrees)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        centred = (batch["joints_2d"][image].astype(np.float64) - centre) @ turn.T
        centred *= 64 / (30 * scale) * np.array([-1 if mirror else 1, 1])
        joints = centred[order] + 32
        np.testing.assert_allclose(example.joints[image], joints / 32 - 1, atol=1e-4)
        np.testing.assert_array_equal(example.valid[image], batch["joints_valid"][image][order])

        pose = batch["joints_3d"][image].astype(np.float64)[order]
        ends, flat = joints[BONES], pose[BONES][..., :2]
        bones_px = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=-1).sum()
        bones_mm = np.linalg.norm(flat[:, 0] - flat[:, 1], axis=-1).sum()
        depth = (pose[:, 2] - pose[6, 2]) * (bones_px / bones_mm if bones_mm else 0) * 2 / 64
        np.testing.assert_allclose(example.depth[image], depth, atol=1e-4)

        maps = example.heatmaps[image]
        assert maps.shape == (16, 16, 16)
        centres = np.arange(16) + 0.5
        for j, (x, y) in enumerate(joints / 4):
            expected = np.exp(-((centres - x) ** 2 + (centres[:, None] - y) ** 2) / 2)
            np.testing.assert_allclose(maps[..., j], expected * example.valid[image, j], atol=1e-3)


def weak_perspective_examples(batch, side, augmentation):
    return make_examples(batch, side, augmentation, lab_joints="weak_perspective")


def photograph(pose):
    """Where a pinhole camera sees a pose, px; near enough for perspective to show."""
    return 60.0 * pose[..., :2] / pose[..., 2:] + 20.0


def photographed_batch(seed, count=3):
    """Records of people with depth, a few of whose joints are not annotated in the picture."""
    rng = np.random.default_rng(seed)
    pose = rng.normal([0, 0, 3500], 300, (count, 16, 3))
    valid = (rng.random((count, 16)) < 0.9) | (np.arange(16) == 6)
    return random_batch(seed, count) | {
        "joints_2d": np.float32(photograph(pose) * valid[..., None]),
        "joints_valid": valid,
        "joints_3d": np.float32(pose),
        "has_3d": np.ones(count, bool),
    }


@given(st.integers(0, 2**32 - 1), st.floats(-60, 60), st.booleans(), st.sampled_from([64, 256]))
def test_perfect_predictions_of_weak_perspective_targets_make_no_error(seed, degrees, mirror, side):
    batch = photographed_batch(seed)
    one = fixed(1.2, degrees, mirror)
    three = jax.tree.map(lambda field: jnp.repeat(field, 3, axis=0), one)
    truth = batch["joints_3d"].astype(np.float64)
    size = np.linalg.norm(truth[:, BONES[:, 0]] - truth[:, BONES[:, 1]], axis=-1).sum(-1)
    # The picture turns and mirrors, and the pose with it.
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    truth[..., :2] = truth[..., :2] @ turn.T * [-1 if mirror else 1, 1]
    truth = truth[:, MIRROR_ORDER] if mirror else truth

    def error(example):
        crop = (example.joints + 1) * (side / 2)
        found = geometry.to_millimetres(crop, example.depth, side, np.float32(size))
        return np.asarray(metrics.mpjpe(found, np.float32(truth)))

    example = weak_perspective_examples(batch, side, three)
    assert error(example).max() < 0.05  # mm
    whole = batch | {
        "joints_2d": photograph(batch["joints_3d"]),
        "joints_valid": np.ones((3, 16), bool),
    }
    assert error(make_examples(whole, side, three)).min() > 5
    # The heat-maps say the same as the joints.
    expected = heatmaps.render((example.joints + 1) * (side / 8), example.valid, side // 4, 1.0)
    np.testing.assert_allclose(example.heatmaps, expected, atol=1e-5)


def test_what_weak_perspective_cannot_place_stays_where_it_is_annotated():
    batch = photographed_batch(0)
    batch["has_3d"][0] = False
    batch["joints_valid"][1, 6] = False
    neutral = examples.no_augmentation(3)
    expected = make_examples(batch, 64, neutral)
    found = weak_perspective_examples(batch, 64, neutral)
    np.testing.assert_array_equal(found.joints[:2], expected.joints[:2])
    assert np.abs(np.asarray(found.joints - expected.joints)[2, batch["joints_valid"][2]]).max() > 0
    # The pelvis, and how large the person is, are the image's own.
    np.testing.assert_allclose(found.joints[2, 6], expected.joints[2, 6], atol=1e-6)
    np.testing.assert_allclose(found.depth[2], expected.depth[2], rtol=1e-4, atol=1e-5)


def test_depth_targets_leave_out_joints_without_annotation():
    batch = photographed_batch(1)
    neutral = examples.no_augmentation(3)
    batch |= {"joints_2d": photograph(batch["joints_3d"]), "joints_valid": np.ones((3, 16), bool)}
    expected = make_examples(batch, 64, neutral).depth
    valid = np.tile(~np.isin(np.arange(16), (0, 9)), (3, 1))
    batch |= {"joints_2d": batch["joints_2d"] * valid[..., None], "joints_valid": valid}
    found = make_examples(batch, 64, neutral).depth
    # Zeros that were taken for positions would stretch the bones, and the depths with them.
    np.testing.assert_allclose(found, expected, rtol=0.05, atol=1e-6)


COUNT = 20_000


@jax.jit
def draw(keys, apply):
    return examples.sample_augmentation(keys, apply, CONFIG)


@pytest.fixture(scope="module")
def keys():
    return jax.random.split(jax.random.key(0), COUNT)


@pytest.fixture(scope="module")
def drawn(keys):
    return jax.tree.map(np.asarray, draw(keys, jnp.ones(COUNT, bool)))


#: Of a normal variable clipped at two standard deviations.
CLIPPED_SHARE, CLIPPED_STD = 0.0455, 0.9594


def test_exponents_of_scales_and_angles_of_two_in_five_images_are_clipped_normals(drawn):
    turned = drawn.rotation != 0
    assert np.isclose(turned.mean(), 0.4, atol=0.015)
    for values, limit in ((np.log2(drawn.scale), 0.5), (np.rad2deg(drawn.rotation[turned]), 60.0)):
        relative = values / limit
        assert np.isclose(np.abs(relative).max(), 1, atol=2e-5)
        assert np.isclose((np.abs(relative) > 0.9998).mean(), CLIPPED_SHARE, atol=0.008)
        assert np.isclose(relative.mean(), 0, atol=0.02)
        assert np.isclose(relative.std(), 0.5 * CLIPPED_STD, rtol=0.025)


def test_half_the_images_are_mirrored(drawn):
    assert drawn.mirror.dtype == bool
    assert np.isclose(drawn.mirror.mean(), 0.5, atol=0.015)


@pytest.mark.parametrize(
    ("name", "low", "high", "atol"), [("colour", 0.6, 1.4, 0.015), ("shift", -0.1, 0.1, 0.004)]
)
def test_colours_and_shifts_are_uniform(drawn, name, low, high, atol):
    values = getattr(drawn, name)
    assert low <= values.min() and values.max() <= high
    shares = np.array([0.1, 0.25, 0.5, 0.75, 0.9])
    expected = np.tile((low + (high - low) * shares)[:, None], values.shape[1])
    np.testing.assert_allclose(np.quantile(values, shares, axis=0), expected, atol=atol)


def test_all_that_is_drawn_is_independent(drawn):
    columns = np.column_stack([
        drawn.scale, drawn.rotation, drawn.rotation != 0, drawn.mirror, drawn.colour, drawn.shift,
    ])  # fmt: skip
    correlation = np.corrcoef(columns, rowvar=False)
    off_diagonal = correlation - np.eye(len(correlation))
    assert np.abs(off_diagonal).max() < 0.03


def test_images_that_are_not_augmented_stay_as_they_are(keys, drawn):
    apply = np.arange(COUNT) % 2 == 0
    half = draw(keys, apply)
    for mine, everywhere, plain in zip(half, drawn, examples.no_augmentation(COUNT), strict=True):
        assert mine.shape == plain.shape
        assert mine.dtype == plain.dtype
        np.testing.assert_array_equal(mine[~apply], plain[~apply])
        np.testing.assert_array_equal(mine[apply], everywhere[apply])


def test_an_images_own_key_decides_what_is_drawn_for_it(keys, drawn):
    apart = draw(keys[3:8], jnp.ones(5, bool))
    for whole, part in zip(drawn, apart, strict=True):
        np.testing.assert_allclose(whole[3:8], part, rtol=1e-6)
    assert len(np.unique(apart.colour)) == 15
