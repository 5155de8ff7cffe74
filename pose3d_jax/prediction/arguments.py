"""The types of a `Predictor` call's arguments, and their checks."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float, UInt8

from pose3d_jax.images.boxes import InputError, check_image
from pose3d_jax.images.files import read_image

#: As `boxes`: the people of the image are detected.
AUTO = "auto"


def is_auto(boxes: Any) -> bool:
    """Whether people are to be detected."""
    return isinstance(boxes, str) and boxes == AUTO


if TYPE_CHECKING:
    Path = str | os.PathLike
    #: One image: uint8 RGB of any size, or the path of an image file.
    Image = UInt8[np.ndarray, "height width 3"] | Path
    #: One or several images.
    Images = Image | Sequence[Image] | UInt8[np.ndarray, "n height width 3"]
    #: People of one image: boxes (x, y, width, height) in px, one or several; "auto" to detect
    #: people; None for the largest centred square.
    ImageBoxes = (
        Float[np.ndarray, "n 4"]
        | Sequence[Sequence[float]]
        | Sequence[float]
        | Literal["auto"]
        | None
    )
    #: The same for one image, or a list with one entry per image.
    Boxes = ImageBoxes | Sequence[ImageBoxes]
    #: Bone-length sums in mm: one for all people, or one each; None for the average skeleton's.
    Lengths = float | Sequence[float] | Float[np.ndarray, "n"] | None
else:  # Checked when called, with messages that say what to change.
    Images = Boxes = ImageBoxes = Lengths = Any


def per_image(images: Any, boxes: Any) -> tuple[list[np.ndarray], list[Any], list[str]]:
    """Images, boxes and names for messages, one of each per image.

    Raises:
        InputError: an image is invalid, or there are not as many boxes as images.
    """
    single = isinstance(images, str | os.PathLike) or (
        not isinstance(images, list | tuple) and np.ndim(images) < 4
    )
    items = [images] if single else list(images)
    names = ["The image"] if single else [f"Image {number}" for number in range(len(items))]
    arrays = [
        read_image(item) if isinstance(item, str | os.PathLike) else check_image(item, name)
        for item, name in zip(items, names)
    ]
    if single:
        return arrays, [boxes], names
    if boxes is None or isinstance(boxes, str):
        return arrays, [boxes] * len(arrays), names
    if len(boxes) != len(arrays):
        raise InputError(
            f"A list of {len(arrays)} images needs a list of {len(arrays)} entries as boxes (each "
            'one box, several, none, "auto", or None for the centred square), but has '
            f"{len(boxes)}."
        )
    return arrays, list(boxes), names


def bone_length_sums(lengths: "Lengths", count: int) -> Float[np.ndarray, "n"]:
    """The bone-length sums of `count` people, mm.

    Raises:
        InputError: they are not positive numbers, one for all or one each.
    """
    try:
        sizes = np.asarray(lengths, np.float32)
    except (TypeError, ValueError):
        sizes = np.array(np.nan)  # Ragged, or not numbers.
    if sizes.shape not in ((), (count,)) or not (np.isfinite(sizes) & (sizes > 0)).all():
        raise InputError(
            "bone_length_sum must be a positive number of mm, one for all or one for each of "
            f"{count} people; it is {lengths}."
        )
    return np.broadcast_to(sizes, count)
