"""Detection of people with the pose network alone, in one of two ways.

A network with a detection head (`models.detector`) is applied fully convolutionally to an image
pyramid: three passes over the image.

Without one, the network scores squares, coarse to fine. A sparse grid of squares of several sizes
goes through it. The best squares that show different people are moved to their own joints and
predicted again. A person's confidence is the mean of the higher half of the joints' confidences,
averaged over both predictions and reduced where few squares of the grid agree on the pose: false
positives appear in one square and not in the next. People are detected from a quarter of the
image's height to all of it.

The module sees the network only as functions of arrays; `Predictor.detect` provides them.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from pose3d_jax.images.files import reduce_image
from pose3d_jax.skeleton import MIRROR_ORDER

#: Detections below this confidence are dropped; measured by `python -m benchmarks.everyday`.
THRESHOLD = 0.38
#: Side of a person's square in units of the joints' larger extent, as in training.
MARGIN = 1.3
#: Smallest and largest people of the grid, in image heights.
SMALLEST, LARGEST = 0.25, 1.0
#: Ratio between one size of the grid and the next; training scales people by up to √2 either way.
SIZE_STEP = 1.6
#: Steps between squares of one size in x and y, in sides. Upright people fill their square's
#: height: a vertical offset moves joints out of the square sooner than a horizontal one.
PLACE_STEPS = (0.5, 0.35)
#: How far a square of the grid may reach outside the image, in sides.
OVERHANG = 0.3
#: Upper bound on the grid, reached in extreme panoramas; the smallest sizes are left out there.
MAX_GRID = 2000
#: Squares of the grid that are refined.
CANDIDATES = 12
#: A joint belongs to its person's square where its confidence is at least this share of the mean.
RELATIVE_CONFIDENCE = 0.5
#: Agreeing squares of the grid at which a detection keeps half of its confidence.
HALF_SUPPORT = 1.5
#: Two poses are one person where `MATCHING_JOINTS` joints are within `NEAR` of the extent.
NEAR, MATCHING_JOINTS = 0.15, 8
#: A square whose side exceeds this many longer image sides is rejected.
MAX_SIDE = 3.0

#: Longest sides of the image pyramid for a detection head, px: one program is compiled for each.
PYRAMID = (512, 256, 128)
#: Sides of the head's squares that count at each level, px: those of its training, and a little.
HEAD_SIDES = (40.0, 220.0)
#: Squares of different people share at most this much of their union.
MAX_OVERLAP = 0.4

#: From squares (centre x, y and side, px) of an image to joints (px) and their confidences.
Predict = Callable[
    [UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "n 3"]],
    tuple[Float[np.ndarray, "n 16 2"], Float[np.ndarray, "n 16"]],
]
#: A detection head: from a square image to scores and squares (centre x, y and side, px) of cells.
Head = Callable[
    [UInt8[np.ndarray, "s s 3"]], tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w 3"]]
]


def detect(
    image: UInt8[np.ndarray, "h w 3"],
    predict: Predict,
    input_side: int,
    *,
    head: Head | None = None,
    threshold: float | None = None,
    max_people: int | None = None,
) -> tuple[Float[np.ndarray, "n 4"], Float[np.ndarray, "n"]]:
    """Detects the people in an image.

    Args:
        image: RGB.
        predict: the network, as a function of squares.
        input_side: of the network, px: a larger image is reduced until the smallest squares of the
            grid have that side.
        head: of the network; None searches squares instead.
        threshold: on the confidence; by default `THRESHOLD`.
        max_people: keeps the most confident detections; None keeps all.

    Returns:
        Square boxes (x, y, width, height) with the margin that the network expects, px, from the
        highest confidence; and the confidences.
    """
    threshold = THRESHOLD if threshold is None else threshold
    if head is not None:
        squares, confidences = search_pyramid(image, head)
        kept = confidences >= threshold
        return as_boxes(squares[kept][:max_people]), confidences[kept][:max_people]
    smallest = search_grid(*image.shape[1::-1])[:, 2].min()
    longest = int(np.ceil(max(image.shape[:2]) * min(1.0, input_side / smallest)))
    reduced, factors = reduce_image(image, longest)
    squares, confidences = search(reduced, predict)
    kept = (confidences >= threshold) & plausible(squares, *reduced.shape[1::-1])
    squares, confidences = squares[kept][:max_people], confidences[kept][:max_people]
    return as_boxes(squares / (*factors, factors.mean())), confidences


def search_pyramid(
    image: UInt8[np.ndarray, "h w 3"], head: Head
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
    """The squares that a detection head predicts at all levels, from the highest score."""
    found, confidences = [np.zeros((0, 3))], [np.zeros(0)]
    for longest in PYRAMID:
        if max(image.shape[:2]) <= longest // 2:
            continue  # The next level shows the same pixels.
        reduced, factors = reduce_image(image, longest)
        height, width = reduced.shape[:2]
        padded = np.pad(reduced, ((0, longest - height), (0, longest - width), (0, 0)))
        scores, squares = (np.asarray(part, np.float64) for part in head(padded))
        sides = squares[..., 2]
        kept = (scores > 0) & (sides >= HEAD_SIDES[0]) & (sides <= HEAD_SIDES[1])
        kept[kept] = plausible(squares[kept], width, height)
        found.append(squares[kept] / (*factors, factors.mean()))
        confidences.append(scores[kept])
    squares, scores = np.concatenate(found), np.concatenate(confidences)
    left, chosen = np.argsort(-scores, kind="stable"), []
    while len(left):
        chosen.append(left[0])
        left = left[1:][_overlap(squares[left[0]], squares[left[1:]]) <= MAX_OVERLAP]
    chosen = np.array(chosen, int)
    return squares[chosen], scores[chosen]


def _overlap(square: Float[np.ndarray, "3"], others: Float[np.ndarray, "n 3"]):
    """Intersection over union of a square and others."""
    apart = np.abs(square[:2] - others[:, :2])
    sides = (square[2] + others[:, 2:]) / 2 - apart
    shared = np.clip(sides, 0, np.minimum(square[2], others[:, 2:])).prod(-1)
    return shared / (square[2] ** 2 + others[:, 2] ** 2 - shared)


def search(
    image: UInt8[np.ndarray, "h w 3"], predict: Predict
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
    """The best square of each possible person, and its confidence, from the highest."""
    grid, peaks = predict(image, search_grid(*image.shape[1::-1]))
    first = person_confidence(peaks)
    chosen = distinct(grid, first, CANDIDATES)
    squares = squares_around(grid[chosen], peaks[chosen])
    joints, peaks = predict(image, squares)
    votes = same_person(grid[chosen], grid).sum(-1)
    agreement = votes / (votes + HALF_SUPPORT)
    confidences = agreement * (first[chosen] + person_confidence(peaks)) / 2
    kept = distinct(joints, confidences, alike=overlapping)
    return squares_around(joints, peaks)[kept], confidences[kept]


def person_confidence(confidence: Float[np.ndarray, "*n joints"]) -> Float[np.ndarray, "*n"]:
    """The mean of the higher half of the joints' confidences: half of a person may be hidden."""
    half = confidence.shape[-1] // 2
    return np.sort(confidence, axis=-1)[..., half:].mean(-1)


def search_grid(width: int, height: int) -> Float[np.ndarray, "n 3"]:
    """Squares of the first pass over an image: centre x, y and side, px.

    The sides fit people from `SMALLEST` to `LARGEST` image heights and, for people lying down, up
    to the width. In an image much taller than wide, the width limits the people's height.
    """
    tall = min(height, 2 * width)
    low, high = MARGIN * SMALLEST * tall, MARGIN * LARGEST * max(tall, min(width, 2 * height))
    count = 1 + int(np.ceil(np.log(high / low) / np.log(SIZE_STEP)))
    squares: list[np.ndarray] = []
    for side in np.geomspace(high, low, count):
        x, y = map(_positions, (width, height), (side, side), PLACE_STEPS)
        if squares and sum(map(len, squares)) + len(x) * len(y) > MAX_GRID:
            break
        centres = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        squares.append(np.column_stack([centres, np.full(len(centres), side)]))
    return np.concatenate(squares)


def _positions(extent: int, side: float, step: float) -> Float[np.ndarray, "n"]:
    """Evenly spaced centres along one axis, symmetric about the middle."""
    reach = extent / 2 - (0.5 - OVERHANG) * side
    if reach <= 0:
        return np.array([extent / 2])
    count = min(1 + int(np.ceil(2 * reach / (step * side))), MAX_GRID)
    return extent / 2 + np.linspace(-reach, reach, count)


def squares_around(
    joints: Float[np.ndarray, "n joints 2"], confidence: Float[np.ndarray, "n joints"]
) -> Float[np.ndarray, "n 3"]:
    """Squares around people's confident joints, × `MARGIN`: centre x, y and side, px."""
    limit = RELATIVE_CONFIDENCE * confidence.mean(-1, keepdims=True)
    kept = (confidence >= limit)[..., None]
    low = np.where(kept, joints, np.inf).min(axis=1)
    high = np.where(kept, joints, -np.inf).max(axis=1)
    sides = np.maximum((high - low).max(-1) * MARGIN, 1.0)
    return np.column_stack([(low + high) / 2, sides])


def plausible(squares: Float[np.ndarray, "n 3"], width: int, height: int) -> Bool[np.ndarray, "n"]:
    """Which squares have their centre in the image and a side of at most `MAX_SIDE` images."""
    centred = ((squares[:, :2] >= 0) & (squares[:, :2] <= (width, height))).all(-1)
    return centred & (squares[:, 2] <= MAX_SIDE * max(width, height))


def same_person(
    joints: Float[np.ndarray, "n joints 2"], others: Float[np.ndarray, "m joints 2"]
) -> Bool[np.ndarray, "n m"]:
    """Which poses show the same person: most joints coincide, perhaps with left and right swapped.

    Distances are relative to the larger extent of each of `joints`.
    """
    extents = (joints.max(axis=1) - joints.min(axis=1)).max(-1)
    limits = NEAR * extents[:, None, None]

    def near(others):
        distances = np.linalg.norm(joints[:, None] - others[None], axis=-1)
        return (distances < limits).sum(-1) >= MATCHING_JOINTS

    return near(others) | near(others[:, MIRROR_ORDER])


def overlapping(
    joints: Float[np.ndarray, "n joints 2"], others: Float[np.ndarray, "m joints 2"]
) -> Bool[np.ndarray, "n m"]:
    """Which poses overlap by at least half of the smaller one's bounding box."""
    low, high, other_low, other_high = (
        getattr(people, end)(axis=1) for people in (joints, others) for end in ("min", "max")
    )
    shared = np.minimum(high[:, None], other_high) - np.maximum(low[:, None], other_low)
    areas, other_areas = (high - low).prod(-1), (other_high - other_low).prod(-1)
    return np.maximum(shared, 0).prod(-1) >= 0.5 * np.minimum(areas[:, None], other_areas)


def distinct(
    joints: Float[np.ndarray, "n joints 2"],
    confidence: Float[np.ndarray, "n"],
    limit: int | None = None,
    alike: Callable[[np.ndarray, np.ndarray], np.ndarray] = same_person,
) -> Int[np.ndarray, "m"]:
    """Non-maximum suppression: indices of the best pose of each person, from the highest score.

    Args:
        joints: px.
        confidence: of the poses.
        limit: returns at most this many.
        alike: which poses are of one person: `same_person` or `overlapping`.
    """
    left, kept = np.argsort(-confidence, kind="stable"), []
    while len(left) and len(kept) != limit:
        kept.append(left[0])
        left = left[1:][~alike(joints[left[:1]], joints[left[1:]])[0]]
    return np.array(kept, int)


def as_boxes(squares: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 4"]:
    """Squares (centre x, y and side) as boxes: x, y, width, height, px."""
    corner = squares[:, :2] - squares[:, 2:] / 2
    return np.column_stack([corner, squares[:, 2], squares[:, 2]])
