"""Training of the heads that the paper does not have, on a trained network that stays as it is.

`train_detector` trains the detector on mosaics of the training photographs; `train_lifter` trains
the network from joints to depth on 3D poses, seen from random directions with errors such as the
pose network makes.
"""

import functools
import logging
from collections.abc import Sequence
from pathlib import Path

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Key

from pose3d_jax.data.mosaics import sample_mosaic
from pose3d_jax.geometry import full_precision, relative_to_root
from pose3d_jax.models.detector import detection_loss
from pose3d_jax.models.variables import Variables, split
from pose3d_jax.skeleton import MIRROR_ORDER

log = logging.getLogger(__name__)

#: Steps between two lines of the log.
LOG_EVERY = 100
#: Mosaics in a batch, and the detector's highest learning rate.
MOSAICS, DETECTOR_RATE = 8, 2e-3
#: Poses in a batch, and the lifter's highest learning rate.
POSES, LIFTER_RATE = 256, 1e-3
#: The unit of the lifter's training poses, mm: a person is about as large as a crop.
UNIT = 1000.0


def train_detector(
    graphdef: nnx.GraphDef,
    variables: Variables,
    records: Sequence,
    *,
    others: Sequence[Path] = (),
    steps: int,
    seed: int = 0,
    threads: int = 2,
) -> Variables:
    """Trains the detector of a network on frozen features, with mosaics of training records.

    Args:
        graphdef: structure of a network with a detector.
        variables: parameters and statistics of the trained network.
        records: training records, of which `sample_mosaic` makes pictures.
        others: image files without people, for the backgrounds of mosaics.
        steps: iterations.
        seed: of the mosaics.
        threads: that make mosaics.

    Returns:
        The variables, of which those of the detector have changed.
    """
    model = nnx.merge(graphdef, *variables, copy=True)
    head, params, stats = nnx.split(model.detector, nnx.Param, nnx.BatchStat)
    schedule = optax.warmup_cosine_decay_schedule(0.0, DETECTOR_RATE, steps // 30, steps)
    optimizer = optax.adam(schedule)

    def loss(params, stats, features, batch):
        detector = nnx.merge(head, params, stats, copy=True)
        detector.train()
        targets = {name: batch[name] for name in ("score", "target", "positive", "ignored")}
        return detection_loss(detector(features), **targets), nnx.state(detector, nnx.BatchStat)

    @jax.jit
    def step(params, stats, opt_state, variables, batch):
        model = nnx.merge(graphdef, *variables, copy=True)
        model.eval()
        _, features = model.features(batch["image"].astype(jnp.float32) / 255.0)
        grad = jax.value_and_grad(loss, has_aux=True)
        (value, stats), gradients = grad(params, stats, features, batch)
        updates, opt_state = optimizer.update(gradients, opt_state)
        return optax.apply_updates(params, updates), stats, opt_state, value

    sample = functools.partial(sample_mosaic, records, seed, others=others)
    mosaics = grain.MapDataset.range(steps * MOSAICS).map(sample).batch(MOSAICS)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    opt_state, values = optimizer.init(params), []
    for number, batch in enumerate(mosaics.to_iter_dataset(options), 1):
        params, stats, opt_state, value = step(params, stats, opt_state, variables, batch)
        values.append(value)
        if number % LOG_EVERY == 0:
            log.info("detector %d/%d · loss %.4f", number, steps, np.mean(values[-LOG_EVERY:]))
    nnx.update(model.detector, params, stats)
    return split(model)[1]


def train_lifter(
    graphdef: nnx.GraphDef,
    variables: Variables,
    poses: Float[np.ndarray, "n 16 3"],
    *,
    steps: int,
    seed: int = 0,
) -> Variables:
    """Trains the network from joints to depth on poses seen from random directions.

    Args:
        graphdef: structure of a network with a lifter.
        variables: parameters and statistics of the trained network.
        poses: training poses, mm, in camera axes.
        steps: iterations.
        seed: of the random views and errors.

    Returns:
        The variables, of which those of the lifter have changed.
    """
    model = nnx.merge(graphdef, *variables, copy=True)
    head, params = nnx.split(model.lifter)
    optimizer = optax.adam(optax.cosine_decay_schedule(LIFTER_RATE, steps))

    @jax.jit
    def step(params, opt_state, poses, key):
        choice_key, view_key = jax.random.split(key)
        chosen = poses[jax.random.randint(choice_key, (POSES,), 0, len(poses))]
        joints, confidence, depth = draw_views(view_key, chosen)

        def loss(params):
            return jnp.abs(nnx.merge(head, params)(joints, confidence) - depth).mean()

        value, gradients = jax.value_and_grad(loss)(params)
        updates, opt_state = optimizer.update(gradients, opt_state)
        return optax.apply_updates(params, updates), opt_state, value

    opt_state, values, poses = optimizer.init(params), [], jnp.asarray(poses)
    for number in range(1, steps + 1):
        key = jax.random.fold_in(jax.random.key(seed), number)
        params, opt_state, value = step(params, opt_state, poses, key)
        values.append(value)
        if number % LOG_EVERY == 0:
            log.info("lifter %d/%d · loss %.4f", number, steps, np.mean(values[-LOG_EVERY:]))
    nnx.update(model.lifter, params)
    return split(model)[1]


@full_precision
def draw_views(
    key: Key[Array, ""], poses: Float[Array, "n 16 3"]
) -> tuple[Float[Array, "n 16 2"], Float[Array, "n 16"], Float[Array, "n 16"]]:
    """Poses seen from random directions, with the errors of predicted joints.

    Half of the people turn to any side, cameras tilt and roll by some 12° and 15°, and half of the
    poses are mirrored. Joints get noise of about 3 % of a torso, one in 25 is exchanged with its
    mirror joint at a lower confidence, and a quarter of the people are cut off below, where the
    confidence is 0.

    Args:
        key: random key.
        poses: mm, camera axes.

    Returns:
        2D joints (weak perspective), confidences, and depths relative to the root, in `UNIT`.
    """
    keys = jax.random.split(key, 12)
    count = len(poses)
    pose = relative_to_root(poses) / UNIT
    tilt = jnp.deg2rad(12.0) * jax.random.normal(keys[0], (count,))
    turns = jax.random.bernoulli(keys[1], 0.5, (count,))
    turn = jnp.where(turns, jax.random.uniform(keys[2], (count,), maxval=2 * jnp.pi), 0.0)
    roll = jnp.deg2rad(15.0) * jax.random.normal(keys[3], (count,))
    rotation = _rotation(tilt, 1, 2) @ _rotation(turn, 0, 2) @ _rotation(roll, 0, 1)
    pose = jnp.einsum("bij,bnj->bni", rotation, pose)
    mirrored = pose[:, MIRROR_ORDER] * jnp.array([-1.0, 1.0, 1.0])
    pose = jnp.where(jax.random.bernoulli(keys[4], 0.5, (count, 1, 1)), mirrored, pose)

    deviation = 0.015 * jnp.exp(0.7 * jax.random.normal(keys[5], (count, 16, 1)))
    joints = pose[..., :2] + deviation * jax.random.normal(keys[6], (count, 16, 2))
    wrong = jax.random.bernoulli(keys[7], 0.04, (count, 16))
    joints = jnp.where(wrong[..., None], joints[:, MIRROR_ORDER], joints)
    lowest = jnp.where(wrong, 0.0, 0.6)
    confidence = lowest + (1 - lowest) * jax.random.uniform(keys[8], (count, 16))
    y = joints[..., 1]
    low, high = y.min(1, keepdims=True), y.max(1, keepdims=True)
    part = jax.random.uniform(keys[9], (count, 1), minval=0.3)
    cut = jax.random.bernoulli(keys[10], 0.25, (count, 1)) & (y > low + part * (high - low))
    joints = jnp.where(cut[..., None], jax.random.normal(keys[11], (count, 16, 2)), joints)
    return joints, jnp.where(cut, 0.0, confidence), pose[..., 2]


def _rotation(angle: Float[Array, "n"], first: int, second: int) -> Float[Array, "n 3 3"]:
    """Rotations in the plane of two axes."""
    matrix = jnp.broadcast_to(jnp.eye(3), (len(angle), 3, 3))
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    matrix = matrix.at[:, first, first].set(cosine).at[:, second, second].set(cosine)
    return matrix.at[:, first, second].set(-sine).at[:, second, first].set(sine)
