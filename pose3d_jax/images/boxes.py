"""From photos and person boxes to the small, equally large patches that the device crops.

A box is `(x, y, width, height)` in px of its image: left, top, and extent. The network sees the
smallest square around the box's centre that holds it; where that leaves the image, it is black.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from pose3d_jax.errors import UserError
from pose3d_jax.images.crop import block_means, padded

#: Bilinear sampling, all that the device does, aliases where it shrinks by more than this; a larger
#: square is first reduced on the host.
MAX_ZOOM = 2.0
#: A square this many times as large as its image shows nothing of use, and only costs memory.
MAX_EXCESS = 16.0


class InputError(UserError, ValueError):
    """An image or a box that no pose can be predicted from."""


class Person(NamedTuple):
    """Somebody to predict.

    Attributes:
        image: index of the image.
        square: centre x, y and side of what the network sees, px of the image.
    """

    image: int
    square: Float[np.ndarray, "3"]


class Patch(NamedTuple):
    """A piece of an image, as the device crops it.

    Attributes:
        pixels: RGB; black beyond the image. All patches of a network have one shape.
        box: centre x, y and side of the network's input, patch px.
    """

    pixels: UInt8[np.ndarray, "p p 3"]
    box: Float[np.ndarray, "3"]


def as_images(images: Any) -> tuple[list[UInt8[np.ndarray, "_ _ 3"]], bool]:
    """One image or several as a list.

    Args:
        images: an array (h, w, 3), several of them, or an array (n, h, w, 3); uint8 RGB.

    Returns:
        The images, and whether it was one alone.

    Raises:
        InputError: something is not an RGB image of 8 bits.
    """
    alone = not isinstance(images, list | tuple) and np.ndim(images) < 4
    given_images = [images] if alone else images
    images = [np.asarray(image) for image in given_images]
    for number, (image, given) in enumerate(zip(images, given_images)):
        name = "The image" if alone else f"Image {number}"
        if image.dtype != np.uint8:
            kind = type(given).__name__ if image.dtype.kind in "OSU" else image.dtype
            raise InputError(
                f"{name} is of type {kind}, and must be uint8 RGB from 0 to 255. "
                "pose3d_jax.images.read_image reads any file as such."
            )
        if image.ndim != 3 or image.shape[-1] != 3:
            raise InputError(
                f"{name} has the shape {image.shape}, and must have (height, width, 3): RGB. "
                "pose3d_jax.images.read_image reads any file as such."
            )
        if 0 in image.shape:
            raise InputError(f"{name} has no pixels: its shape is {image.shape}.")
    return images, alone


def as_people(
    images: Sequence[np.ndarray], boxes: Any, margin: float, *, alone: bool
) -> list[Person]:
    """Who is to be predicted, image by image.

    Args:
        images: from `as_images`.
        boxes: of the image that is `alone`: None, a box or several. Else a list with one of these
            per image, or None.
        margin: factor on the squares' sides.
        alone: whether boxes are those of one image.

    Raises:
        InputError: a box is not four numbers, has no area, or shows next to nothing of the image.
    """
    if not (np.isfinite(margin) and margin > 0):
        raise InputError(f"The margin is {margin}, and must be a positive number.")
    if alone:
        boxes = [boxes]
    elif boxes is None:
        boxes = [None] * len(images)
    elif len(boxes) != len(images):
        raise InputError(
            f"A list of {len(images)} was given as images, and one of {len(boxes)} as boxes: with "
            "a list of images goes a list with the boxes of each (one box, several, none, or None "
            "for the centred square)."
        )
    return [
        Person(number, square)
        for number, (image, own) in enumerate(zip(images, boxes))
        for square in _squares(image, own, margin, "The image" if alone else f"Image {number}")
    ]


def _squares(image: np.ndarray, boxes: Any, margin: float, name: str) -> Iterator[np.ndarray]:
    """Centre and side of each box's square; of the largest centred one without boxes."""
    height, width = image.shape[:2]
    if boxes is None:
        yield np.array([width / 2, height / 2, min(width, height)])
        return
    try:
        boxes = np.asarray(boxes, np.float64)
    except (TypeError, ValueError):
        boxes = np.empty((1, 0))  # Ragged, or no numbers.
    if boxes.size == 0 and boxes.shape[-1] in (0, 4) and boxes.shape != (1, 0):
        return
    if boxes.ndim not in (1, 2) or boxes.shape[-1] != 4:
        raise InputError(f"{name}: boxes must be (x, y, width, height), one or several.")
    for box in boxes.reshape(-1, 4):
        told = f"{name}: the box ({', '.join(f'{value:g}' for value in box)})"
        if not np.isfinite(box).all():
            raise InputError(f"{told} is not four finite numbers.")
        x, y, box_width, box_height = box
        if box_width <= 0 or box_height <= 0:
            raise InputError(f"{told} has no area; boxes are (x, y, width, height).")
        side = max(box_width, box_height) * margin
        square = np.array([x + box_width / 2, y + box_height / 2, side])
        if not _overlaps(square, width, height):
            raise InputError(f"{told} lies outside the image, which is {width} × {height} px.")
        if side > MAX_EXCESS * max(width, height):
            raise InputError(
                f"{told} is more than {MAX_EXCESS:g} times as large as the image, which is "
                f"{width} × {height} px."
            )
        yield square


def _overlaps(square: np.ndarray, width: int, height: int) -> bool:
    low, high = square[:2] - square[2] / 2, square[:2] + square[2] / 2
    return bool((high > 0).all() and (low < (width, height)).all())


def patch_side(input_side: int) -> int:
    """Side of every patch of a network with an input of `input_side` px."""
    return int(MAX_ZOOM * input_side) + 4  # The square is not on whole px, and bilinear reaches 1.


def cut_patch(
    image: UInt8[np.ndarray, "h w 3"], square: Float[np.ndarray, "3"], input_side: int
) -> Patch:
    """Cuts a person out of an image.

    Pixels are copied where the square is at most `MAX_ZOOM` times the network's input, so that the
    device samples the image itself; of a larger square, the patch's pixels are the means of 2×2
    pixels, 3×3, or as many as it takes.

    Args:
        image: RGB.
        square: centre x, y and side, px.
        input_side: of the network's input, px.
    """
    side = patch_side(input_side)
    centre, extent = square[:2], square[2]
    factor = max(math.ceil(extent / (MAX_ZOOM * input_side)), 1)
    # Around the centre, so that a mirrored image gives the mirrored patch.
    corner = np.floor(centre).astype(int) - factor * (side // 2)
    # Only what the device samples, and what there is.
    low = np.maximum(centre - extent / 2 - factor, 0)
    high = np.minimum(centre + extent / 2 + factor, image.shape[1::-1])
    first = np.clip(np.floor((low - corner) / factor), 0, side).astype(int)
    last = np.clip(np.ceil((high - corner) / factor), first, side).astype(int)
    region = padded(image, corner + factor * first, corner + factor * last)
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[first[1] : last[1], first[0] : last[0]] = block_means(region, factor)
    return Patch(pixels, np.float32([*(centre - corner) / factor, extent / factor]))
