"""Mosaics: pictures of several records, with which the detector is trained.

A record shows one person at one size. A mosaic has one to four tiles; each shows a record's person
at a random size and place, perhaps cut off, or a background without a person. Where a record's
photograph ends, a background of another one fills the tile. Backgrounds are parts of the records'
photographs, and images of other things, if there are any.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from pose3d_jax.data.backgrounds import background, photograph_area, window
from pose3d_jax.images.crop import square_around
from pose3d_jax.models.detector import CELL

#: Side of a mosaic, px.
SIDE = 256
#: Sides of people's squares that are to be detected, px; image pyramids halve the rest.
SMALLEST, LARGEST = 44.0, 200.0
#: Side of a square in units of the visible joints' larger extent, as in the records.
MARGIN = 1.3
#: With fewer visible joints a person is neither to be detected nor to be missed.
FEWEST_JOINTS = 4
#: Shares of mosaics of one tile, of tiles without a person, and of filled-up tiles.
ONE_TILE, BACKGROUND, FILLED = 0.3, 0.12, 0.75
#: Share of people who are blurred: backgrounds are parts of photographs, enlarged.
BLURRED = 0.3
#: Share of tiles without a person, where there are images of other things.
MORE_BACKGROUND = 0.35


def sample_mosaic(
    records: Sequence, seed: int, index: int, others: Sequence[Path] = ()
) -> dict[str, np.ndarray]:
    """Mosaic `index` of records, and its targets: the arguments of `detector.detection_loss`.

    Args:
        records: the people, `records.features`.
        seed: of the random choices.
        index: of the mosaic, which is the same whenever it is made.
        others: image files without people; the transparent parts of an image show a background.
    """
    rng = np.random.default_rng([seed, index])
    rows = rng.integers(0, len(records), 4)
    return make_mosaic([records[int(row)] for row in rows], rng, others)


def make_mosaic(
    records: Sequence[Mapping[str, Any]], rng: np.random.Generator, others: Sequence[Path] = ()
) -> dict[str, np.ndarray]:
    """A mosaic of four records; see `sample_mosaic`."""
    cells = SIDE // CELL
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    score = np.zeros((cells, cells), np.float32)
    target = np.zeros((cells, cells, 3), np.float32)
    positive, ignored = np.zeros((2, cells, cells), bool)
    for (x, y, width, height), record in zip(draw_tiles(rng), records):
        rows, columns = slice(y, y + height), slice(x, x + width)
        if rng.random() < (MORE_BACKGROUND if others else BACKGROUND):
            image[rows, columns] = background(record, width, height, rng, others)
            continue
        fill = None
        if rng.random() < FILLED:
            other = records[rng.integers(len(records))]
            fill = background(other, width, height, rng, others)
        image[rows, columns], visible = draw_person(record, width, height, fill, rng)
        if not len(visible):
            continue
        center, side = square_around(visible, MARGIN)
        if len(visible) < FEWEST_JOINTS or not SMALLEST <= side <= LARGEST:
            ignored[_cells(y, height), _cells(x, width)] = True
            continue
        add_person(score, target, positive, center + np.array([x, y]), side)
    return {
        "image": image,
        "score": score,
        "target": target,
        "positive": positive,
        "ignored": ignored & ~positive,
    }


def draw_tiles(rng: np.random.Generator) -> list[tuple[int, int, int, int]]:
    """Tiles that fill a mosaic: x, y, width and height, px."""
    if rng.random() < ONE_TILE:
        return [(0, 0, SIDE, SIDE)]
    x, y = rng.integers(SIDE // 4, 3 * SIDE // 4 + 1, 2).tolist()
    return [(0, 0, x, y), (x, 0, SIDE - x, y), (0, y, x, SIDE - y), (x, y, SIDE - x, SIDE - y)]


def draw_person(
    record: Mapping[str, Any],
    width: int,
    height: int,
    fill: UInt8[np.ndarray, "height width 3"] | None,
    rng: np.random.Generator,
) -> tuple[UInt8[np.ndarray, "height width 3"], Float[np.ndarray, "joints 2"]]:
    """A tile that shows a record's person at a random size and place.

    Args:
        record: the person.
        width: of the tile, px.
        height: of the tile, px.
        fill: background beyond the photograph; None for black.
        rng: random numbers.

    Returns:
        The tile, and the person's joints in it, px.
    """
    image = Image.open(io.BytesIO(record["image"]))
    joints, box = record["joints_2d"][record["joints_valid"]].astype(float), record["box"].copy()
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        joints[:, 0], box[0] = image.width - joints[:, 0], image.width - box[0]
    large = rng.random() < 0.15
    lowest, highest = (LARGEST, 3 * LARGEST) if large else (1.2 * SMALLEST, 1.1 * LARGEST)
    scale = box[2] / np.exp(rng.uniform(np.log(lowest), np.log(highest)))
    reach = (0.3, 0.7) if rng.random() < 0.6 else (-0.1, 1.1)
    corner = box[:2] - rng.uniform(*reach, 2) * (width, height) * scale
    tile = window(image, corner, scale, width, height)
    if rng.random() < BLURRED:
        factor = rng.uniform(1.0, 4.0)
        small = [max(round(length / factor), 1) for length in tile.size]
        tile = tile.resize(small, Image.Resampling.BOX).resize(tile.size, Image.Resampling.BICUBIC)
    tile = np.asarray(tile)
    if rng.random() < 0.8:
        tile = np.uint8(np.clip(tile * rng.uniform(0.6, 1.4, 3), 0, 255))
    if fill is not None:
        low, high = ((ends - corner) / scale for ends in photograph_area(np.asarray(image)))
        x, y = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
        inside = (x > low[0] + 1) & (x < high[0] - 1) & (y > low[1] + 1) & (y < high[1] - 1)
        tile = np.where(inside[..., None], tile, fill)
    joints = (joints - corner) / scale
    return tile, joints[((joints >= 0) & (joints < (width, height))).all(-1)]


def add_person(
    score: Float[np.ndarray, "h w"],
    target: Float[np.ndarray, "h w 3"],
    positive: Bool[np.ndarray, "h w"],
    center: Float[np.ndarray, "2"],
    side: float,
) -> None:
    """Writes a person into the targets of `detector.detection_loss`."""
    x, y = (np.arange(count) + 0.5 for count in score.shape[::-1])
    square = (x * CELL - center[0]) ** 2 + (y[:, None] * CELL - center[1]) ** 2
    nearest = np.unravel_index(square.argmin(), square.shape)
    np.maximum(score, np.exp(-square / (2 * max(0.12 * side, 7.0) ** 2)), out=score)
    score[nearest] = 1.0
    near = square < (0.2 * side) ** 2
    near[nearest] = True
    target[near], positive[near] = (*center, side), True


def _cells(start: int, extent: int) -> slice:
    """The cells that a tile touches along one axis."""
    return slice(start // CELL, -(-(start + extent) // CELL))
