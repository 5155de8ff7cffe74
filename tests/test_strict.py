"""Training and prediction in a process with JAX's strictest settings."""

import functools

import jax
import numpy as np
import small_checkpoint
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pose3d_jax.models import inference
from pose3d_jax.models.variables import AXIS, make_network
from pose3d_jax.stages import get_stage
from pose3d_jax.training.state import (
    hyperparameters,
    initial_state,
    make_optimizer,
    replicate,
    split_over_devices,
)
from pose3d_jax.training.steps import make_train_step


def test_strict_promotion_and_guarded_transfers_allow_training_and_prediction():
    config = small_checkpoint.config()
    stage = get_stage(config, 3)
    records = small_checkpoint.records(jax.local_device_count())
    mesh = Mesh(np.asarray(jax.local_devices()), (AXIS,))
    graphdef, variables = make_network(config)
    optimizer = make_optimizer(config, stage)
    state = replicate(initial_state(variables, optimizer))
    with (
        jax.numpy_dtype_promotion("strict"),
        jax.numpy_rank_promotion("raise"),
        jax.transfer_guard("disallow"),
    ):
        step = make_train_step(config, graphdef, optimizer, stage)
        batch = jax.device_put(
            split_over_devices(records), NamedSharding(mesh, PartitionSpec(AXIS))
        )
        hyper = jax.device_put(hyperparameters(stage), NamedSharding(mesh, PartitionSpec()))
        state, metrics = step(state, batch, hyper)
        predict = jax.jit(functools.partial(inference.predict, graphdef, scales=(0.9, 1.0)))
        images = jax.device_put((records["image"], records["box"]), jax.devices()[0])
        variables = jax.device_put(state.variables, jax.devices()[0])
        joints, *_ = jax.device_get(predict(variables, *images))
        loss = jax.device_get(metrics["loss"])
    assert np.isfinite(loss) and np.isfinite(joints).all()
