"""Stages that work side by side, with a few items between one and the next.

Reading, cutting out, the network, drawing and encoding each wait for different things: a disk, a
core, a device. Each gets a thread of its own or several, and passes its items on in their order. No
stage runs ahead of the next by more than a few items, so that memory does not depend on how many
there are; an exception in a stage ends the whole; and whoever stops asking stops all stages.
"""

import collections
import concurrent.futures
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float, UInt8

from pose3d_jax import processors
from pose3d_jax.errors import UserError
from pose3d_jax.images.boxes import Patch, Person
from pose3d_jax.images.files import reduce_image
from pose3d_jax.prediction.batches import NOBODY, Batch, Joints
from pose3d_jax.prediction.predictor import Pose, Predictor

A, B = TypeVar("A"), TypeVar("B")
#: Threads of a stage that has several.
WORKERS = processors.usable()
#: Bytes of pictures that belong to the batches on the device, about; a batch starts with its share,
#: full or not. Those of the batch that is filled and of the later stages are in memory besides.
BUDGET = 256 << 20
_END = object()


def ahead(items: Iterable[A], count: int = 2) -> Iterator[A]:
    """The same items, made by a thread of its own: up to `count` before they are asked for."""
    iterator = iter(items)
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        waiting = collections.deque(thread.submit(next, iterator, _END) for _ in range(count))
        try:
            while (item := waiting.popleft().result()) is not _END:
                waiting.append(thread.submit(next, iterator, _END))
                yield item
        finally:
            thread.shutdown(cancel_futures=True)
            _close(iterator)


def mapped(function: Callable[[A], B], items: Iterable[A], workers: int = WORKERS) -> Iterator[B]:
    """`map` by several threads: results in the items' order, `workers` of them ahead."""
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        waiting = collections.deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
            _close(items)


def _close(items: Iterable) -> None:
    """Ends a generator now, so that no stage outlives what it reads from."""
    if hasattr(items, "close"):
        items.close()


class Frame(NamedTuple):
    """A picture to predict.

    Attributes:
        load: gives the picture, RGB; may raise `UserError`. Called by any thread.
        boxes: of people, as for a `Predictor`.
        longest: side to which the picture is reduced once people are cut out, px; None for none.
        note: whatever tells whose picture it is.
    """

    load: Callable[[], UInt8[np.ndarray, "h w 3"]]
    boxes: Any
    longest: int | None = None
    note: Any = None


class Seen(NamedTuple):
    """A picture and its people.

    Attributes:
        note: the frame's.
        picture: RGB, perhaps reduced.
        size: width and height before, px.
        pose: the people, in px of the picture as it was; or why there are none.
    """

    note: Any
    picture: UInt8[np.ndarray, "h w 3"] | None
    size: tuple[int, int]
    pose: Pose | UserError


class _Cut(NamedTuple):
    """A frame whose people are cut out; `seen` lacks their pose, or tells an error."""

    seen: Seen
    people: list[Person]
    patches: list[Patch]
    sizes: Float[np.ndarray, "n"]


def predict_frames(
    predictor: Predictor,
    frames: Iterable[Frame],
    *,
    margin: float = 1.0,
    bone_length_sum: float | None = None,
) -> Iterator[Seen]:
    """Predicts frames in their order, in batches filled across frames and people.

    A frame that cannot be loaded, or in which a box is of no use, is passed on with its error.

    Args:
        predictor: that predicts.
        frames: any number.
        margin: factor on the boxes.
        bone_length_sum: everybody's, mm; by default the average skeleton's.
    """

    def cut(frame: Frame) -> _Cut:
        try:
            image = frame.load()
            images, people = predictor.people(image, frame.boxes, margin)
            patches = predictor.batches.cut(images, people)
            sizes = predictor.sizes(bone_length_sum, len(people))
        except UserError as error:
            return _Cut(Seen(frame.note, None, (0, 0), error), [], [], np.zeros(0))
        picture = image if frame.longest is None else reduce_image(image, frame.longest)[0]
        return _Cut(Seen(frame.note, picture, image.shape[1::-1], None), people, patches, sizes)

    batches = predictor.batches
    waiting: collections.deque[_Cut] = collections.deque()
    known = NOBODY
    for started in batches.ahead(
        batch and batches.start(batch)
        for batch in _filled(
            batches.pack, mapped(cut, frames), waiting, batches.size, BUDGET // batches.lanes
        )
    ):
        if started:
            known = Joints(*(np.concatenate(parts) for parts in zip(known, started.result())))
        while waiting and len(waiting[0].people) <= len(known.crop):
            seen, people, *_ = waiting.popleft()
            own, known = (
                Joints(*(field[part] for field in known))
                for part in (slice(len(people)), slice(len(people), None))
            )
            yield seen if seen.pose else seen._replace(pose=predictor.to_pose(people, own))


def _filled(
    pack: Callable[[list[Patch], np.ndarray], Batch],
    cuts: Iterable[_Cut],
    waiting: collections.deque[_Cut],
    size: int,
    budget: int,
) -> Iterator[Batch | None]:
    """Batches of the people in frames, which are put into `waiting` as they come.

    A batch is not full where its pictures would take too much memory, and at the end; it is None
    where there is nobody in them.
    """
    held, nbytes = [], 0
    for cut in cuts:
        waiting.append(cut._replace(patches=[]))
        held += zip(cut.patches, cut.sizes)
        nbytes += 0 if cut.seen.picture is None else cut.seen.picture.nbytes
        while len(held) >= size or nbytes > budget:
            part, held, nbytes = held[:size], held[size:], 0
            yield _packed(pack, part)
    yield _packed(pack, held)


def _packed(pack, held):
    if not held:
        return None
    patches, sizes = zip(*held)
    return pack(patches, np.array(sizes, np.float32))
