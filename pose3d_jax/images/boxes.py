"""From photos and person boxes to the small, equally large patches that the device crops.

A box is `(x, y, width, height)` in px of its image: left, top, and extent. The network sees the
smallest square around the box's centre that holds it; where that leaves the image, it is black.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from pose3d_jax.errors import UserError
from pose3d_jax.images.crop import crop_square_quickly

#: Bilinear sampling, all that the device does, aliases where it shrinks by more than this; a larger
#: square is first reduced on the host, as the builders do.
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
    device samples the image itself; a larger one is reduced to the input's size.

    Args:
        image: RGB.
        square: centre x, y and side, px.
        input_side: of the network's input, px.
    """
    side = patch_side(input_side)
    pixels = np.zeros((side, side, 3), np.uint8)
    centre, extent = square[:2], square[2]
    if extent > MAX_ZOOM * input_side:
        reduced = crop_square_quickly(image, centre, extent, input_side)
        pixels[:input_side, :input_side] = reduced
        box = np.array([input_side / 2, input_side / 2, input_side])
    else:
        origin = np.floor(centre - extent / 2).astype(int) - 1
        (x0, y0), (height, width) = origin, image.shape[:2]
        inner = image[
            np.clip(y0, 0, height) : np.clip(y0 + side, 0, height),
            np.clip(x0, 0, width) : np.clip(x0 + side, 0, width),
        ]
        top, left = max(-y0, 0), max(-x0, 0)
        pixels[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
        box = np.array([*(centre - origin), extent])
    return Patch(pixels, box.astype(np.float32))
