"""From person boxes to squares, and to small patches of one size, which the device crops.

A box is `(x, y, width, height)` in px of its image: left, top, and extent. The network's input is
the smallest square around the box's centre that contains the box; black beyond the image.
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from pose3d_jax.errors import UserError
from pose3d_jax.images.crop import block_means, padded

#: The device samples bilinearly, which aliases beyond this reduction; larger squares are first
#: reduced on the host.
MAX_ZOOM = 2.0
#: A box may be at most this many times as large as its image.
MAX_EXCESS = 16.0


class InputError(UserError, ValueError):
    """An image or a box that no pose can be predicted from."""


def check_image(image: Any, name: str) -> UInt8[np.ndarray, "_ _ 3"]:
    """The image as an array.

    Args:
        image: uint8 RGB, (height, width, 3).
        name: of the image, for messages.

    Raises:
        InputError: it is not an RGB image of 8 bits.
    """
    array = np.asarray(image)
    hint = "pose3d_jax.images.read_image reads any file as such."
    if array.dtype != np.uint8:
        kind = type(image).__name__ if array.dtype.kind in "OSU" else array.dtype
        raise InputError(f"{name} is of type {kind}, and must be uint8 RGB from 0 to 255. {hint}")
    if array.ndim != 3 or array.shape[-1] != 3:
        raise InputError(
            f"{name} has the shape {array.shape}, and must have (height, width, 3): RGB. {hint}"
        )
    if 0 in array.shape:
        raise InputError(f"{name} has no pixels: its shape is {array.shape}.")
    return array


def to_squares(
    boxes: Any, image: UInt8[np.ndarray, "_ _ 3"], margin: float, name: str = "The image"
) -> Float[np.ndarray, "n 3"]:
    """The squares around boxes: centre x, y and side, px.

    Args:
        boxes: (x, y, width, height), one or several; None for the largest centred square.
        image: that they are in.
        margin: factor on the squares' sides.
        name: of the image, for messages.

    Raises:
        InputError: a box is not four numbers, has no area, lies outside the image or is far larger.
    """
    height, width = image.shape[:2]
    if not (np.isfinite(margin) and margin > 0):
        raise InputError(f"The margin is {margin}, and must be a positive number.")
    if boxes is None:
        return np.array([[width / 2, height / 2, min(width, height)]])
    try:
        boxes = np.asarray(boxes, np.float64)
    except (TypeError, ValueError):
        boxes = np.zeros((1, 1))  # Ragged, or not numbers.
    if boxes.size == 0 and boxes.shape in ((0,), (0, 4)):
        return np.zeros((0, 3))
    if boxes.ndim not in (1, 2) or boxes.shape[-1] != 4:
        raise InputError(f"{name}: boxes must be (x, y, width, height), one or several.")
    boxes = boxes.reshape(-1, 4)
    for box in boxes:
        where = f"{name}: the box ({', '.join(f'{value:g}' for value in box)})"
        size = f"the image, which is {width} × {height} px"
        if not np.isfinite(box).all():
            raise InputError(f"{where} is not four finite numbers.")
        if box[2] <= 0 or box[3] <= 0:
            raise InputError(f"{where} has no area; boxes are (x, y, width, height).")
        side = max(box[2:]) * margin
        centre = box[:2] + box[2:] / 2
        if (centre + side / 2 <= 0).any() or (centre - side / 2 >= (width, height)).any():
            raise InputError(f"{where} lies outside {size}.")
        if side > MAX_EXCESS * max(width, height):
            raise InputError(f"{where} is more than {MAX_EXCESS:g} times as large as {size}.")
    sides = boxes[:, 2:].max(axis=1) * margin
    return np.column_stack([boxes[:, :2] + boxes[:, 2:] / 2, sides])


def patch_side(input_side: int) -> int:
    """Side of every patch of a network with an input of `input_side` px."""
    return int(MAX_ZOOM * input_side) + 4  # Squares start between pixels; bilinear reaches 1 px.


def cut_patch(
    image: UInt8[np.ndarray, "h w 3"], square: Float[np.ndarray, "3"], input_side: int
) -> tuple[UInt8[np.ndarray, "p p 3"], Float[np.ndarray, "3"]]:
    """Cuts a person out of an image.

    Pixels are copied where the square is at most `MAX_ZOOM` times the network's input, so that the
    device samples the image itself. The pixels of a larger square are means of 2×2 pixels, 3×3, or
    as many as necessary.

    Args:
        image: RGB.
        square: centre x, y and side, px.
        input_side: of the network's input, px.

    Returns:
        A patch, black beyond the image, of one shape for a network; and the square in its px.
    """
    side = patch_side(input_side)
    centre, extent = square[:2], square[2]
    factor = max(math.ceil(extent / (MAX_ZOOM * input_side)), 1)
    # Around the centre, so that a mirrored image gives the mirrored patch.
    corner = np.floor(centre).astype(int) - factor * (side // 2)
    # Only the part that the device samples and the image contains.
    low = np.maximum(centre - extent / 2 - factor, 0)
    high = np.minimum(centre + extent / 2 + factor, image.shape[1::-1])
    first = np.clip(np.floor((low - corner) / factor), 0, side).astype(int)
    last = np.clip(np.ceil((high - corner) / factor), first, side).astype(int)
    region = padded(image, corner + factor * first, corner + factor * last)
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[first[1] : last[1], first[0] : last[0]] = block_means(region, factor)
    return pixels, np.float32([*(centre - corner) / factor, extent / factor])
