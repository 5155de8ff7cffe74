"""Detection of people with the detector of the network, on an image pyramid.

The detector (`models.detector`) proposes squares at three resolutions of the image. Overlapping
proposals are suppressed, and the pose network predicts the rest once. The best of overlapping poses
is kept, and predicted again by averaging, where the network averages. A person's confidence is the
weighted geometric mean of the detector's score and of the joints' confidence, because false
positives rarely have both.

The networks are arguments, as functions; `Predictor.detect` provides them.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from pose3d_jax.images.files import reduce_image
from pose3d_jax.models.detector import CELL
from pose3d_jax.skeleton import MIRROR_ORDER

#: Detections below this confidence are dropped; measured by `python -m benchmarks.everyday`.
THRESHOLD = 0.65
#: Side of a person's square in units of the joints' larger extent, as in training.
MARGIN = 1.3
#: Longer sides of the pyramid's levels, px. At each, the detector finds people of 44 to 200 px.
SIDES_OF_LEVELS = (512, 256, 128)
#: Sides of squares that count at each level, px: those of the detector's training, and a little.
SIDES = (40.0, 220.0)
#: Proposals below this score are dropped, and at most this many are predicted.
LOWEST_SCORE, CANDIDATES = 0.1, 16
#: Weight of the detector's score in the logarithm of a confidence, that of the joints is the rest.
SCORE_WEIGHT = 0.25
#: Poses whose confidence by one pass is lower than the threshold by this are not averaged.
SLACK = 0.15
#: Two proposals are one person where their squares' intersection over union exceeds this.
MAX_IOU = 0.5
#: A joint belongs to its person's square where its confidence is at least this share of the mean.
RELATIVE_CONFIDENCE = 0.5
#: Two poses are one person where `MATCHING_JOINTS` joints are within `NEAR` of the extent.
NEAR, MATCHING_JOINTS = 0.15, 8
#: A square whose side exceeds this many longer image sides is rejected.
MAX_SIDE = 3.0

#: From an image to scores and squares (centre x, y and side, px) of a grid of cells.
Propose = Callable[
    [UInt8[np.ndarray, "height width 3"]],
    tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w 3"]],
]
#: From squares (centre x, y and side, px) of an image to joints (px) and their confidences.
Predict = Callable[
    [UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "n 3"]],
    tuple[Float[np.ndarray, "n 16 2"], Float[np.ndarray, "n 16"]],
]


def detect(
    image: UInt8[np.ndarray, "h w 3"],
    propose: Propose,
    predict: Predict,
    average: Predict | None = None,
    *,
    threshold: float | None = None,
    max_people: int | None = None,
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
    """Detects the people in an image.

    Args:
        image: RGB.
        propose: the detector, as a function of images.
        predict: the pose network, as a function of squares.
        average: the same with averages over several passes; None for `predict`.
        threshold: on the confidence; by default `THRESHOLD`.
        max_people: keeps the most confident detections; None keeps all.

    Returns:
        Squares (centre x, y and side) with the margin that the network expects, px, from the
        highest confidence; and the confidences.
    """
    threshold = THRESHOLD if threshold is None else threshold
    squares, scores = proposals(image, propose)
    if not len(squares):
        return squares, scores
    joints, peaks = predict(image, squares)
    confidences = combined(scores, peaks)
    kept = distinct(joints, confidences, overlapping)
    if average is not None:
        kept = kept[confidences[kept] >= threshold - SLACK]
    squares, confidences = squares[kept], confidences[kept]
    if average is not None and len(kept):
        confidences = combined(scores[kept], average(image, squares)[1])
    best = np.argsort(-confidences, kind="stable")
    best = best[confidences[best] >= threshold][:max_people]
    return squares[best], confidences[best]


def combined(
    scores: Float[np.ndarray, "n"], confidence: Float[np.ndarray, "n joints"]
) -> Float[np.ndarray, "n"]:
    """People's confidences, from the detector's scores and the joints' confidences."""
    people = np.clip(person_confidence(confidence), 0.0, 1.0)
    return scores**SCORE_WEIGHT * people ** (1.0 - SCORE_WEIGHT)


def proposals(
    image: UInt8[np.ndarray, "h w 3"], propose: Propose
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
    """The detector's squares (centre x, y and side, px) and scores, from the highest score."""
    canvas, levels = pyramid(image)
    scores, squares = propose(canvas)
    centres = (np.indices(scores.shape)[::-1].transpose(1, 2, 0) + 0.5) * CELL
    found = []
    for corner, size, factors in levels:
        inside = ((centres >= corner) & (centres < corner + size)).all(-1)
        chosen = inside & (scores >= LOWEST_SCORE)
        chosen &= (squares[..., 2] >= SIDES[0]) & (squares[..., 2] <= SIDES[1])
        moved = squares[chosen] - (*corner, 0)
        found.append(np.column_stack([moved / (*factors, factors.mean()), scores[chosen]]))
    found = np.concatenate(found).astype(float)
    found = found[plausible(found[:, :3], *image.shape[1::-1])]
    squares, scores = found[:, :3], found[:, 3]
    kept = distinct(
        squares, scores, lambda *two: intersection_over_union(*two) > MAX_IOU, CANDIDATES
    )
    return squares[kept], scores[kept]


class Level(NamedTuple):
    """One level of an image pyramid: its place on the canvas, and its scale."""

    corner: Int[np.ndarray, "2"]  # x and y, px of the canvas
    size: Int[np.ndarray, "2"]  # width and height, px
    factors: Float[np.ndarray, "2"]  # px of the level per px of the image, in x and y


def pyramid(
    image: UInt8[np.ndarray, "h w 3"],
) -> tuple[UInt8[np.ndarray, "height width 3"], list[Level]]:
    """All levels of an image pyramid on one canvas, so that one program detects on all of them.

    The largest level is at the left and the others, half as large each, below one another at its
    right. Levels to which the image would have to be enlarged are left out.
    """
    longest = max(image.shape[:2])
    sides = [side for side in SIDES_OF_LEVELS if side < 2 * longest] or [SIDES_OF_LEVELS[-1]]
    largest, half = sides[0], sides[0] // 2
    canvas = np.zeros((largest, largest + (half if len(sides) > 1 else 0), 3), np.uint8)
    levels = []
    for side, corner in zip(sides, np.array([(0, 0), (largest, 0), (largest, half)])):
        reduced, factors = reduce_image(image, side)
        height, width = reduced.shape[:2]
        canvas[corner[1] : corner[1] + height, corner[0] : corner[0] + width] = reduced
        levels.append(Level(corner, np.array([width, height]), factors))
    return canvas, levels


def intersection_over_union(
    squares: Float[np.ndarray, "n 3"], others: Float[np.ndarray, "m 3"]
) -> Float[np.ndarray, "n m"]:
    """Intersection over union of squares (centre x, y and side) with others."""
    squares = squares[:, None]
    reach = (squares[..., 2:] + others[:, 2:]) / 2 - np.abs(others[:, :2] - squares[..., :2])
    shared = np.clip(reach, 0.0, np.minimum(squares[..., 2:], others[:, 2:])).prod(-1)
    return shared / (squares[..., 2] ** 2 + others[:, 2] ** 2 - shared)


def person_confidence(confidence: Float[np.ndarray, "*n joints"]) -> Float[np.ndarray, "*n"]:
    """The mean of the higher half of the joints' confidences: half of a person may be hidden."""
    half = confidence.shape[-1] // 2
    return np.sort(confidence, axis=-1)[..., half:].mean(-1)


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
    people: Float[np.ndarray, "n ..."],
    confidence: Float[np.ndarray, "n"],
    alike: Callable[[np.ndarray, np.ndarray], np.ndarray],
    limit: int | None = None,
) -> Int[np.ndarray, "m"]:
    """Non-maximum suppression: indices of each person's best entry, from the highest score.

    Args:
        people: poses (px) or squares.
        confidence: of each.
        alike: which are of one person: such as `same_person` or `overlapping`.
        limit: returns at most this many.
    """
    left, kept = np.argsort(-confidence, kind="stable"), []
    while len(left) and len(kept) != limit:
        kept.append(left[0])
        left = left[1:][~alike(people[left[:1]], people[left[1:]])[0]]
    return np.array(kept, int)


def as_boxes(squares: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 4"]:
    """Squares (centre x, y and side) as boxes: x, y, width, height, px."""
    corner = squares[:, :2] - squares[:, 2:] / 2
    return np.column_stack([corner, squares[:, 2], squares[:, 2]])
