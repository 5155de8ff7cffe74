import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_checkpoint
from flax import nnx
from PIL import Image

from pose3d_jax.data import mosaics
from pose3d_jax.images.jpeg import encode_image
from pose3d_jax.models import detector, inference
from pose3d_jax.models.layers import Common
from pose3d_jax.models.lifting import Lifter
from pose3d_jax.models.variables import flatten, make_network
from pose3d_jax.training.heads import draw_views, train_detector, train_lifter


def record(color, number):
    """A person of 14 labelled joints in a photograph that fills the middle of the record."""
    rng = np.random.default_rng(number)
    image = np.zeros((320, 320, 3), np.uint8)
    image[60:260, 100:220] = color
    joints = rng.uniform((110, 80), (210, 240), (16, 2)).astype(np.float32)
    return {
        "image": encode_image(image),
        "joints_2d": joints,
        "joints_valid": np.arange(16) < 14,
        "box": np.float32([160, 160, 200]),
        "joints_3d": rng.normal(0, 300, (16, 3)).astype(np.float32),
    }


COLOURS = [(200, 50, 50), (50, 200, 50), (50, 50, 200)]
RECORDS = [record(color, number) for number, color in enumerate(COLOURS)]


def test_mosaics_are_the_same_whenever_they_are_made():
    one, other = (mosaics.sample_mosaic(RECORDS, 3, 7) for _ in range(2))
    assert all(np.array_equal(one[name], other[name]) for name in one)
    different = mosaics.sample_mosaic(RECORDS, 4, 7)
    assert not np.array_equal(one["image"], different["image"])


@pytest.mark.parametrize("index", range(12))
def test_targets_of_a_mosaic_agree_with_one_another(index):
    made = mosaics.sample_mosaic(RECORDS, 0, index)
    assert made["image"].shape == (mosaics.SIDE, mosaics.SIDE, 3)
    centres = np.argwhere(made["score"] >= 1.0)
    assert made["positive"][made["score"] >= 1.0].all()
    assert not (made["positive"] & made["ignored"]).any()
    for row, column in centres:
        x, y, side = made["target"][row, column]
        assert abs(x - (column + 0.5) * detector.CELL) <= detector.CELL / 2 + 1e-3
        assert abs(y - (row + 0.5) * detector.CELL) <= detector.CELL / 2 + 1e-3
        assert mosaics.SMALLEST <= side <= mosaics.LARGEST


def test_the_photograph_of_a_record_is_found():
    image = np.asarray(Image.open(io.BytesIO(RECORDS[0]["image"])))
    low, high = mosaics.photograph_area(image)
    np.testing.assert_allclose([low, high], [(100, 60), (220, 260)], atol=2)


def output_of(made):
    """The head's output that predicts a mosaic's targets exactly."""
    logit = np.where(made["score"] >= 1.0, 30.0, -30.0)
    offset = (made["target"][..., :2] - detector.cell_centres(*logit.shape)) / detector.OFFSET
    size = np.log(np.where(made["positive"], made["target"][..., 2], detector.SIDE) / detector.SIDE)
    output = np.concatenate([logit[..., None], offset, size[..., None]], axis=-1)
    return jnp.asarray(output[None], jnp.float32)


def targets_of(made):
    return [jnp.asarray(made[name][None]) for name in ("score", "target", "positive", "ignored")]


def test_a_perfect_output_has_no_loss_and_gives_the_squares_back():
    made = mosaics.sample_mosaic(RECORDS, 0, 2)
    centre = made["score"] >= 1.0
    assert centre.any()
    output = output_of(made)
    assert float(detector.detection_loss(output, *targets_of(made))) < 1e-4
    scores, squares = detector.squares(output)
    np.testing.assert_array_equal(np.asarray(scores[0]) > 0.5, centre)
    np.testing.assert_allclose(np.asarray(squares[0])[centre], made["target"][centre], rtol=1e-4)


def test_the_loss_in_closed_form():
    """One centre, one other cell, each with p = 1/2, and a square that is 10 px too large."""
    score = jnp.array([[[1.0, 0.5]]])
    target = jnp.array([[[[8.0, 8.0, 100.0], [0.0, 0.0, 0.0]]]])
    positive = jnp.array([[[True, False]]])
    output = jnp.zeros((1, 1, 2, 4)).at[0, 0, 0, 3].set(np.log(1.1))
    half = np.log(2.0)
    expected = 0.25 * half + 0.5**4 * 0.25 * half + np.log(1.1)
    loss = detector.detection_loss(output, score, target, positive, jnp.zeros_like(positive))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    ignored = jnp.array([[[False, True]]])
    loss = detector.detection_loss(output, score, target, positive, ignored)
    np.testing.assert_allclose(loss, 0.25 * half + np.log(1.1), rtol=1e-5)
    nothing = jnp.zeros_like(positive)  # As in a mosaic without people.
    loss = detector.detection_loss(output, 0 * score, target, nothing, nothing)
    np.testing.assert_allclose(loss, 2 * 0.25 * half, rtol=1e-5)


def test_only_local_maxima_have_a_score():
    output = jnp.zeros((1, 3, 4, 4)).at[0, 1, 1, 0].set(2.0).at[0, 1, 3, 0].set(1.0)
    scores, _ = detector.squares(output)
    assert set(map(tuple, np.argwhere(np.asarray(scores[0]) > 0.6))) == {(1, 1), (1, 3)}
    assert scores[0, 1, 2] == 0.0


def small_network():
    config = small_checkpoint.config()
    config.model.update({"detector_features": 8, "lifter_features": (16,)})
    return make_network(config, axis_name=None)


def test_training_a_head_changes_that_head_alone():
    graphdef, variables = small_network()
    before = flatten(variables)
    trained = train_detector(graphdef, variables, RECORDS, steps=2, threads=1)
    poses = np.stack([record["joints_3d"] for record in RECORDS])
    both = train_lifter(graphdef, trained, poses, steps=2)
    for head, first, second in (("detector", before, flatten(trained)),
                                ("lifter", flatten(trained), flatten(both))):  # fmt: skip
        changed = {name for name in first if not np.array_equal(first[name], second[name])}
        assert changed and all(name.split("/")[1] == head for name in changed)


def test_the_detector_reads_images_of_any_size():
    graphdef, variables = small_network()
    scores, squares = inference.detect(graphdef, variables, np.zeros((2, 48, 96, 3), np.uint8))
    assert scores.shape == (2, 3, 6) and squares.shape == (2, 3, 6, 3)


def test_the_lifter_computes_what_its_description_says():
    rng = np.random.default_rng(0)
    lifter = Lifter((48, 48, 24), Common(nnx.Rngs(0)))
    layers = (*lifter.hidden, lifter.output)
    for layer in layers:
        layer.kernel.set_value(jnp.asarray(rng.normal(0, 0.3, layer.kernel.shape), jnp.float32))
        layer.bias.set_value(jnp.asarray(rng.normal(0, 0.3, layer.bias.shape), jnp.float32))
    joints, confidence = rng.normal(0, 0.2, (4, 16, 2)), rng.uniform(0, 1.2, (4, 16))
    confidence[0, :3] = 0
    weight = np.clip(confidence, 1e-3, 1)[..., None]
    centred = joints - np.average(joints, 1, np.repeat(weight, 2, 2))[:, None]
    scale = np.sqrt(np.average((centred**2).sum(2), 1, weight[..., 0]))[:, None]
    x = np.concatenate([centred / scale[..., None] * weight, weight], 2).reshape(4, 48)

    def apply(layer, x):
        return x @ np.float64(layer.kernel[...]) + np.float64(layer.bias[...])

    def hidden(layer, x):
        y = apply(layer, x)
        return np.maximum(y, 0.1 * y)

    x = hidden(layers[0], x)
    x += hidden(layers[1], x)  # Only a hidden layer of equal widths adds to its input.
    expected = apply(layers[3], hidden(layers[2], x))
    expected = (expected - expected[:, 6:7]) * scale
    np.testing.assert_allclose(lifter(joints, confidence), expected, rtol=1e-4, atol=1e-5)
    moved = lifter(3.0 * joints + np.array([5.0, -2.0]), confidence)
    np.testing.assert_allclose(moved, 3.0 * expected, rtol=1e-3, atol=1e-4)


def test_views_keep_the_distances_within_a_pose():
    poses = np.stack([record["joints_3d"] for record in RECORDS] * 40)
    joints, confidence, depth = draw_views(jax.random.key(0), jnp.asarray(poses))
    assert ((confidence >= 0) & (confidence <= 1)).all()
    seen = np.asarray(confidence) >= 0.6
    pose = np.concatenate([joints, depth[..., None]], axis=-1)

    def shins(pose):  # Of both sides, which mirroring exchanges.
        return np.linalg.norm(pose[:, [0, 5]] - pose[:, [1, 4]], axis=-1).sum(-1)

    known = seen[:, [0, 1, 4, 5]].all(-1)
    assert known.sum() > 40
    assert np.median(np.abs(shins(pose) - shins(poses) / 1000)[known]) < 0.05
