"""Numbers of training against closed forms: optimizers, seeds, the comparison of modes."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import FrozenConfigDict

from pose3d_jax import presets
from pose3d_jax.data.loader import mixed_records
from pose3d_jax.stages import get_stage
from pose3d_jax.training import loop
from pose3d_jax.training.progress import MetricsLog
from pose3d_jax.training.state import (
    TrainState,
    make_optimizer,
)


def updates(preset: str, gradients):
    """The optimizer's updates for a sequence of gradients of one parameter, in float64."""
    config = presets.experiment(1, preset)
    config.stages.stage1.update({"learning_rate": 1e-3, "warmup_steps": 0, "decay_steps": 0})
    optimizer = make_optimizer(config, get_stage(config, 1))
    params = jnp.zeros(3)
    state, found = optimizer.init(params), []
    for gradient in gradients:
        update, state = optimizer.update(jnp.asarray(gradient), state, params)
        params = optax.apply_updates(params, update)
        found.append(np.asarray(update))
    return np.array(found)


GRADIENTS = np.random.default_rng(0).normal(size=(4, 3))


def test_adam_is_that_of_kingma_and_ba():
    """Algorithm 1 with β₁ = 0.9 for the mean and β₂ = 0.999 for the mean square."""
    with jax.enable_x64(True):
        found = updates("open", GRADIENTS)
    mean, square = np.zeros(3), np.zeros(3)
    for number, gradient in enumerate(GRADIENTS, 1):
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        corrected = mean / (1 - 0.9**number), square / (1 - 0.999**number)
        expected = -1e-3 * corrected[0] / (np.sqrt(corrected[1]) + 1e-8)
        np.testing.assert_allclose(found[number - 1], expected, rtol=1e-6)


def test_rmsprop_is_torchs():
    """Eps is outside the square root, and the bias of the first steps is not corrected."""
    with jax.enable_x64(True):
        found = updates("paper", GRADIENTS * 1e-7)  # Small enough for eps to matter.
    square = np.zeros(3)
    for gradient, update in zip(GRADIENTS * 1e-7, found, strict=True):
        square = 0.99 * square + 0.01 * gradient**2
        np.testing.assert_allclose(update, -1e-3 * gradient / (np.sqrt(square) + 1e-8), rtol=1e-6)


def test_modes_are_compared_as_running_statistics_over_the_batches_own(monkeypatch, tmp_path):
    config = FrozenConfigDict(presets.experiment(1, "tiny"))
    stage = get_stage(config, 1)
    run = loop.Run(*[None] * len(loop.Run._fields))._replace(config=config)
    state = TrainState(*[None] * len(TrainState._fields))
    monkeypatch.setattr(
        loop,
        "make_loss_step",
        lambda *_, running: lambda *_: {"loss": np.float32(3.0 if running else 2.0)},
    )
    monkeypatch.setattr(loop, "batches", lambda *_: iter([{}, {}]))
    monkeypatch.setattr(loop, "split_over_devices", lambda batch: batch)
    with MetricsLog(tmp_path, 0) as metrics:
        loop.compare_modes(run, stage, state, metrics)
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)[loop.MODES] == pytest.approx(1.5)


@pytest.mark.parametrize("seed", [0, 4_294_968, 2**32 - 1])
def test_every_seed_of_a_config_orders_the_records(seed):
    """Grain's seeds have 32 bits; a stage's stream has 1000 times the config's seed."""
    config = presets.experiment(3, "tiny")
    config.seed = seed
    run = loop.Run(*[None] * len(loop.Run._fields))._replace(config=FrozenConfigDict(config))
    stream = mixed_records([range(9)], loop.stream_seed(run, get_stage(config, 3)))
    assert sorted(stream[i] for i in range(9)) == list(range(9))
    jax.random.key(config.seed)
