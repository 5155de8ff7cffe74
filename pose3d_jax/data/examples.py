"""Training examples, computed on the device: affine crop, augmentation and targets.

Training, evaluation and prediction share the crop (`images.crop`); only training augments.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
from jaxtyping import Array, Bool, Float, Key, Shaped

from pose3d_jax import geometry, heatmaps
from pose3d_jax.arrays import AnyArray
from pose3d_jax.data.clutter import Clutter, add_clutter, content_window, next_images
from pose3d_jax.data.framing import Framing, is_inside, whole_people
from pose3d_jax.images.crop import crop_to_image, sample
from pose3d_jax.models.variables import AXIS
from pose3d_jax.skeleton import MIRROR_ORDER, ROOT


class Augmentation(NamedTuple):
    """Augmentation of each image of a batch."""

    scale: Float[Array, "b"]  # factor on the side of the crop; above 1, the person becomes smaller
    #: Clockwise rotation of the person in the crop, before mirroring, radians.
    rotation: Float[Array, "b"]
    mirror: Bool[Array, "b"]  # whether left and right are exchanged
    colour: Float[Array, "b 3"]  # factor on each channel
    shift: Float[Array, "b 2"]  # of the crop's centre in the image, x and y, in sides of the crop


class Example(NamedTuple):
    """A batch of training examples."""

    images: Float[Array, "b s s 3"]  # crops, RGB in [0, 1]
    heatmaps: Float[Array, "b s/4 s/4 16"]  # targets of Eq. 1
    joints: Float[Array, "b 16 2"]  # positions in the crop, normalised to [−1, 1]
    valid: Bool[Array, "b 16"]  # annotated and visible joints
    #: Joints with a known heat-map: annotated, or certainly not visible (`data.framing`).
    known: Bool[Array, "b 16"]
    depth: Float[Array, "b 16"]  # targets of Eq. 2, normalised; zeros without `has_3d`
    has_3d: Bool[Array, "b"]  # which images have depth labels


def no_augmentation(batch_size: int) -> Augmentation:
    """The augmentation that changes nothing."""
    return Augmentation(
        scale=jnp.ones(batch_size),
        rotation=jnp.zeros(batch_size),
        mirror=jnp.zeros(batch_size, bool),
        colour=jnp.ones((batch_size, 3)),
        shift=jnp.zeros((batch_size, 2)),
    )


def sample_augmentation(
    keys: Key[Array, "b"], apply: Bool[AnyArray, "b"], config: ml_collections.ConfigDict
) -> Augmentation:
    """Samples the 2D augmentation of Newell et al. with the release's parameters, and shifts.

    Args:
        keys: one random key per image, so that the augmentation of an image does not depend on
            the number of devices.
        apply: which images are augmented.
        config: `scale_mean`, `scale_sigma` and `scale_limit` (exponents of 2), `rotation_sigma`,
            `rotation_limit` (degrees) and `rotation_probability`, `mirror_probability`,
            `colour_range` (lowest and highest factor), `shift_limit` (in sides).
    """

    def sample_one(key: Key[Array, ""]) -> Augmentation:
        scale_key, rotation_key, turn_key, mirror_key, colour_key, shift_key = jax.random.split(
            key, 6
        )
        exponent = config.scale_mean + config.scale_sigma * jax.random.normal(scale_key)
        degrees = config.rotation_sigma * jax.random.normal(rotation_key)
        degrees = jnp.clip(degrees, -config.rotation_limit, config.rotation_limit)
        turned = jax.random.bernoulli(turn_key, config.rotation_probability)
        lowest, highest = config.colour_range
        return Augmentation(
            scale=2.0 ** jnp.clip(exponent, -config.scale_limit, config.scale_limit),
            rotation=jnp.where(turned, jnp.deg2rad(degrees), 0.0),
            mirror=jax.random.bernoulli(mirror_key, config.mirror_probability),
            colour=jax.random.uniform(colour_key, (3,), minval=lowest, maxval=highest),
            shift=config.shift_limit * jax.random.uniform(shift_key, (2,), minval=-1.0),
        )

    def choose(sampled, neutral):
        return jnp.where(apply.reshape(-1, *(1 for _ in sampled.shape[1:])), sampled, neutral)

    return jax.tree.map(choose, jax.vmap(sample_one)(keys), no_augmentation(len(apply)))


def mirror_joints(
    joints: Shaped[AnyArray, "b 16 *d"], mirror: Bool[AnyArray, "b"]
) -> Shaped[Array, "b 16 *d"]:
    """Exchanges left and right joints (axis 1) where `mirror` is true."""
    swap = mirror.reshape(-1, *(1 for _ in joints.shape[1:]))
    return jnp.where(swap, joints[:, MIRROR_ORDER], joints)


def make_examples(
    batch: Mapping[str, AnyArray],
    side: int,
    augmentation: Augmentation,
    *,
    sigma: float,
    lab_joints: str,
    framing: Framing | None = None,
    clutter: Clutter | None = None,
) -> Example:
    """Makes training examples of a batch of records.

    The heat-maps, the 2D joints of the geometric loss and the scale of the depth labels use the
    same 2D positions. For 3D-labelled images these are either the true projections ("projection"),
    or the weak-perspective projection of the 3D pose ("weak_perspective", as in the release). The
    latter makes the targets a scaled copy of the pose: its bones have the true ratios, so a perfect
    prediction is wrong only in size.

    Args:
        batch: `image`, `box`, `joints_2d`, `joints_valid`, `joints_3d`, `has_3d` of the records
            (`records`), stacked.
        side: of the network's input, px.
        augmentation: of each image.
        sigma: standard deviation of the Gaussians, heat-map px.
        lab_joints: 2D positions of 3D-labelled images, "projection" or "weak_perspective".
        framing: visible part of each image; None for its box.
        clutter: of each image; None for none. The other images are the next ones of the global
            batch, so the function must be mapped over the devices.
    """
    whole = framing is None
    framing = whole_people(batch) if whole else framing
    if lab_joints == "weak_perspective":
        batch = batch | {"joints_2d": _weak_perspective_joints(batch)}
    box = framing.box
    shift = augmentation.shift * (box[:, 2] * augmentation.scale)[:, None]
    box = jnp.concatenate([box[:, :2] + shift, box[:, 2:]], axis=-1)
    matrix = crop_to_image(
        box, side, augmentation.scale, augmentation.rotation, augmentation.mirror
    )
    images = sample(batch["image"], matrix, side)
    joints = geometry.apply_affine(geometry.invert_affine(matrix), batch["joints_2d"])
    joints = mirror_joints(joints, augmentation.mirror)
    valid = mirror_joints(batch["joints_valid"], augmentation.mirror)
    visible = mirror_joints(framing.visible, augmentation.mirror)
    joints_3d = mirror_joints(batch["joints_3d"], augmentation.mirror)
    if clutter is not None:
        content = content_window(batch["image"])
        low = jnp.maximum(framing.window[:, :2], content[:, :2])
        high = jnp.minimum(framing.window[:, 2:], content[:, 2:])
        inside = is_inside(matrix, jnp.concatenate([low, high], axis=-1), side)
        images = add_clutter(images, next_images(images, AXIS), clutter, joints, visible, inside)
    elif not whole:
        images = images * is_inside(matrix, framing.window, side)[..., None]
    images = images * augmentation.colour[:, None, None, :]
    return Example(
        images=jnp.clip(images, 0.0, 1.0),
        heatmaps=heatmaps.render(joints / heatmaps.STRIDE, visible, side // heatmaps.STRIDE, sigma),
        joints=geometry.normalise(joints, side),
        valid=visible,
        known=mirror_joints(framing.known, augmentation.mirror),
        # Bone lengths do not change with the rotation, so joints_3d are not rotated.
        depth=geometry.depth_target(joints, joints_3d, side, valid),
        has_3d=batch["has_3d"],
    )


def _weak_perspective_joints(batch: Mapping[str, AnyArray]) -> Float[Array, "b 16 2"]:
    """2D joints in image px: weak perspective where there is 3D, annotations elsewhere."""
    joints, valid = batch["joints_2d"], batch["joints_valid"]
    drawn = geometry.weak_perspective(joints, batch["joints_3d"], valid)
    # The root is the reference point, so it must be annotated.
    known = batch["has_3d"] & valid[:, ROOT]
    return jnp.where(known[:, None, None], drawn, joints)
