"""The train state and the steps over all devices. Everything about `pmap` and hosts is here.

The state lives replicated on every device, as ordinary arrays without a device axis
(`in_axes=None`, `out_axes=None`); batches have one. A step's randomness comes from the seed, the
stage and the step alone, and each image's from its place in the global batch, so that neither a
restart nor the number of devices changes what is computed.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from flax import nnx
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pose3d_jax import augment, geometry, heatmaps, losses
from pose3d_jax.errors import UserError
from pose3d_jax.models import build_network
from pose3d_jax.models.network import STRIDE
from pose3d_jax.skeleton import MIRROR_ORDER
from pose3d_jax.stages import Stage

#: Name of the `pmap` axis.
AXIS = "data"

Batch = dict[str, Array]
Metrics = dict[str, Float[Array, ""]]


class TrainState(NamedTuple):
    """All that training changes.

    Attributes:
        step: iterations done in this stage.
        params: the network's parameters.
        stats: batch normalisation's running statistics.
        opt_state: the optimizer's.
    """

    step: Int[Array, ""]
    params: nnx.State
    stats: nnx.State
    opt_state: optax.OptState


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


class Network(NamedTuple):
    """The network's structure, and its initial parameters and statistics."""

    graphdef: nnx.GraphDef
    params: nnx.State
    stats: nnx.State


def make_network(config: ml_collections.ConfigDict, *, axis_name: str | None = AXIS) -> Network:
    """Builds and initialises the network of a config.

    Args:
        config: the whole config.
        axis_name: axis of synchronised batch statistics; None where none is mapped.
    """
    synchronised = axis_name if config.optimizer.sync_batch_norm else None
    model = build_network(
        config.model, dtype=config.precision.compute, seed=config.seed, axis_name=synchronised
    )
    return Network(*nnx.split(model, nnx.Param, nnx.BatchStat))


def make_optimizer(config: ml_collections.ConfigDict) -> optax.GradientTransformation:
    """The release's RMSprop, for a learning rate of 1; `train_step` applies the real one.

    Its eps is outside the square root, as in Torch, and nothing corrects the bias of the mean
    square, which starts at 0.
    """
    section = config.optimizer
    return optax.chain(
        optax.scale_by_rms(decay=section.decay, eps=section.epsilon, eps_in_sqrt=False),
        optax.scale(-1.0),
    )


def initial_state(network: Network, optimizer: optax.GradientTransformation) -> TrainState:
    """A stage's first state: fresh optimizer, step 0.

    The optimizer sees all parameters as one vector, in the order of `ravel_pytree`: a step then
    has one loop over it instead of three for each of several hundred arrays, which take longer to
    compile than the network.
    """
    count = sum(parameter.size for parameter in jax.tree.leaves(network.params))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=network.params,
        stats=network.stats,
        opt_state=optimizer.init(jnp.zeros(count)),
    )


def _average(tree):
    """Mean over the devices, as one all-reduce of one vector instead of one per array."""
    vector, restore = ravel_pytree(tree)
    return restore(jax.lax.pmean(vector, AXIS))


def _loss(params, stats, network: Network, stage: Stage, example, hyper, *, running=False):
    """The loss of Eq. 4 with its parts, and the updated statistics."""
    # NNX refuses to mutate what was created outside a transformation: copy.
    model = nnx.merge(network.graphdef, params, stats, copy=True)
    model.eval() if running else model.train()
    maps, depth = model(example.images, with_depth=stage.with_depth)
    metrics = {"heatmap_loss": losses.heatmap_loss(maps, example.heatmaps)}
    metrics["loss"] = metrics["heatmap_loss"]
    if stage.with_depth:
        metrics["depth_loss"] = losses.depth_loss(
            depth,
            example.depth,
            example.joints,
            example.valid,
            example.has_3d,
            hyper.lambda_reg,
            hyper.lambda_geo,
            geometric_on_3d=stage.geometric_on_3d,
        )
        metrics["loss"] += metrics["depth_loss"]
        metrics |= depth_diagnostics(example, depth)
    return metrics["loss"], (metrics, nnx.state(model, nnx.BatchStat))


def depth_diagnostics(example: augment.Example, depth: Float[Array, "b 16"]) -> Metrics:
    """How far bones leave the image plane: mean ratio of 3D to 2D bone-length sums, per domain.

    When Eq. 3 collapses to its degenerate minimum, the wild ratio leaves the lab's behind. Per
    device, the mean is over the images of the domain that have an annotated bone; NaN where there
    is none.
    """
    pose = jnp.concatenate([example.joints, depth[..., None]], axis=-1)
    flat = geometry.bone_length_sum(example.joints, example.valid)
    ratio = geometry.bone_length_sum(pose, example.valid) / jnp.maximum(flat, 1e-6)

    def mean(chosen):
        chosen &= flat > 0
        return jnp.where(chosen, ratio, 0.0).sum() / chosen.sum()

    return {"bone_ratio_lab": mean(example.has_3d), "bone_ratio_wild": mean(~example.has_3d)}


def augmented_examples(
    config: ml_collections.ConfigDict, batch: Batch, keys: PRNGKeyArray
) -> augment.Example:
    """What a network is trained on of a batch of records: augmented crops and their targets.

    Args:
        config: the whole config.
        batch: records, stacked.
        keys: one random key per image.
    """
    chosen = ~batch["has_3d"] | config.augmentation.lab
    drawn = augment.draw_augmentation(keys, chosen, config.augmentation)
    return augment.make_examples(batch, config.model.input_side, drawn, **config.targets)


def make_train_step(
    config: ml_collections.ConfigDict,
    network: Network,
    optimizer: optax.GradientTransformation,
    stage: Stage,
    examples: Callable[..., augment.Example] = augmented_examples,
) -> Callable[[TrainState, Batch, Hyperparameters], tuple[TrainState, Metrics]]:
    """The training step over all devices of all hosts.

    Args:
        config: the whole config.
        network: from `make_network`.
        optimizer: from `make_optimizer`.
        stage: decides which terms the loss has; their weights are hyperparameters.
        examples: makes inputs and targets from config, batch and random keys; other inputs than
            crops of records, or other targets than ours, come in here.

    Returns:
        `step(state, batch, hyper)`, where `batch` has leading axes (local devices, images per
        device). It consumes `state`.
    """

    def step(state: TrainState, batch: Batch, hyper: Hyperparameters):
        images = len(jax.tree.leaves(batch)[0])
        place = jax.lax.axis_index(AXIS) * images + jnp.arange(images)
        key = jax.random.fold_in(jax.random.key(config.seed), hyper.stage)
        key = jax.random.fold_in(key, state.step)
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, place)
        example = examples(config, batch, keys)

        gradients, (metrics, stats) = jax.grad(_loss, has_aux=True)(
            state.params, state.stats, network, stage, example, hyper
        )
        gradients, stats, metrics = _average((gradients, stats, metrics))
        gradient, restore = ravel_pytree(gradients)
        update, opt_state = optimizer.update(gradient, state.opt_state)
        update = hyper.learning_rate * update
        metrics["update_norm"] = optax.global_norm(update)
        params = optax.apply_updates(state.params, restore(update))
        return TrainState(state.step + 1, params, stats, opt_state), metrics

    return jax.pmap(
        step,
        axis_name=AXIS,
        in_axes=(None, 0, None),
        out_axes=(None, None),
        donate_argnums=(0,),
    )


def make_loss_step(
    config: ml_collections.ConfigDict, network: Network, stage: Stage, *, running: bool
) -> Callable[[TrainState, Batch, Hyperparameters], Metrics]:
    """The loss without augmentation and without learning, over this host's devices.

    Args:
        config: the whole config.
        network: from `make_network`.
        stage: see `make_train_step`.
        running: normalise with running statistics (evaluation mode) or the batch's own.
    """

    def step(state: TrainState, batch: Batch, hyper: Hyperparameters):
        neutral = augment.no_augmentation(batch["image"].shape[0])
        example = augment.make_examples(batch, config.model.input_side, neutral, **config.targets)
        _, (metrics, _) = _loss(
            state.params, state.stats, network, stage, example, hyper, running=running
        )
        return _average(metrics)

    return jax.pmap(
        step,
        axis_name=AXIS,
        in_axes=(None, 0, None),
        out_axes=None,
        devices=jax.local_devices(),
    )


def predict(
    network: Network, params, stats, images: Float[Array, "b s s 3"], *, flip: bool = False
) -> tuple[Float[Array, "b 16 2"], Float[Array, "b 16"], Float[Array, "b 16"]]:
    """Poses in evaluation mode.

    Args:
        network: from `make_network`.
        params: parameters.
        stats: running statistics.
        images: crops, RGB in [0, 1].
        flip: average the heat-maps and depths of each image and of its mirror image.

    Returns:
        2D joints in crop px, their scores, and depths in normalised units.
    """
    model = nnx.merge(network.graphdef, params, stats, copy=True)
    model.eval()
    maps, depth = model(jnp.concatenate([images, images[:, :, ::-1]]) if flip else images)
    last = maps[-1]
    if flip:
        last, mirrored = jnp.split(last, 2)
        last = (last + mirrored[:, :, ::-1][..., MIRROR_ORDER]) / 2
        depth, mirrored = jnp.split(depth, 2)
        depth = (depth + mirrored[:, MIRROR_ORDER]) / 2
    joints, scores = heatmaps.decode(last, STRIDE)
    return joints, scores, depth


def make_predict_step(
    config: ml_collections.ConfigDict, network: Network, *, flip: bool = False
) -> Callable[[TrainState, Batch], dict[str, Array]]:
    """Predictions for a batch of records, in crop px, over this host's devices.

    Args:
        config: the whole config.
        network: from `make_network`.
        flip: see `predict`.
    """
    side = config.model.input_side

    def step(state: TrainState, batch: Batch):
        neutral = augment.no_augmentation(batch["image"].shape[0])
        matrix = augment.crop_to_image(batch["box"], side, neutral)
        images = augment.crop(batch["image"], matrix, side)
        joints, scores, depth = predict(network, state.params, state.stats, images, flip=flip)
        return {"joints": joints, "scores": scores, "depth": depth}

    return jax.pmap(step, axis_name=AXIS, in_axes=(None, 0), devices=jax.local_devices())


def replicate(state: TrainState) -> TrainState:
    """Puts a state on this host's devices, as `pmap` returns it (or it would compile twice)."""
    mesh = Mesh(np.asarray(jax.local_devices()), (AXIS,))
    return jax.device_put(state, NamedSharding(mesh, PartitionSpec()))


def split_over_devices(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Gives a host's batch its leading device axis."""
    devices = jax.local_device_count()
    return {k: v.reshape(devices, len(v) // devices, *v.shape[1:]) for k, v in batch.items()}


def check_targets(sigma: float, lab_joints: str) -> None:
    """Every value of the config's section `targets` must be one that `make_examples` knows.

    Raises:
        UserError: one is not.
    """
    if sigma <= 0:
        raise UserError(f"The heat-maps' sigma must be positive, but targets.sigma is {sigma}.")
    if lab_joints not in augment.LAB_JOINTS:
        raise UserError(
            f"Unknown targets.lab_joints {lab_joints!r}; choose one of "
            f"{', '.join(augment.LAB_JOINTS)}."
        )


def check_batch_size(batch_size: int, domains: tuple[str, ...]) -> None:
    """Every device must get the same number of images of every domain.

    Raises:
        UserError: it cannot.
    """
    devices = jax.device_count()
    if batch_size % (devices * len(domains)):
        share = f"{devices} device{'s' * (devices > 1)}"
        kinds = " times 2 (half lab, half wild on each)" if len(domains) > 1 else ""
        raise UserError(
            f"The batch size {batch_size} is not divisible by {share}{kinds}. Choose another "
            f"with --config.data.batch_size=N, a multiple of {devices * len(domains)}."
        )
