"""A training step over eight devices computes what it computes on one, in float64."""

import jax
import numpy as np
import small_checkpoint
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from pose3d_jax.models.variables import AXIS, flatten, make_network
from pose3d_jax.stages import get_stage
from pose3d_jax.training.state import hyperparameters, initial_state, make_optimizer
from pose3d_jax.training.steps import make_train_step


def train(devices: int):
    """The metrics of two steps, and the variables after them."""
    config = small_checkpoint.config()
    config.precision.compute = "float64"
    stage = get_stage(config, 3)
    graphdef, variables = make_network(config)
    variables = jax.tree.map(np.float64, variables)
    optimizer = make_optimizer(config, stage)
    chosen = jax.devices()[:devices]
    step = make_train_step(
        config, graphdef, optimizer, stage, lambda config, batch, keys: batch, devices=chosen
    )
    batch = jax.tree.map(
        lambda x: x.reshape(devices, -1, *x.shape[1:]), small_checkpoint.example(16)
    )
    mesh = Mesh(np.asarray(chosen), (AXIS,))
    state = jax.device_put(initial_state(variables, optimizer), NamedSharding(mesh, P()))
    metrics = []
    for _ in range(2):
        state, numbers = step(state, batch, hyperparameters(stage))
        metrics.append(jax.device_get(numbers))
    return metrics, flatten((state.params, state.stats))


def test_eight_devices_compute_what_one_does():
    with jax.enable_x64(True):
        (one, variables), (eight, others) = train(1), train(8)
    for expected, found in zip(one, eight, strict=True):
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-12, err_msg=name)
    for name, array in variables.items():
        assert array.dtype == np.float64
        # The gradient of a bias before batch normalisation is 0; RMSprop divides its rounding
        # errors by eps.
        np.testing.assert_allclose(others[name], array, rtol=0, atol=1e-10, err_msg=name)
