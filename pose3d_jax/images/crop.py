"""Crops of images, and the maps between image and crop coordinates.

`crop_square` crops on the host with antialiasing, once per record; `sample` crops the network's
input from the result on the device.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Bool, Float, Int, UInt8
from PIL import Image

from pose3d_jax import geometry
from pose3d_jax.arrays import AnyArray

# Pillow's antialiased bicubic filter: half the blur of a box or triangle, and less ringing along
# limbs than Lanczos.
_FILTER = Image.Resampling.BICUBIC
_SUPPORT = 2.0


def crop_square(
    image: UInt8[np.ndarray, "height width 3"],
    center: Float[np.ndarray, "2"],
    side: float,
    size: int,
) -> tuple[UInt8[np.ndarray, "size size 3"], Float[np.ndarray, "2 3"]]:
    """Crops a square and resamples it; black outside the image.

    Args:
        image: RGB.
        center: of the square, px in `image` (continuous: pixel i covers [i, i + 1)).
        side: of the square, px in `image`; any positive number.
        size: side of the result, px.

    Returns:
        The crop, and the affine map from crop px to image px.
    """
    scale = side / size
    left_top = np.asarray(center, np.float64) - side / 2
    to_source = np.array([[scale, 0, left_top[0]], [0, scale, left_top[1]]], dtype=np.float32)
    crop = np.zeros((size, size, 3), np.uint8)
    # Only the part of the result that touches the image is resampled, so that memory is bounded
    # for squares of any size.
    extent = np.array([image.shape[1], image.shape[0]])
    first = np.clip(np.floor(-left_top / scale), 0, size).astype(int)
    last = np.clip(np.ceil((extent - left_top) / scale), 0, size).astype(int)
    if (first >= last).any():
        return crop, to_source
    start, stop = left_top + first * scale, left_top + last * scale
    reach = math.ceil(_SUPPORT * max(scale, 1.0)) + 1
    low, high = np.floor(start).astype(int) - reach, np.ceil(stop).astype(int) + reach
    region = padded(image, low, high)
    box = (*(start - low), *(stop - low))
    width, height = (last - first).tolist()
    resized = Image.fromarray(region).resize((width, height), _FILTER, box=box)
    crop[first[1] : last[1], first[0] : last[0]] = np.asarray(resized)
    return crop, to_source


def block_means(
    image: UInt8[np.ndarray, "height width 3"], factor: int
) -> UInt8[np.ndarray, "h w 3"]:
    """The means of blocks of `factor` × `factor` pixels; height and width are multiples of it."""
    if factor == 1 or image.size == 0:
        return image[::factor, ::factor]
    height, width, channels = image.shape
    # Rows first, in the smallest type that holds the sums; Pillow's `reduce` takes twice as long.
    rows = image.reshape(height // factor, factor, width * channels)
    sums = rows.sum(axis=1, dtype=np.min_scalar_type(255 * factor))
    # Then columns, as matrix products with ones where the channels agree; they are too small for
    # BLAS to start threads.
    columns = sums.reshape(height // factor, width // factor, factor * channels)
    same = np.tile(np.eye(channels, dtype=np.float32), (factor, 1))
    return np.uint8(np.float32(columns) @ same / factor**2 + 0.5)


def padded(
    image: UInt8[np.ndarray, "height width 3"],
    low: Int[np.ndarray, "2"],
    high: Int[np.ndarray, "2"],
) -> UInt8[np.ndarray, "h w 3"]:
    """`image[low:high]` (each x and y) with black beyond its borders."""
    (x0, y0), (x1, y1) = low, high
    height, width = image.shape[:2]
    if x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height:
        return image[y0:y1, x0:x1]
    region = np.zeros((y1 - y0, x1 - x0, 3), np.uint8)
    inner = image[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
    top, left = max(-y0, 0), max(-x0, 0)
    region[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return region


def to_crop(
    points: Float[np.ndarray, "... 2"], to_source: Float[np.ndarray, "2 3"]
) -> Float[np.ndarray, "... 2"]:
    """Maps points of the source image into the crop: the inverse of `to_source`."""
    return ((points - to_source[:, 2]) / np.diag(to_source)).astype(np.float32)


def square_around(
    points: Float[np.ndarray, "joints 2"], margin: float
) -> tuple[Float[np.ndarray, "2"], float]:
    """The square around points.

    Args:
        points: px.
        margin: side of the square in units of the points' larger extent.

    Returns:
        Centre and side, px; the side is at least 1 px.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    return (low + high) / 2, max(float((high - low).max()) * margin, 1.0)


def into_square(
    points: Float[np.ndarray, "n joints 2"], squares: Float[np.ndarray, "n 3"], side: float
) -> Float[np.ndarray, "n joints 2"]:
    """Maps points of images into square crops.

    Args:
        points: px of the images.
        squares: centre x, y and side, px of the images.
        side: of the crops, px.
    """
    zoom = side / squares[:, None, 2:]
    return (points - squares[:, None, :2]) * zoom + side / 2


def out_of_square(
    points: Float[np.ndarray, "n joints 2"], squares: Float[np.ndarray, "n 3"], side: float
) -> Float[np.ndarray, "n joints 2"]:
    """The inverse of `into_square`, float32."""
    zoom = squares[:, None, 2:] / side
    corner = squares[:, None, :2] - squares[:, None, 2:] / 2
    return (corner + points * zoom).astype(np.float32)


@geometry.full_precision
def crop_to_image(
    box: Float[AnyArray, "b 3"],
    side: int,
    scale: Float[AnyArray, "b"] | float = 1.0,
    rotation: Float[AnyArray, "b"] | float = 0.0,
    mirror: Bool[AnyArray, "b"] | bool = False,
) -> Float[Array, "b 2 3"]:
    """The affine map from crop px to image px.

    Args:
        box: centre x, y and side of the square in the image, px.
        side: of the crop, px.
        scale: factor on the square's side, about the box's centre.
        rotation: clockwise rotation of the person in the crop, before mirroring, radians.
        mirror: whether left and right are exchanged.
    """
    scale, rotation, mirror = (
        jnp.broadcast_to(x, box.shape[:1]) for x in (scale, rotation, mirror)
    )
    zoom = box[:, 2] * scale / side
    cos, sin = jnp.cos(rotation), jnp.sin(rotation)
    flip = jnp.where(mirror, -1.0, 1.0)
    # A person rotated clockwise in the crop is sampled along axes rotated counter-clockwise.
    linear = jnp.stack([
        jnp.stack([cos * flip, sin], axis=-1),
        jnp.stack([-sin * flip, cos], axis=-1),
    ], axis=-2) * zoom[:, None, None]  # fmt: skip
    centre = jnp.full((2,), side / 2.0)
    return jnp.concatenate([linear, (box[:, :2] - linear @ centre)[..., None]], axis=-1)


def sample_squares(
    images: UInt8[AnyArray, "b h w 3"], squares: Float[AnyArray, "b 3"], side: int
) -> Float[Array, "b s s 3"]:
    """Samples upright squares bilinearly, in half the time of `sample`.

    Args:
        images: RGB; black beyond.
        squares: centre x, y and side of each, px.
        side: of the crops, px.

    Returns:
        RGB in [0, 1], float32.
    """

    def between(
        lines: UInt8[Array, "n k"] | Float[Array, "n k"], at: Float[Array, "s"]
    ) -> Float[Array, "s k"]:
        """Interpolates between lines, of which line i is at position i; zeros outside."""
        before = jnp.floor(at)
        index, weight = before.astype(jnp.int32), at - before

        def weighted(index, weight):
            weight = jnp.where((index >= 0) & (index < lines.shape[0]), weight, 0.0)
            return (
                lines[jnp.clip(index, 0, lines.shape[0] - 1)].astype(jnp.float32) * weight[:, None]
            )

        return weighted(index, 1.0 - weight) + weighted(index + 1, weight)

    def one(image: UInt8[Array, "h w 3"], square: Float[Array, "3"]) -> Float[Array, "s s 3"]:
        height, width, channels = image.shape
        offsets = (jnp.arange(side) + 0.5 - side / 2) * (square[2] / side) - 0.5
        rows = between(image.reshape(height, width * channels), square[1] + offsets)
        rows = rows.reshape(side, width, channels)
        return jax.vmap(lambda row: between(row, square[0] + offsets))(rows)

    return jax.vmap(one)(images, squares) / 255.0


def sample(
    images: UInt8[AnyArray, "b h w 3"], matrix: Float[AnyArray, "b 2 3"], side: int
) -> Float[Array, "b s s 3"]:
    """Samples square crops bilinearly; outside the image is black.

    Args:
        images: RGB.
        matrix: affine map from crop px to image px. Reductions by much more than 2 alias.
        side: of the crops, px.

    Returns:
        RGB in [0, 1], float32.
    """
    centres = jnp.arange(side, dtype=jnp.float32) + 0.5
    grid = jnp.stack(jnp.meshgrid(centres, centres, indexing="xy"), axis=-1).reshape(-1, 2)
    points = geometry.apply_affine(matrix, jnp.broadcast_to(grid, (len(matrix), *grid.shape)))

    def at(channel, xy):
        rows, columns = xy[:, 1] - 0.5, xy[:, 0] - 0.5
        return map_coordinates(channel, [rows, columns], order=1, mode="constant")

    over_channels = jax.vmap(at, in_axes=(-1, None), out_axes=-1)
    pixels = jax.vmap(over_channels)(images.astype(jnp.float32), points)
    return pixels.reshape(-1, side, side, 3) / 255.0
