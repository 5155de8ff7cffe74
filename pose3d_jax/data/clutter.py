"""Augmentation of appearance: other people beside and in front of the person, blur, greyscale.

Photographs of sport show one person, sharp and in colour. Everyday ones are crowded, people are
partly hidden, and far ones have few pixels. Parts of the crop are replaced by the next image of the
batch, moved so that its person is at the border (compare Ghiasi et al., *Simple Copy-Paste*, CVPR
2021). Labels stay: a hidden joint is inferred, and joints of the other person are not labelled.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
from jaxtyping import Array, Bool, Float, Key, UInt8

from pose3d_jax.arrays import AnyArray

#: Space between the joints and the border of another image, sides of the crop: smallest, largest.
SPACE = (0.04, 0.25)
#: Share of cluttered images in which something is in front of the person, and the range of its
#: sides, in sides of the crop.
HIDDEN = 0.6
OCCLUDER = (0.1, 0.35)
#: Share of images that continue as another one where they end; the others are black there.
CONTINUED = 0.6
#: Largest value of black pixels, which compression changes.
BLACK = 8
#: Brightness of red, green and blue (ITU-R BT.601).
LUMINANCE = (0.299, 0.587, 0.114)


class Clutter(NamedTuple):
    """The clutter of each image of a batch."""

    continued: Bool[Array, "b"]  # whether another image is where the image ends
    angles: Float[Array, "b 2"]  # outward normals of two half-planes beside the person, radians
    #: Distances of the half-planes from the joints, sides of the crop; infinite for none.
    spaces: Float[Array, "b 2"]
    #: Which joint is behind an occluder: the one with the highest number.
    hidden: Float[Array, "b 16"]
    #: Width and height of the occluder, sides of the crop; 0 without one.
    occluder: Float[Array, "b 2"]
    grey: Bool[Array, "b"]  # whether the image has no colours
    blurred: Bool[Array, "b"]  # whether the image has half the resolution


def is_used(config: ml_collections.ConfigDict) -> bool:
    """Whether the section `augmentation` of a config has any of these probabilities above 0."""
    return bool(config.clutter_probability or config.grey_probability or config.blur_probability)


def sample_clutter(
    keys: Key[Array, "b"], apply: Bool[AnyArray, "b"], config: ml_collections.ConfigDict
) -> Clutter:
    """Samples the clutter.

    Args:
        keys: one random key per image.
        apply: which images may change.
        config: `clutter_probability`, `grey_probability` and `blur_probability`.
    """

    def sample_one(key: Key[Array, ""], apply: Bool[Array, ""]) -> Clutter:
        parts = jax.random.split(key, 8)
        cluttered = apply & jax.random.bernoulli(parts[0], config.clutter_probability)
        hides, *beside = jax.random.bernoulli(parts[1], jnp.array([HIDDEN, 0.5, 0.5]))
        space = jax.random.uniform(parts[2], (2,), minval=SPACE[0], maxval=SPACE[1])
        size = jax.random.uniform(parts[3], (2,), minval=OCCLUDER[0], maxval=OCCLUDER[1])
        shares = jnp.array([CONTINUED, config.grey_probability, config.blur_probability])
        continued, grey, blurred = jax.random.bernoulli(parts[4], shares) & apply
        return Clutter(
            continued=continued & (config.clutter_probability > 0),
            angles=jax.random.uniform(parts[5], (2,), maxval=2 * jnp.pi),
            spaces=jnp.where(cluttered & jnp.stack(beside), space, jnp.inf),
            hidden=jax.random.uniform(parts[6], (16,)),
            occluder=jnp.where(cluttered & hides, size, 0.0),
            grey=grey,
            blurred=blurred,
        )

    return jax.vmap(sample_one)(keys, jnp.asarray(apply))


def content_window(images: UInt8[AnyArray, "b h w 3"]) -> Float[Array, "b 4"]:
    """Where records have content: all but the black rows and columns at their borders.

    Returns:
        Lowest x, y and highest x, y, px; 0 for a black image.
    """
    bright = images.max(-1) > BLACK

    def first_and_last(lines: Bool[AnyArray, "b n"]) -> tuple[Array, Array]:
        last = lines.shape[1] - jnp.argmax(lines[:, ::-1], axis=1)
        return jnp.argmax(lines, axis=1), jnp.where(lines.any(1), last, 0)

    left, right = first_and_last(bright.any(1))
    top, bottom = first_and_last(bright.any(2))
    return jnp.stack([left, top, right, bottom], axis=-1).astype(jnp.float32)


def next_images(images: Float[Array, "b s s 3"], axis: str) -> Float[Array, "b s s 3"]:
    """The next image of the global batch for each image; the first for the last.

    Args:
        images: of this device.
        axis: name of the mapped axis of devices.
    """
    devices = jax.lax.axis_size(axis)
    to_previous = [(device, (device - 1) % devices) for device in range(devices)]
    return jnp.concatenate([images[1:], jax.lax.ppermute(images[:1], axis, to_previous)])


def add_clutter(
    images: Float[AnyArray, "b s s 3"],
    others: Float[AnyArray, "b s s 3"],
    clutter: Clutter,
    joints: Float[AnyArray, "b 16 2"],
    visible: Bool[AnyArray, "b 16"],
    inside: Bool[AnyArray, "b s s"],
) -> Float[Array, "b s s 3"]:
    """Adds clutter to crops.

    Args:
        images: crops, RGB in [0, 1].
        others: crops of other people.
        clutter: of each image.
        joints: px of the crop.
        visible: annotated joints in the visible part.
        inside: pixels of the visible part of the image.
    """
    side = images.shape[1]
    # The other person's right half is at the left border, and the left half at the right one.
    others = jnp.roll(others, side // 2, axis=2)
    images = jnp.where(inside[..., None], images, others * clutter.continued[:, None, None, None])
    centres = jnp.arange(side, dtype=jnp.float32) + 0.5
    points = jnp.stack(jnp.meshgrid(centres, centres, indexing="xy"), axis=-1)

    def is_covered(clutter: Clutter, joints, visible):
        normals = jnp.stack([jnp.cos(clutter.angles), jnp.sin(clutter.angles)])
        along = jnp.where(visible[:, None], joints @ normals, -jnp.inf).max(0)
        # Without a person, the half-planes begin at the middle of the crop.
        along = jnp.where(visible.any(), along, side / 2 * normals.sum(0))
        beside = (points @ normals > along + side * clutter.spaces).any(-1)
        middle = joints[jnp.argmax(jnp.where(visible, clutter.hidden, -1.0))]
        before = (jnp.abs(points - middle) < side / 2 * clutter.occluder).all(-1)
        return beside | before

    covered = jax.vmap(is_covered)(clutter, joints, visible)
    images = jnp.where(covered[..., None], others, images)
    half = jax.image.resize(
        images.reshape(-1, side // 2, 2, side // 2, 2, 3).mean((2, 4)), images.shape, "linear"
    )
    images = jnp.where(clutter.blurred[:, None, None, None], half, images)
    grey = images @ jnp.array(LUMINANCE)
    return jnp.where(clutter.grey[:, None, None, None], grey[..., None], images)
