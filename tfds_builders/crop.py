"""Cutting a person out of a source image: square, resampled once, and exactly reversible."""

import math

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

# Bicubic, widened to the scale of the reduction (that is Pillow's antialiasing): half the blur of
# a box or triangle, and less ringing along limbs than Lanczos.
_FILTER = Image.Resampling.BICUBIC
_SUPPORT = 2.0


def crop_square(
    image: UInt8[np.ndarray, "height width 3"],
    center: Float[np.ndarray, "2"],
    side: float,
    size: int,
) -> tuple[UInt8[np.ndarray, "size size 3"], Float[np.ndarray, "2 3"]]:
    """Cuts out a square and resamples it; black where the image ends.

    Args:
        image: RGB.
        center: of the square, px in `image` (continuous: pixel i covers [i, i + 1)).
        side: of the square, px in `image`; need not be whole.
        size: side of the result, px.

    Returns:
        The crop, and the affine map from its px to those of `image`.
    """
    scale = side / size
    left_top = np.asarray(center, np.float64) - side / 2
    to_source = np.array([[scale, 0, left_top[0]], [0, scale, left_top[1]]], dtype=np.float32)
    crop = np.zeros((size, size, 3), np.uint8)
    # Only the pixels of the result that touch the image are resampled: however far the square
    # reaches, no more than the image is ever padded.
    extent = np.array([image.shape[1], image.shape[0]])
    first = np.clip(np.floor(-left_top / scale), 0, size).astype(int)
    last = np.clip(np.ceil((extent - left_top) / scale), 0, size).astype(int)
    if (first >= last).any():
        return crop, to_source
    start, stop = left_top + first * scale, left_top + last * scale
    reach = math.ceil(_SUPPORT * max(scale, 1.0)) + 1
    low, high = np.floor(start).astype(int) - reach, np.ceil(stop).astype(int) + reach
    region = _padded(image, low, high)
    box = (*(start - low), *(stop - low))
    width, height = (last - first).tolist()
    resized = Image.fromarray(region).resize((width, height), _FILTER, box=box)
    crop[first[1] : last[1], first[0] : last[0]] = np.asarray(resized)
    return crop, to_source


def _padded(image: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """`image[low:high]` with black beyond its borders."""
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
        margin: the side in units of the points' larger extent.

    Returns:
        Centre and side, px. A side is at least 1 px.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    return (low + high) / 2, max(float((high - low).max()) * margin, 1.0)
