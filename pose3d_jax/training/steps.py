"""The train state and the steps over all devices. Everything about `pmap` and hosts is here.

The state lives replicated on every device, as ordinary arrays without a device axis
(`in_axes=None`, `out_axes=None`); batches have one. A step's randomness comes from the seed, the
stage and the step alone, and each image's from its place in the global batch, so that neither a
restart nor the number of devices changes what is computed.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
import optax
from flax import nnx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from pose3d_jax import geometry, losses
from pose3d_jax.data import examples
from pose3d_jax.models.variables import AXIS, Network, predict
from pose3d_jax.stages import Stage
from pose3d_jax.training.state import Batch, Hyperparameters, Metrics, TrainState


def _average(tree):
    """Mean over the devices, as one all-reduce of one vector instead of one per array."""
    vector, restore = ravel_pytree(tree)
    return restore(jax.lax.pmean(vector, AXIS))


def _loss(params, stats, config, network: Network, stage: Stage, example, hyper, *, running=False):
    """The loss of Eq. 4 with its parts, and the updated statistics."""
    # NNX refuses to mutate what was created outside a transformation: copy.
    model = nnx.merge(network.graphdef, params, stats, copy=True)
    model.eval() if running else model.train()
    maps, depth = model(example.images, with_depth=stage.with_depth)
    counted = {"empty": None, "ignored": example.valid}[config.loss.unlabelled_joints]
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
        metrics["loss"] += metrics["depth_loss"]
        metrics |= _depth_diagnostics(example, depth)
    return metrics["loss"], (metrics, nnx.state(model, nnx.BatchStat))


def _depth_diagnostics(example: examples.Example, depth: Float[Array, "b 16"]) -> Metrics:
    """How far bones leave the image plane: mean ratio of 3D to 2D bone-length sums, per domain.

    When Eq. 3 collapses to its degenerate minimum, the wild ratio leaves the lab's behind. Per
    device, the mean is over the images of the domain; NaN where there is none.
    """
    pose = jnp.concatenate([example.joints, depth[..., None]], axis=-1)
    flat = geometry.bone_length_sum(example.joints)
    ratio = geometry.bone_length_sum(pose) / jnp.maximum(flat, 1e-6)

    def mean(chosen):
        return jnp.where(chosen, ratio, 0.0).sum() / chosen.sum()

    return {"bone_ratio_lab": mean(example.has_3d), "bone_ratio_wild": mean(~example.has_3d)}


def make_train_step(
    config: ml_collections.ConfigDict,
    network: Network,
    optimizer: optax.GradientTransformation,
    stage: Stage,
) -> Callable[[TrainState, Batch, Hyperparameters], tuple[TrainState, Metrics]]:
    """The training step over all devices of all hosts.

    Args:
        config: the whole config.
        network: from `make_network`.
        optimizer: from `make_optimizer`.
        stage: decides which terms the loss has; their weights are hyperparameters.

    Returns:
        `step(state, batch, hyper)`, where `batch` has leading axes (local devices, images per
        device). It consumes `state`.
    """

    def step(state: TrainState, batch: Batch, hyper: Hyperparameters):
        images = batch["image"].shape[0]
        place = jax.lax.axis_index(AXIS) * images + jnp.arange(images)
        key = jax.random.fold_in(jax.random.key(config.seed), hyper.stage)
        key = jax.random.fold_in(key, state.step)
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, place)
        chosen = ~batch["has_3d"] | config.augmentation.lab
        drawn = examples.draw_augmentation(keys, chosen, config.augmentation)
        example = examples.make_examples(batch, config.model.input_side, drawn)

        gradients, (metrics, stats) = jax.grad(_loss, has_aux=True)(
            state.params, state.stats, config, network, stage, example, hyper
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
        running: normalise with running statistics (eval mode) or the batch's own.
    """

    def step(state: TrainState, batch: Batch, hyper: Hyperparameters):
        neutral = examples.no_augmentation(batch["image"].shape[0])
        example = examples.make_examples(batch, config.model.input_side, neutral)
        _, (metrics, _) = _loss(
            state.params, state.stats, config, network, stage, example, hyper, running=running
        )
        return _average(metrics)

    return jax.pmap(
        step,
        axis_name=AXIS,
        in_axes=(None, 0, None),
        out_axes=None,
        devices=jax.local_devices(),
    )


def make_predict_step(
    config: ml_collections.ConfigDict, network: Network, *, flip: bool = False
) -> Callable[[TrainState, Batch], dict[str, Array]]:
    """Predictions and labels of a batch of records, in crop px, over this host's devices.

    Args:
        config: the whole config.
        network: from `make_network`.
        flip: see `predict`.
    """
    side = config.model.input_side

    def step(state: TrainState, batch: Batch):
        neutral = examples.no_augmentation(batch["image"].shape[0])
        example = examples.make_examples(batch, side, neutral)
        joints, scores, depth = predict(
            network, state.params, state.stats, example.images, flip=flip
        )
        return {
            "joints": joints,
            "scores": scores,
            "depth": depth,
            "true_joints": (example.joints + 1.0) * (side / 2.0),
            "true_depth": example.depth,
        }

    return jax.pmap(step, axis_name=AXIS, in_axes=(None, 0), devices=jax.local_devices())
