"""The training step and the loss of a linear network, beside Eqs. 1, 2 and 4 in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small_checkpoint
from flax import nnx
from small_checkpoint import SIDE

from pose3d_jax.data.examples import make_examples, no_augmentation
from pose3d_jax.models.variables import AXIS
from pose3d_jax.stages import get_stage
from pose3d_jax.training.state import Hyperparameters, TrainState
from pose3d_jax.training.steps import augmented_examples, make_loss_step, make_train_step

RATE, REG, DEVICES, COUNT = 0.1, 0.5, 2, 3


class Linear(nnx.Module):
    """Heat-maps and depths are the crop's brightness times a parameter each."""

    def __init__(self):
        self.map, self.slope = nnx.Param(jnp.array(0.7)), nnx.Param(jnp.array(0.9))
        self.depth = nnx.Module()

    def features(self, images):
        x = images.mean((1, 2, 3))
        maps = jnp.broadcast_to(x[:, None, None, None], (len(x), SIDE // 4, SIDE // 4, 16))
        return [self.map[...] * maps], x[:, None]

    def predict_depth(self, x):
        return self.slope[...] * jnp.tile(x, 16)


def linear_step(step, config, batch):
    """A step of stage 3 without its geometric loss, from iteration 7."""
    graphdef, params, stats = nnx.split(Linear(), nnx.Param, nnx.BatchStat)
    optimizer = optax.sgd(RATE)
    state = TrainState(jnp.int32(7), params, stats, optimizer.init(params))
    run = step(config, graphdef, optimizer, get_stage(config, 3))
    return run(state, batch, Hyperparameters(np.int32(3), np.float32(REG), np.float32(0)))


def losses(brightness, example, weight, slope):
    """Eqs. 1 and 2, and the derivatives of their sum by the two parameters."""
    x = brightness[:, None, None, None]
    error = weight * x - np.float64(example.heatmaps)
    labelled = example.valid & example.has_3d[:, None]
    deep = (slope * brightness[:, None] - example.depth) * labelled
    by_map, by_slope = 2 * (error * x).mean(), 2 * REG * (deep * brightness[:, None]).mean()
    return (error**2).mean(), REG * (deep**2).mean(), by_map, by_slope


@pytest.mark.parametrize("depth_only", [False, True])
def test_a_step_of_a_linear_network_is_gradient_descent_on_the_losses(depth_only):
    """Random numbers depend on seed, stage, step and the image's index in the global batch."""
    config = small_checkpoint.config()
    config.seed, config.stages.stage3.depth_only = 5, depth_only
    example = small_checkpoint.example(DEVICES * COUNT)
    batch = jax.tree.map(lambda x: x.reshape(DEVICES, COUNT, *x.shape[1:]), example)
    batch = jax.tree.map(lambda x: np.float32(x) if x.dtype == float else x, batch)

    def shine(config, batch, keys):
        light = jax.vmap(jax.random.uniform)(keys)[:, None, None, None]
        return batch._replace(images=jnp.broadcast_to(light, batch.images.shape))

    def step(*arguments):
        return make_train_step(*arguments, shine, devices=jax.devices()[:DEVICES])

    state, metrics = linear_step(step, config, batch)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(5), 3), 7)
    light = [jax.random.uniform(jax.random.fold_in(key, i)) for i in range(DEVICES * COUNT)]
    flat, deep, by_map, by_slope = losses(np.float64(light), example, 0.7, 0.9)
    by_map *= not depth_only
    expected = {
        "heatmap_loss": flat,
        "depth_loss": deep,
        "loss": deep + (0 if depth_only else flat),
        "update_norm": RATE * np.hypot(by_map, by_slope),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4, err_msg=name)
    assert int(state.step) == 8
    found = state.params["map"][...], state.params["slope"][...]
    np.testing.assert_allclose(found, [0.7 - RATE * by_map, 0.9 - RATE * by_slope], rtol=1e-5)


@pytest.mark.parametrize("running", [False, True])
def test_the_loss_step_takes_records_as_they_are(running):
    config = small_checkpoint.config()
    devices = jax.local_device_count()
    records = small_checkpoint.records(2 * devices)
    example = make_examples(records, SIDE, no_augmentation(2 * devices), **config.targets)
    batch = jax.tree.map(lambda x: x.reshape(devices, 2, *x.shape[1:]), records)

    def step(config, graphdef, _, stage):
        return make_loss_step(config, graphdef, stage, running=running)

    metrics = linear_step(step, config, batch)
    brightness = np.float64(example.images).mean((1, 2, 3))
    flat, deep, _, _ = losses(brightness, example, 0.7, 0.9)
    np.testing.assert_allclose(metrics["loss"], flat + deep, rtol=1e-4)


@pytest.mark.parametrize("lab", [False, True])
@pytest.mark.parametrize("kind", ["mirror", "grey", "cut", "empty"])
def test_lab_images_are_augmented_where_the_config_says_so(kind, lab):
    config = small_checkpoint.config()
    config.augmentation.update(
        scale_sigma=0.0, rotation_probability=0.0, mirror_probability=0.0, colour_range=(1.0, 1.0)
    )
    config.augmentation.update({"lab": lab, f"{kind}_probability": 1.0})
    records = small_checkpoint.records(4)
    keys = jax.random.split(jax.random.key(0), 4)
    own = jax.tree.map(lambda x: x[None], (records, keys))
    made = jax.vmap(lambda *own: augmented_examples(config, *own), axis_name=AXIS)(*own)
    plain = make_examples(records, SIDE, no_augmentation(4), **config.targets)
    changed = ~records["has_3d"] | lab
    if kind in ("cut", "empty"):
        partial = ~np.asarray(made.valid[0]).all(1)
        assert partial[changed].any() and not partial[~changed].any()
        return
    images = np.float64(plain.images)
    other = {
        "mirror": images[:, :, ::-1],
        "grey": np.repeat(images @ [[0.299], [0.587], [0.114]], 3, axis=3),
    }[kind]
    expected = np.where(changed[:, None, None, None], other, images)
    np.testing.assert_allclose(made.images[0], expected, atol=1e-5)
