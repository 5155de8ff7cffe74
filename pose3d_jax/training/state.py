"""The state of a training, its optimizer, and their placement on devices."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from pose3d_jax.errors import UserError
from pose3d_jax.models.variables import AXIS, Variables
from pose3d_jax.stages import Stage

Batch = dict[str, Array]
Metrics = dict[str, Float[Array, ""]]


class TrainState(NamedTuple):
    """The variables that training changes."""

    step: Int[Array, ""]  # number of finished iterations of this stage
    params: nnx.State  # the network's parameters
    stats: nnx.State  # running statistics of batch normalisation
    opt_state: optax.OptState  # state of the optimizer

    @property
    def variables(self) -> Variables:
        """Parameters and running statistics."""
        return Variables(self.params, self.stats)


class Hyperparameters(NamedTuple):
    """The numbers of a stage that its compiled step takes as arguments."""

    stage: int
    lambda_reg: float
    lambda_geo: float


def hyperparameters(stage: Stage) -> Hyperparameters:
    """The hyperparameters of `stage`."""
    return Hyperparameters(
        np.int32(stage.number), np.float32(stage.lambda_reg), np.float32(stage.lambda_geo)
    )


def learning_rate(stage: Stage) -> optax.Schedule:
    """The learning rate of a stage by iteration, counted from 0."""
    rate, warmup_steps, drop_at, cosine, decay_steps = stage.schedule
    factors = [lambda step: np.full(step.shape, rate)]
    if warmup_steps:
        # The rate of the first iteration is one step of the rise, and not 0.
        factors.append(optax.linear_schedule(1 / warmup_steps, 1.0, warmup_steps - 1))
    if drop_at:
        factors.append(optax.piecewise_constant_schedule(1.0, {drop_at: 0.1}))
    if cosine:
        factors.append(optax.cosine_decay_schedule(1.0, stage.steps))
    if decay_steps:
        start = stage.steps - decay_steps
        factors.append(optax.linear_schedule(1.0, 0.0, decay_steps, transition_begin=start))
    # In float32 the end of a cosine would have few correct digits.
    with jax.enable_x64(True):
        rates = math.prod(np.asarray(factor(np.arange(stage.steps))) for factor in factors)
    return lambda step: jnp.asarray(rates)[step]


def make_optimizer(config: ml_collections.ConfigDict, stage: Stage) -> optax.GradientTransformation:
    """The release's RMSprop or Adam, with the stage's learning rate.

    RMSprop's eps is outside the square root, as in Torch, and the bias of the mean square, which
    starts at 0, is not corrected. Adam corrects it, and averages gradients (`momentum`).

    Raises:
        UserError: the config names another optimizer.
    """
    section = config.optimizer
    if section.name == "rmsprop":
        scale = optax.scale_by_rms(decay=section.decay, eps=section.epsilon, eps_in_sqrt=False)
    elif section.name == "adam":
        scale = optax.scale_by_adam(b1=section.momentum, b2=section.decay, eps=section.epsilon)
    else:
        raise UserError(f"Unknown optimizer {section.name!r}; choose rmsprop or adam.")
    optimizer = optax.chain(scale, optax.scale_by_learning_rate(learning_rate(stage)))
    return optax.flatten(optimizer) if section.flatten else optimizer


def initial_state(variables: Variables, optimizer: optax.GradientTransformation) -> TrainState:
    """A stage's first state: fresh optimizer, step 0."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables.params,
        stats=variables.stats,
        opt_state=optimizer.init(variables.params),
    )


def replicate(state: TrainState) -> TrainState:
    """Copies a state to this host's devices with the sharding that `pmap` returns.

    With another sharding the second call of a step compiles again.
    """
    mesh = Mesh(np.asarray(jax.local_devices()), (AXIS,))
    return jax.device_put(state, NamedSharding(mesh, PartitionSpec()))


def split_over_devices(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Splits a host's batch into a leading device axis."""
    devices = jax.local_device_count()
    return {k: v.reshape(devices, len(v) // devices, *v.shape[1:]) for k, v in batch.items()}


def check_batch_size(batch_size: int, domains: tuple[str, ...]) -> None:
    """Checks that every device gets the same number of images of every domain.

    Args:
        batch_size: of all devices together.
        domains: of the batch's records, in turn; see `stages.Stage`.

    Raises:
        UserError: the batch size is not divisible.
    """
    devices = jax.device_count()
    if batch_size % (devices * len(domains)):
        share = f"{devices} device{'s' * (devices > 1)}"
        kinds = f" times {len(domains)} ({', '.join(domains)} in turn)" if len(domains) > 1 else ""
        raise UserError(
            f"The batch size {batch_size} is not divisible by {share}{kinds}. Set "
            f"--config.data.batch_size=N to a multiple of {devices * len(domains)}."
        )
