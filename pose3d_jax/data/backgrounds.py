"""Images without a person, for training.

Parts of the training photographs without a person show little besides meadows and walls. A folder
of other images adds landscapes, animals, vehicles and things. Images of cut-out things have
transparent parts, and are pasted on parts of the photographs.
"""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from pose3d_jax.data.catalog import data_root
from pose3d_jax.data.sources import View
from pose3d_jax.errors import UserError
from pose3d_jax.images.jpeg import encode_image
from pose3d_jax.images.media import IMAGE_SUFFIXES
from pose3d_jax.records import make_record

#: One record in so many shows a background.
EVERY = 10
#: Range of the sides of a background's box, in sides of its image.
BOX_SIDES = (0.5, 1.0)
#: Share of backgrounds that show other things.
OTHER_THINGS = 0.8
#: Larger side of a thing, in smaller sides of the picture; deviation of its angle, degrees.
THING_SIDES, THING_ANGLE = (0.4, 1.3), 20.0
#: Darker pixels at a record's border are padding, not photograph.
BLACK = 12


def with_backgrounds(records: Sequence, others: Sequence[Path], image_side: int) -> Sequence:
    """Records, of which one in `EVERY` has no joints and shows a background.

    The background of an index is the same whenever it is made.

    Args:
        records: of people.
        others: image files without people.
        image_side: of the records, px.
    """

    def get(index: int) -> dict[str, Any]:
        row, place = divmod(index, EVERY)
        if place < EVERY - 1:
            return records[row * (EVERY - 1) + place]
        rng = np.random.default_rng(index)
        record = records[int(rng.integers(len(records)))]
        empty = make_record(
            encode_image(background(record, image_side, image_side, rng, others)),
            np.zeros_like(record["joints_2d"]),
            joints_valid=np.zeros_like(record["joints_valid"]),
            image_side=image_side,
            box_side=image_side * rng.uniform(*BOX_SIDES),
            head_size=0.0,
            image_id=f"background {index}",
            to_source=np.eye(2, 3, dtype=np.float32),
        )
        return {**empty, "image_id": empty["image_id"].encode()}

    return View(len(records) * EVERY // (EVERY - 1), get)


def open_backgrounds(folder: str | None, data_dir: str | os.PathLike | None) -> list[Path]:
    """The image files of the config's `data.backgrounds`; none without a folder.

    Args:
        folder: in the directory of the data sets, or an absolute path.
        data_dir: directory of the data sets; see `catalog.data_root`.

    Raises:
        UserError: the folder has no images, or one cannot be read.
    """
    if not folder:
        return []
    place = data_root(data_dir or None) / folder
    images = sorted(path for path in place.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        raise UserError(
            f"config.data.backgrounds: there are no images in {place}. Collect images without "
            "people by `python -m tfds_builders.backgrounds FOLDER…`, or train without them "
            "(--config.data.backgrounds=)."
        )
    for path in images:
        try:
            with Image.open(path) as image:
                image.load()
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read as a background: {error}") from error
    return images


def background(
    record: Mapping[str, Any],
    width: int,
    height: int,
    rng: np.random.Generator,
    others: Sequence[Path] = (),
) -> UInt8[np.ndarray, "height width 3"]:
    """A tile without a person: a part of a photograph, perhaps with another thing on it.

    Args:
        record: whose photograph it is.
        width: of the tile, px.
        height: of the tile, px.
        rng: random numbers.
        others: image files without people. One of them is the photograph, or, where it has
            transparent parts, is pasted on the record's.
    """
    if not others or rng.random() >= OTHER_THINGS:
        return np.asarray(empty_part(record, width, height, rng))
    image = Image.open(others[rng.integers(len(others))])
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if not image.has_transparency_data:
        scale = rng.uniform(0.25, 1.0) * min(image.width / width, image.height / height)
        corner = rng.uniform((0, 0), image.size - scale * np.array([width, height]))
        return np.asarray(window(image.convert("RGB"), corner, scale, width, height))
    side = min(width, height) * rng.uniform(*THING_SIDES)
    image = image.convert("RGBA").rotate(rng.normal(0, THING_ANGLE), expand=True)
    scale = side / max(image.size)
    image = image.resize([max(round(scale * length), 1) for length in image.size])
    tile = empty_part(record, width, height, rng)
    centre = rng.uniform(0.2, 0.8, 2) * (width, height)
    corner = centre - np.array(image.size) / 2
    tile.paste(image, tuple(corner.astype(int).tolist()), image)
    return np.asarray(tile)


def empty_part(
    record: Mapping[str, Any], width: int, height: int, rng: np.random.Generator
) -> Image.Image:
    """A part of a record's photograph with as few joints as twelve random tries find.

    Half of these parts are enlarged to the tile. The others are repeated in it, mirrored: they are
    as sharp as people are.
    """
    image = Image.open(io.BytesIO(record["image"]))
    joints = record["joints_2d"][record["joints_valid"]]
    low, high = photograph_area(np.asarray(image))
    best, fewest = None, len(joints) + 1
    for _ in range(12):
        side = min(rng.uniform(16, 110), *(high - low))
        first = rng.uniform(low, np.maximum(high - side, low + 1e-3))
        count = ((joints > first) & (joints < first + side)).all(-1).sum()
        if count < fewest:
            best, fewest = (*first, *np.minimum(first + side, image.size)), count
    if rng.random() < 0.5:
        return image.resize((width, height), Image.Resampling.BICUBIC, box=best)
    side = max(round((best[2] - best[0]) * rng.uniform(0.4, 1.5)), 1)
    part = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC, box=best))
    rest = ((0, max(height - side, 0)), (0, max(width - side, 0)), (0, 0))
    return Image.fromarray(np.pad(part, rest, "symmetric")[:height, :width])


def photograph_area(
    image: UInt8[np.ndarray, "height width 3"],
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
    """The lowest and highest x and y of a record's photograph, without its black padding, px."""
    bright = image.max(-1) > BLACK
    ends = []
    for axis in (0, 1):
        lines = np.flatnonzero(bright.any(axis))
        ends.append((lines[0], lines[-1] + 1) if len(lines) else (0, image.shape[1 - axis]))
    return tuple(np.array(ends, float).T)


def window(
    image: Image.Image, corner: Float[np.ndarray, "2"], scale: float, width: int, height: int
) -> Image.Image:
    """A part of an image, `scale` image px per px, black beyond the image's border."""
    whole = np.floor(corner).astype(int)
    size = np.ceil(np.array([width, height]) * scale).astype(int) + 2
    padded = Image.new("RGB", tuple(size.tolist()))
    padded.paste(image, tuple((-whole).tolist()))
    x, y = corner - whole
    box = (x, y, min(x + width * scale, size[0]), min(y + height * scale, size[1]))
    return padded.resize((width, height), Image.Resampling.BICUBIC, box=box)
