"""The training step and the loss over all devices, with `pmap`.

The state is replicated on every device, as arrays without a device axis (`in_axes=None`,
`out_axes=None`); batches have a device axis. Random numbers depend on the seed, the stage, the step
and an image's index in the global batch. Neither a restart nor the number of devices changes the
result.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import optax
from flax import nnx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key

from pose3d_jax import geometry, losses
from pose3d_jax.arrays import AnyArray
from pose3d_jax.data import clutter as cluttering
from pose3d_jax.data.examples import Example, make_examples, no_augmentation, sample_augmentation
from pose3d_jax.data.framing import sample_framing
from pose3d_jax.models import precision
from pose3d_jax.models.variables import AXIS, standard_promotion
from pose3d_jax.stages import Stage
from pose3d_jax.training.state import Batch, Hyperparameters, Metrics, TrainState


class Mean(NamedTuple):
    """A mean over images as sum and count: devices may have different numbers of images."""

    total: Float[Array, ""]
    count: Float[Array, ""]


def _average(tree):
    """Mean over the devices, with one all-reduce of one vector instead of one per array."""
    vector, restore = ravel_pytree(tree)
    tree = restore(jax.lax.pmean(vector, AXIS))
    return jax.tree.map(
        lambda x: x.total / x.count if isinstance(x, Mean) else x,
        tree,
        is_leaf=lambda x: isinstance(x, Mean),
    )


def _loss(
    params,
    stats,
    graphdef: nnx.GraphDef,
    stage: Stage,
    example: Example,
    hyper: Hyperparameters,
    *,
    unlabelled_joints: str,
    running: bool = False,
) -> tuple[Float[Array, ""], tuple[dict[str, Float[Array, ""] | Mean], nnx.State]]:
    """The loss of Eq. 4 with its parts, and the updated statistics."""
    # A copy: NNX does not mutate variables that were created outside a transformation.
    model = nnx.merge(graphdef, params, stats, copy=True)
    model.eval() if running else model.train()
    if stage.depth_only and not running:
        model.eval()
        model.depth.train()
    maps, x = model.features(example.images)
    x = jax.lax.stop_gradient(x) if stage.depth_only else x
    depth = model.predict_depth(x) if stage.with_depth else None
    counted = {"empty": None, "ignored": example.known}[unlabelled_joints]
    metrics = {"heatmap_loss": losses.heatmap_loss(maps, example.heatmaps, counted)}
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
        heatmap_loss = 0.0 if stage.depth_only else metrics["heatmap_loss"]
        metrics["loss"] = heatmap_loss + metrics["depth_loss"]
        metrics |= depth_diagnostics(example, depth)
    return metrics["loss"], (metrics, nnx.state(model, nnx.BatchStat))


def depth_diagnostics(example: Example, depth: Float[AnyArray, "b 16"]) -> dict[str, Mean]:
    """Mean ratio of 3D to 2D bone-length sums per domain.

    When Eq. 3 collapses to its degenerate minimum, the ratio of wild images grows beyond the ratio
    of lab images. The mean is over images of the domain with an annotated bone; NaN without any.
    """
    pose = jnp.concatenate([example.joints, depth[..., None]], axis=-1)
    flat = geometry.bone_length_sum(example.joints, example.valid)
    ratio = geometry.bone_length_sum(pose, example.valid) / jnp.maximum(flat, 1e-6)

    def mean(chosen):
        chosen &= flat > 0
        return Mean(jnp.where(chosen, ratio, 0.0).sum(), chosen.sum(dtype=ratio.dtype))

    return {"bone_ratio_lab": mean(example.has_3d), "bone_ratio_wild": mean(~example.has_3d)}


def augmented_examples(
    config: ml_collections.ConfigDict, batch: Batch, keys: Key[Array, "b"]
) -> Example:
    """Augmented crops of a batch of records, and their targets.

    Args:
        config: the whole config.
        batch: records, stacked.
        keys: one random key per image.
    """
    chosen = ~batch["has_3d"] | config.augmentation.lab
    augmentation = sample_augmentation(keys, chosen, config.augmentation)
    framing = clutter = None
    if config.augmentation.cut_probability or config.augmentation.empty_probability:
        own = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, 1)
        framing = sample_framing(own, batch, chosen, config.augmentation)
    if cluttering.is_used(config.augmentation):
        own = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, 2)
        clutter = cluttering.sample_clutter(own, chosen, config.augmentation)
    return make_examples(
        batch,
        config.model.input_side,
        augmentation,
        **config.targets,
        framing=framing,
        clutter=clutter,
    )


def make_train_step(
    config: ml_collections.ConfigDict,
    graphdef: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    stage: Stage,
    examples: Callable[..., Example] = augmented_examples,
    *,
    devices: Sequence[jax.Device] | None = None,
) -> Callable[[TrainState, Batch, Hyperparameters], tuple[TrainState, Metrics]]:
    """The training step over all devices of all hosts.

    Args:
        config: the whole config.
        graphdef: structure of the network.
        optimizer: from `make_optimizer`.
        stage: decides which terms the loss has; their weights are hyperparameters.
        examples: makes inputs and targets from config, batch and random keys. It is the place for
            other inputs than crops of records, and for other targets.
        devices: to compile for; all devices by default.

    Returns:
        `step(state, batch, hyper)`, where `batch` has leading axes (local devices, images per
        device). The buffers of `state` are donated.
    """

    @standard_promotion()
    def step(state: TrainState, batch: Batch | Example, hyper: Hyperparameters):
        images = len(jax.tree.leaves(batch)[0])
        place = jax.lax.axis_index(AXIS) * images + jnp.arange(images)
        key = jax.random.fold_in(jax.random.key(config.seed), hyper.stage)
        key = jax.random.fold_in(key, state.step)
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, place)
        example = examples(config, batch, keys)

        loss = functools.partial(_loss, unlabelled_joints=config.loss.unlabelled_joints)
        gradients, (metrics, stats) = jax.grad(loss, has_aux=True)(
            state.params, state.stats, graphdef, stage, example, hyper
        )
        gradients, stats, metrics = _average((gradients, stats, metrics))
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        metrics["update_norm"] = optax.global_norm(updates)
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, stats, opt_state), metrics

    return _over_devices(config, step, devices, training=True, donate_argnums=(0,))


def make_loss_step(
    config: ml_collections.ConfigDict, graphdef: nnx.GraphDef, stage: Stage, *, running: bool
) -> Callable[[TrainState, Batch, Hyperparameters], Metrics]:
    """The loss without augmentation, over this host's devices.

    Args:
        config: the whole config.
        graphdef: structure of the network.
        stage: see `make_train_step`.
        running: normalise with the running statistics (evaluation mode), else with the batch's.
    """

    @standard_promotion()
    def step(state: TrainState, batch: Batch, hyper: Hyperparameters):
        neutral = no_augmentation(len(batch["image"]))
        example = make_examples(batch, config.model.input_side, neutral, **config.targets)
        _, (metrics, _) = _loss(
            state.params,
            state.stats,
            graphdef,
            stage,
            example,
            hyper,
            unlabelled_joints=config.loss.unlabelled_joints,
            running=running,
        )
        return _average(metrics)

    return _over_devices(config, step, jax.local_devices(), training=False)


def _over_devices(config, step, devices, *, training: bool, **options):
    """The compiled `step`, of which only the batch has a device axis."""
    program = jax.pmap(
        step, axis_name=AXIS, in_axes=(None, 0, None), out_axes=None, devices=devices, **options
    )
    dtype = precision.resolve(config.precision.compute, training=True)
    return precision.compile_with(precision.compiler_options(dtype, training=training), program)
