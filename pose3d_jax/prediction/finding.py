"""Finding people without a detector: the network itself looks where its joints show.

Squares of several sizes and places go through the network. Those with the highest heat-maps, one
for each person, are moved to their own joints and, twice, on to where the heat-maps are higher
still. A network is sure of much that is nobody, but then sees it in one square and not in the
next: a find counts the more the more of the first squares show the same person. One person is
found from a fifth of the image's height to all of it, and several where they do not overlap much.

All but the network is here, as pure functions of arrays: the same image gives the same squares.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from pose3d_jax.images.files import reduce_image
from pose3d_jax.skeleton import MIRROR_ORDER

#: What stands for boxes that are to be found.
AUTO = "auto"
#: The network's square in units of its joints' larger extent: what it learnt with.
MARGIN = 1.3
#: The smallest and the largest people looked for, in heights of the image.
SMALLEST, LARGEST = 0.2, 1.0
#: No find's square is larger, in the longer side of the image.
LARGEST_SIDE = 3.0
#: Between one size of squares and the next; the network was trained on people ×/÷ √2.
SIZE_STEP = 1.4
#: Between one square and the next of a size, in x and y, in sides. Most people are upright and fill
#: their square in height: a quarter of a side too high or low costs half of their joints, a quarter
#: to the left or right next to none.
PLACE_STEPS = (0.5, 0.25)
#: How much of a square may lie outside the image, in sides.
OVERHANG = 0.3
#: First squares, at most: so many are in an image about twenty times as wide as high. In a longer
#: one the smallest people are left out, who are the most squares: its time would know no bound.
MOST = 5000
#: Squares that are moved to their joints and looked at again, and how often.
CANDIDATES, ROUNDS = 18, 2
#: How each is looked at: shifts in x and y, in sides, and zooms. A find with a leg in the wrong
#: place would keep its square; and a network that learnt from people in the middle is far surer of
#: them there.
VIEWS = np.array([
    (0, 0, 1), (0, 0, 0.8), (0, 0, 1.25), (0, 0.12, 1), (0, -0.12, 1), (0.12, 0, 1), (-0.12, 0, 1),
])  # fmt: skip
#: A joint counts for its person's square where its peak is at least this share of the person's
#: mean: the lowest peaks are anywhere.
SURE = 0.5
#: A find that so many of the first squares show counts half.
HALF_SUPPORT = 2
#: Finds below this sureness (`sureness`) are nobody. Measured: `python -m benchmarks.finding`.
THRESHOLD = 0.25
#: Two finds are one person where `JOINTS_ALIKE` joints of 16 are within `NEAR` of their extent.
NEAR, JOINTS_ALIKE = 0.15, 8

#: From squares (centre x, y and side, px) to joints (px) and heights of their heat-maps' peaks.
Predict = Callable[
    [Float[np.ndarray, "n 3"]], tuple[Float[np.ndarray, "n 16 2"], Float[np.ndarray, "n 16"]]
]
#: From finds and others to which of them are of one person.
Alike = Callable[
    [Float[np.ndarray, "n 16 2"], Float[np.ndarray, "m 16 2"]], Bool[np.ndarray, "n m"]
]


def resolve(
    boxes: Any,
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    find: Callable[[UInt8[np.ndarray, "h w 3"]], Float[np.ndarray, "n 3"]],
    *,
    alone: bool,
) -> Any:
    """Boxes with those of people who were found in the place of every "auto".

    Args:
        boxes: as given to a `Predictor`.
        images: RGB.
        find: from an image to the squares of people.
        alone: whether the boxes are those of one image.
    """

    def resolved(own, image):
        return as_boxes(find(image)) if isinstance(own, str) and own == AUTO else own

    if alone:
        return resolved(boxes, images[0])
    if isinstance(boxes, str) and boxes == AUTO:
        boxes = [AUTO] * len(images)
    if not isinstance(boxes, list | tuple) or len(boxes) != len(images):
        return boxes
    return [resolved(own, image) for own, image in zip(boxes, images)]


def find_people(
    image: UInt8[np.ndarray, "h w 3"],
    input_side: int,
    predict: Callable[[UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "n 3"]], tuple],
    threshold: float,
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
    """Finds the people in an image.

    Args:
        image: RGB.
        input_side: of the network, px: a larger image is reduced until the smallest squares have
            that side.
        predict: what the network predicts of squares of an image, as `Predict`.
        threshold: on the sureness of a person.

    Returns:
        Centre x, y and side of a square around each, px, the surest first; and `sureness`.
    """
    smallest = search_squares(*image.shape[1::-1])[:, 2].min()
    longest = int(np.ceil(max(image.shape[:2]) * min(1.0, input_side / smallest)))
    reduced, factors = reduce_image(image, longest)
    squares, scores = search(*reduced.shape[1::-1], lambda squares: predict(reduced, squares))
    found = (scores >= threshold) & inside(squares, *reduced.shape[1::-1])
    return squares[found] / (*factors, factors.mean()), scores[found]


def search(
    width: int, height: int, predict: Predict
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
    """The best squares of an image, one for each person that there may be.

    Returns:
        Centre x, y and side, px, and `sureness`, from the highest.
    """
    first, heights = predict(search_squares(width, height))
    chosen = distinct(first, heights.mean(-1), CANDIDATES)
    joints, scores = first[chosen], heights[chosen]
    for _ in range(ROUNDS):
        squares, joints, scores = _best_view(squares_of(joints, scores), predict)
    sure = sureness(joints, scores, first)
    chosen = distinct(joints, sure, alike=in_one_place)
    return squares[chosen], sure[chosen]


def _best_view(squares: Float[np.ndarray, "n 3"], predict: Predict) -> tuple:
    """Each square in the view with the highest peaks, and what the network predicts of it."""
    sides = squares[None, :, 2:]
    centres = squares[:, :2] + VIEWS[:, None, :2] * sides
    views = np.concatenate([centres, VIEWS[:, None, 2:] * sides], axis=-1)
    joints, scores = predict(views.reshape(-1, 3))
    joints, scores = (part.reshape(*views.shape[:2], *part.shape[1:]) for part in (joints, scores))
    best = scores.mean(-1).argmax(axis=0), np.arange(len(squares))
    return views[best], joints[best], scores[best]


def search_squares(width: int, height: int) -> Float[np.ndarray, "n 3"]:
    """Where people are looked for in an image: centre x, y and side, px.

    Sides are those of people from `SMALLEST` to `LARGEST`, and up to the width, where somebody may
    lie. In an image much higher than wide, the width limits how tall people are.
    """
    tall = min(height, 2 * width)
    low, high = MARGIN * SMALLEST * tall, MARGIN * LARGEST * max(tall, min(width, 2 * height))
    count = 1 + int(np.ceil(np.log(high / low) / np.log(SIZE_STEP)))
    squares = []
    for side in np.geomspace(high, low, count):
        x, y = map(_places, (width, height), (side, side), PLACE_STEPS)
        if squares and sum(map(len, squares)) + len(x) * len(y) > MOST:
            break
        places = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        squares.append(np.column_stack([places, np.full(len(places), side)]))
    return np.concatenate(squares)


def _places(extent: int, side: float, step: float) -> Float[np.ndarray, "n"]:
    """Centres of squares along one axis: evenly spaced, about as far outside on either side."""
    reach = extent / 2 - (0.5 - OVERHANG) * side
    if reach <= 0:
        return np.array([extent / 2])
    count = min(1 + int(np.ceil(2 * reach / (step * side))), MOST)
    return extent / 2 + np.linspace(-reach, reach, count)


def squares_of(
    joints: Float[np.ndarray, "n 16 2"], scores: Float[np.ndarray, "n 16"]
) -> Float[np.ndarray, "n 3"]:
    """The squares around people's own joints, without those that the network does not see.

    Args:
        joints: px.
        scores: heights of their peaks.
    """
    seen = (scores >= SURE * scores.mean(-1, keepdims=True))[..., None]
    low = np.where(seen, joints, np.inf).min(axis=1)
    high = np.where(seen, joints, -np.inf).max(axis=1)
    sides = np.maximum((high - low).max(-1) * MARGIN, 1.0)
    return np.column_stack([(low + high) / 2, sides])


def inside(squares: Float[np.ndarray, "n 3"], width: int, height: int) -> Bool[np.ndarray, "n"]:
    """Which squares may be somebody's in an image: their middle is in it, and they are no giant's.

    Joints are predicted in the black beyond an image too.
    """
    middle = ((squares[:, :2] >= 0) & (squares[:, :2] <= (width, height))).all(-1)
    return middle & (squares[:, 2] <= LARGEST_SIDE * max(width, height))


def sureness(
    joints: Float[np.ndarray, "n 16 2"],
    scores: Float[np.ndarray, "n 16"],
    others: Float[np.ndarray, "m 16 2"],
) -> Float[np.ndarray, "n"]:
    """The mean height of the peaks, times v / (v + `HALF_SUPPORT`) where v squares agree.

    Args:
        joints: of each find, px.
        scores: heights of their peaks.
        others: the joints that the network sees in squares all over the image, px.
    """
    votes = same_person(joints, others).sum(-1)
    return scores.mean(-1) * votes / (votes + HALF_SUPPORT)


def same_person(
    joints: Float[np.ndarray, "n 16 2"], others: Float[np.ndarray, "m 16 2"]
) -> Bool[np.ndarray, "n m"]:
    """Which finds show the same person: most joints in the same places, or left for right.

    Args:
        joints: px. Distances are measured in the larger extent of each.
        others: px.
    """
    extents = (joints.max(axis=1) - joints.min(axis=1)).max(-1)
    limits = NEAR * extents[:, None, None]

    def near(others):
        distances = np.linalg.norm(joints[:, None] - others[None], axis=-1)
        return (distances < limits).sum(-1) >= JOINTS_ALIKE

    return near(others) | near(others[:, MIRROR_ORDER])


def in_one_place(
    joints: Float[np.ndarray, "n 16 2"], others: Float[np.ndarray, "m 16 2"]
) -> Bool[np.ndarray, "n m"]:
    """Which finds cover most of each other's place: half of the smaller one's box or more."""
    low, high, other_low, other_high = (
        getattr(people, end)(axis=1) for people in (joints, others) for end in ("min", "max")
    )
    shared = np.minimum(high[:, None], other_high) - np.maximum(low[:, None], other_low)
    areas, other_areas = (high - low).prod(-1), (other_high - other_low).prod(-1)
    return np.maximum(shared, 0).prod(-1) >= 0.5 * np.minimum(areas[:, None], other_areas)


def distinct(
    joints: Float[np.ndarray, "n 16 2"],
    scores: Float[np.ndarray, "n"],
    most: int | None = None,
    alike: Alike = same_person,
) -> Int[np.ndarray, "m"]:
    """Indices of the best find of each person, from the highest score.

    Args:
        joints: px.
        scores: of the finds.
        most: how many to return, at most.
        alike: which finds are of one person.
    """
    left, kept = np.argsort(-scores, kind="stable"), []
    while len(left) and len(kept) != most:
        kept.append(left[0])
        left = left[1:][~alike(joints[left[:1]], joints[left[1:]])[0]]
    return np.array(kept, int)


def as_boxes(squares: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 4"]:
    """Squares as boxes: x, y, width, height, px."""
    corner = squares[:, :2] - squares[:, 2:] / 2
    return np.column_stack([corner, squares[:, 2], squares[:, 2]])
