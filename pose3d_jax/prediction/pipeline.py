"""From files to results: load, detect, predict, write, with one `ImageResult` per image.

Loading, prediction and writing run side by side, in threads. No stage is more than a few items
ahead of the next, so that memory does not depend on the number of images or frames.
"""

import collections
import concurrent.futures
import dataclasses
import itertools
import logging
import time as clock
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, UInt8

from pose3d_jax import processors
from pose3d_jax.drawing.skeletons import draw_people
from pose3d_jax.errors import UserError
from pose3d_jax.images import videos
from pose3d_jax.images.boxes import InputError
from pose3d_jax.images.files import read_image
from pose3d_jax.prediction import outputs
from pose3d_jax.prediction.inputs import Input
from pose3d_jax.prediction.outputs import Options
from pose3d_jax.prediction.pose import Pose, concatenate
from pose3d_jax.prediction.predictor import AUTO, Predictor
from pose3d_jax.prediction.smoothing import OneEuro, size_in_image
from pose3d_jax.prediction.tracking import Tracker

log = logging.getLogger(__name__)

A, B = TypeVar("A"), TypeVar("B")
#: Bytes of pictures that are predicted together, about.
MAX_BYTES = 256 << 20
#: Seconds between two log lines about a video.
LOG_INTERVAL = 5.0
#: How fast the One-Euro filter follows: Hz per (unit/s), in sizes of the person, and in mm.
BETA_2D, BETA_3D = 6.0, 0.005
#: Smoothing starts again for a person not seen for so many seconds.
MAX_GAP = 0.5
#: Shortest time between two frames, s.
MIN_SECONDS = 1e-3
_END = object()


@dataclasses.dataclass
class ImageResult:
    """An image or frame on its way from file to results.

    Attributes:
        input: what it was loaded from.
        image: RGB; None before it is loaded.
        time: of a frame, s.
        squares: of its people: centre x, y and side, px.
        pose: its people.
        error: the reason why there is no pose.
    """

    input: Input
    image: UInt8[np.ndarray, "h w 3"] | None = None
    time: float = 0.0
    squares: Float[np.ndarray, "n 3"] | None = None
    pose: Pose | None = None
    error: UserError | None = None


def prefetch(items: Iterable[A], count: int = 2) -> Iterator[A]:
    """The same items, produced by a thread, up to `count` before they are needed."""
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


def parallel_map(
    function: Callable[[A], B], items: Iterable[A], workers: int | None = None
) -> Iterator[B]:
    """`map` in several threads, by default one per processor: results keep the items' order."""
    workers = workers or processors.usable()
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
    """Ends a generator now, so that no stage outlives its source."""
    if hasattr(items, "close"):
        items.close()


def predict_files(
    predictor: Predictor, inputs: Iterable[Input], options: Options
) -> Iterator[tuple[Input, str | UserError]]:
    """Predicts images and videos in their order, and writes their results.

    Yields:
        Each input, with a summary of its results or the error.
    """
    for is_video, group in itertools.groupby(inputs, lambda item: item.is_video):
        if not is_video:
            yield from _predict_photos(predictor, group, options)
            continue
        for item in group:
            try:
                yield item, predict_video(predictor, item, options)
            except UserError as error:
                yield item, error


def predict_images(
    predictor: Predictor, results: Iterable[ImageResult], options: Options
) -> Iterator[ImageResult]:
    """Adds poses to images, in batches filled across images and people; errors pass through.

    Args:
        predictor: that predicts.
        results: with an image, or an error.
        options: how to predict.
    """

    def load(result: ImageResult) -> ImageResult:
        """Loads the image and, unless people are detected, determines the squares."""
        try:
            if result.image is None:
                result.image = read_image(result.input.source)
            boxes = options.boxes_of(result.input)
            if not _is_auto(boxes):
                result.squares = predictor.squares(result.image, boxes, options.margin)
        except UserError as error:
            result.error = _with_name(error, result.input.source)
        return result

    loaded = parallel_map(load, results)
    try:
        for chunk in _chunks(loaded, predictor.batch_size):
            for result in chunk:
                if result.squares is None and result.error is None:
                    result.squares = predictor.squares(
                        result.image, AUTO, 1.0, options.threshold, options.max_people
                    )
            valid = [result for result in chunk if result.error is None]
            pose = predictor.predict_squares(
                [result.image for result in valid],
                [result.squares for result in valid],
                options.bone_length_sum,
                options.intrinsics,
            )
            for number, result in enumerate(valid):
                result.pose = own = pose.of_image(number)
                if not all(np.isfinite(part).all() for part in (own.joints_2d, own.joints_3d)):
                    result.error = UserError(
                        f"{result.input.source}: the network's output is not finite: its weights "
                        "are damaged, or its training diverged. Use another checkpoint."
                    )
            yield from chunk
    finally:
        _close(loaded)


def _is_auto(boxes: Any) -> bool:
    return isinstance(boxes, str) and boxes == AUTO


def _chunks(results: Iterable[ImageResult], size: int) -> Iterator[list[ImageResult]]:
    """Images of about `size` people and at most `MAX_BYTES` together."""
    chunk, people, held = [], 0, 0
    for result in results:
        chunk.append(result)
        people += 1 if result.squares is None else len(result.squares)
        held += 0 if result.image is None else result.image.nbytes
        if people >= size or held >= MAX_BYTES or len(chunk) >= 2 * size:
            yield chunk
            chunk, people, held = [], 0, 0
    if chunk:
        yield chunk


def _with_name(error: UserError, source: Path) -> UserError:
    """Messages about boxes do not name the file; those about files do."""
    return UserError(f"{source}: {error}") if isinstance(error, InputError) else error


def _predict_photos(
    predictor: Predictor, inputs: Iterable[Input], options: Options
) -> Iterator[tuple[Input, str | UserError]]:
    results = predict_images(predictor, map(ImageResult, inputs), options)
    # Written in this thread: Matplotlib supports no other.
    for result in prefetch(results):
        try:
            if result.error is not None:
                raise result.error
            outputs.write_photo(result.input, result.image, result.pose, options)
            yield result.input, _summary(len(result.pose))
        except UserError as error:
            yield result.input, error


def _summary(people: int) -> str:
    if not people:
        return "no person detected; lower --threshold, give a --box, or use --nodetect"
    return f"{people} {'person' if people == 1 else 'people'}"


def predict_video(predictor: Predictor, item: Input, options: Options) -> str:
    """Predicts a video frame by frame and writes its results; memory holds a few frames.

    Returns:
        A summary of the results.

    Raises:
        UserError: it cannot be read, a box is invalid, or a result cannot be written.
    """
    with videos.open_video(item.source) as video:
        frames = prefetch(video.frames)
        first = next(frames, None)
        if first is None:
            raise UserError(f"{item.source} has no frames.")
        frames = itertools.chain([first], frames)
        results = (ImageResult(item, image, time) for time, image in frames)
        predicted = _frame_poses(predictor, results, item, options)
        if options.smooth:
            predicted = map(_smoother(), predicted)

        def draw(result: ImageResult) -> tuple[ImageResult, np.ndarray]:
            if result.error is not None:
                raise result.error
            if not options.overlays:
                return result, result.image
            return result, draw_people(
                result.image, result.pose.joints_2d, result.pose.person_confidence
            )

        drawn = parallel_map(draw, prefetch(predicted))
        progress = _progress(item.source, video.count)
        identities: set[int] = set()
        size = first.image.shape[1::-1]
        try:
            with outputs.open_video_results(item, size, video.rate, options) as add:
                for count, (result, picture) in enumerate(drawn, 1):
                    add(result.time, result.pose, picture)
                    identities.update(() if result.pose.id is None else result.pose.id.tolist())
                    progress(count)
        finally:
            drawn.close()
        if video.lost:
            raise UserError(
                f"{item.source} is damaged: {video.lost} frames could not be decoded. The other "
                f"{count} are predicted; their results are in {item.directory}."
            )
    return f"{count} frames, {_summary(len(identities))}"


def _frame_poses(
    predictor: Predictor, results: Iterator[ImageResult], item: Input, options: Options
) -> Iterator[ImageResult]:
    """The people of each frame: tracked, or in the boxes given, whose order is their identity."""
    if _is_auto(options.boxes_of(item)):
        tracker = Tracker(
            predictor,
            threshold=options.threshold,
            max_people=options.max_people,
            bone_length_sum=options.bone_length_sum,
            intrinsics=options.intrinsics,
        )
        for result in results:
            result.pose = tracker(result.image, result.time)
            yield result
        return
    for result in predict_images(predictor, results, options):
        if result.pose is not None:
            number = np.arange(len(result.pose), dtype=np.int32)
            result.pose = dataclasses.replace(result.pose, id=number)
        yield result


def _smoother() -> Callable[[ImageResult], ImageResult]:
    """Smooths the poses of each identity over time; a new person starts unfiltered."""
    filters: dict[int, tuple[OneEuro, OneEuro]] = {}
    before: dict[int, float] = {}

    def smooth(result: ImageResult) -> ImageResult:
        people = []
        for person in result.pose:
            (number,) = person.id.tolist()
            if result.time - before.get(number, -np.inf) > MAX_GAP:
                filters[number] = OneEuro(beta=BETA_2D), OneEuro(beta=BETA_3D)
            # The times of a damaged video may repeat.
            seconds = max(result.time - before.get(number, result.time), MIN_SECONDS)
            before[number] = result.time
            filter_2d, filter_3d = filters[number]
            size = size_in_image(person.joints_2d)
            joints_2d = filter_2d(person.joints_2d, seconds, unit=size).astype(np.float32)
            joints_3d = filter_3d(person.joints_3d, seconds).astype(np.float32)
            people.append(dataclasses.replace(person, joints_2d=joints_2d, joints_3d=joints_3d))
        if people:
            result.pose = dataclasses.replace(
                concatenate(people), image=np.zeros(len(people), np.int32)
            )
        return result

    return smooth


def _progress(source: Path, total: int) -> Callable[[int], None]:
    """Logs the progress of a video from time to time."""
    start = last = clock.monotonic()

    def report(count: int) -> None:
        nonlocal last
        now = clock.monotonic()
        if now - last > LOG_INTERVAL:
            last, rate = now, count / (now - start)
            log.info("%s: frame %d of %s, %.1f per second", source, count, total or "?", rate)

    return report
