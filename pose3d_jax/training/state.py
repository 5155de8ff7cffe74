"""The state of a training, its optimizer, and their placement on devices."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from pose3d_jax.data.examples import LAB_JOINTS
from pose3d_jax.errors import UserError
from pose3d_jax.models.variables import AXIS, Variables
from pose3d_jax.stages import Stage

Batch = dict[str, Array]
Metrics = dict[str, Float[Array, ""]]


class TrainState(NamedTuple):
    """The variables that training changes.

    Attributes:
        step: number of finished iterations of this stage.
        params: the network's parameters.
        stats: running statistics of batch normalisation.
        opt_state: state of the optimizer.
    """

    step: Int[Array, ""]
    params: nnx.State
    stats: nnx.State
    opt_state: optax.OptState

    @property
    def variables(self) -> Variables:
        """Parameters and running statistics."""
        return Variables(self.params, self.stats)


class Hyperparameters(NamedTuple):
    """The numbers of a step that may change without compiling it anew."""

    stage: int
    learning_rate: float
    lambda_reg: float
    lambda_geo: float


def hyperparameters(stage: Stage, step: int) -> Hyperparameters:
    """The hyperparameters of iteration `step` of `stage`."""
    return Hyperparameters(
        np.int32(stage.number),
        np.float32(stage.learning_rate(step)),
        np.float32(stage.lambda_reg),
        np.float32(stage.lambda_geo),
    )


def make_optimizer(config: ml_collections.ConfigDict) -> optax.GradientTransformation:
    """The release's RMSprop or Adam, for a learning rate of 1; `train_step` applies the real one.

    RMSprop's eps is outside the square root, as in Torch, and nothing corrects the bias of the mean
    square, which starts at 0. Adam corrects it, and averages gradients (`momentum`).

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
    return optax.chain(scale, optax.scale(-1.0))


def initial_state(variables: Variables, optimizer: optax.GradientTransformation) -> TrainState:
    """A stage's first state: fresh optimizer, step 0.

    The optimizer sees all parameters as one vector, in the order of `ravel_pytree`: a step then
    has one loop over it instead of three for each of several hundred arrays, which take longer to
    compile than the network.
    """
    count = sum(parameter.size for parameter in jax.tree.leaves(variables.params))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables.params,
        stats=variables.stats,
        opt_state=optimizer.init(jnp.zeros(count)),
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


def check_targets(sigma: float, lab_joints: str) -> None:
    """Every value of the config's section `targets` must be one that `make_examples` knows.

    Raises:
        UserError: one is not.
    """
    if sigma <= 0:
        raise UserError(f"The heat-maps' sigma must be positive, but targets.sigma is {sigma}.")
    if lab_joints not in LAB_JOINTS:
        raise UserError(
            f"Unknown targets.lab_joints {lab_joints!r}; choose one of {', '.join(LAB_JOINTS)}."
        )


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
