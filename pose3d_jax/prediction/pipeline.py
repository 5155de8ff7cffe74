"""From files to results: load, detect, predict, write, with one `ImageResult` per image.

Loading, prediction and writing run side by side, in threads. No stage is more than a few items
ahead of the next, so that memory does not depend on the number of images or frames.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import itertools
import logging
import time as clock
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np
from jaxtyping import Float, UInt8

from pose3d_jax import processors
from pose3d_jax.drawing.skeletons import draw_people
from pose3d_jax.errors import UserError
from pose3d_jax.images import videos
from pose3d_jax.images.files import read_image
from pose3d_jax.prediction import outputs
from pose3d_jax.prediction.arguments import is_auto
from pose3d_jax.prediction.inputs import Input, Options
from pose3d_jax.prediction.pose import Pose
from pose3d_jax.prediction.predictor import Predictor
from pose3d_jax.prediction.smoothing import PoseSmoother
from pose3d_jax.prediction.tracking import Tracker

log = logging.getLogger(__name__)

A, B = TypeVar("A"), TypeVar("B")
#: Bytes of pictures that are predicted together, about.
MAX_BYTES = 256 << 20
#: Seconds between two log lines about a video.
LOG_INTERVAL = 5.0
_END = object()


@dataclasses.dataclass
class ImageResult:
    """An image or frame, and its results so far."""

    input: Input  # its file
    image: UInt8[np.ndarray, "h w 3"] | None = None  # RGB; None before it is loaded
    time: float = 0.0  # of a frame, s
    squares: Float[np.ndarray, "n 3"] | None = None  # of its people: centre x, y and side, px
    pose: Pose | None = None  # its people
    error: UserError | None = None  # the reason why there is no pose


def prefetch(items: Iterable[A]) -> Iterator[A]:
    """The same items, produced by a thread, up to two before they are needed."""
    iterator = iter(items)
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        waiting = collections.deque(thread.submit(next, iterator, _END) for _ in range(2))
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
        results = map(ImageResult, group)
        if not is_video:
            results = prefetch(predict_images(predictor, load_images(results), options))
        for result in results:
            try:
                if is_video:
                    yield result.input, predict_video(predictor, result.input, options)
                elif result.error is not None:
                    raise result.error
                else:  # Written in this thread: Matplotlib supports no other.
                    outputs.write_photo(result.input, result.image, result.pose, options)
                    yield result.input, _summary(len(result.pose))
            except UserError as error:
                yield result.input, error


def _summary(people: int) -> str:
    if not people:
        return "no person detected; lower --threshold, give a --box, or use --nodetect"
    return f"{people} {'person' if people == 1 else 'people'}"


def load_images(results: Iterable[ImageResult]) -> Iterator[ImageResult]:
    """Reads the image files in several threads; a result gets its image or the error."""

    def load(result: ImageResult) -> ImageResult:
        try:
            result.image = read_image(result.input.source)
        except UserError as error:
            result.error = error
        return result

    return parallel_map(load, results)


def predict_images(
    predictor: Predictor, results: Iterable[ImageResult], options: Options
) -> Iterator[ImageResult]:
    """Adds poses to images, in batches filled across images and people; errors pass through.

    Args:
        predictor: that predicts.
        results: with an image, or an error.
        options: how to predict.
    """

    def locate(result: ImageResult) -> ImageResult:
        """Determines the squares; detects people unless there are boxes."""
        if result.error is None:
            try:
                result.squares = predictor.squares(
                    result.image, options.boxes_of(result.input), options.margin,
                    options.threshold, options.max_people, str(result.input.source),
                )  # fmt: skip
            except UserError as error:
                result.error = error
        return result

    for chunk in _chunks(map(locate, results), predictor.batch_size):
        valid = [result for result in chunk if result.error is None]
        pose = predictor.predict_squares(
            [result.image for result in valid],
            [result.squares for result in valid],
            options.bone_length_sum,
            options.intrinsics,
        )
        for number, result in enumerate(valid):
            result.pose = own = pose.of_image(number)
            if not (np.isfinite(own.joints_2d).all() and np.isfinite(own.joints_3d).all()):
                result.error = UserError(
                    f"{result.input.source}: the network's output is not finite: its weights "
                    "are damaged, or its training diverged. Use another checkpoint."
                )
        yield from chunk


def _chunks(results: Iterable[ImageResult], size: int) -> Iterator[list[ImageResult]]:
    """Images of about `size` people and at most `MAX_BYTES` together."""
    chunk, people, held = [], 0, 0
    for result in results:
        chunk.append(result)
        people += 0 if result.squares is None else len(result.squares)
        held += 0 if result.image is None else result.image.nbytes
        if people >= size or held >= MAX_BYTES or len(chunk) >= 2 * size:
            yield chunk
            chunk, people, held = [], 0, 0
    if chunk:
        yield chunk


def predict_video(predictor: Predictor, item: Input, options: Options) -> str:
    """Predicts a video frame by frame and writes its results; memory holds a few frames.

    Returns:
        A summary of the results.

    Raises:
        UserError: it cannot be read, a box is invalid, or a result cannot be written.
    """

    def draw(result: ImageResult) -> tuple[ImageResult, np.ndarray]:
        if result.error is not None:
            raise result.error
        if not options.overlays:
            return result, result.image
        people = result.pose.joints_2d, result.pose.person_confidence
        return result, draw_people(result.image, *people)

    # The thread that decodes ends before the file is closed.
    with (
        videos.open_video(item.source) as video,
        contextlib.closing(prefetch(video.frames)) as frames,
    ):
        first = next(frames, None)
        if first is None:
            raise UserError(f"{item.source} has no frames.")
        everything = itertools.chain([first], frames)
        results = (ImageResult(item, image, time) for time, image in everything)
        drawn = parallel_map(draw, prefetch(_frame_poses(predictor, results, item, options)))
        size = first.image.shape[1::-1]
        identities: set[int] = set()
        start = logged = clock.monotonic()
        try:
            with outputs.open_video_results(item, size, video.rate, options) as add:
                for count, (result, picture) in enumerate(drawn, 1):
                    add(result.time, result.pose, picture)
                    identities.update(result.pose.id.tolist())
                    if (now := clock.monotonic()) - logged > LOG_INTERVAL:
                        logged, rate, total = now, count / (now - start), video.count or "?"
                        log.info(
                            "%s: frame %d of %s, %.1f per second", item.source, count, total, rate
                        )
        finally:
            drawn.close()
        if video.lost:
            raise UserError(
                f"{item.source} is damaged: {video.lost} frames could not be decoded. The other "
                f"{count} are predicted; their results are in {item.directory}."
            )
    return f"{count} frames, {_summary(len(identities))}"


def _frame_poses(
    predictor: Predictor, results: Iterable[ImageResult], item: Input, options: Options
) -> Iterator[ImageResult]:
    """The people of each frame: tracked, or in the boxes given, whose order is their identity."""
    tracker = None
    if is_auto(options.boxes_of(item)):
        tracker = Tracker(predictor, options)
    else:
        results = predict_images(predictor, results, options)
    smoother = PoseSmoother()
    for result in results:
        if tracker is not None:
            result.pose = tracker(result.image, result.time)
        elif result.pose is not None:
            number = np.arange(len(result.pose), dtype=np.int32)
            result.pose = dataclasses.replace(result.pose, id=number)
        if options.smooth and result.error is None:
            result.pose = smoother(result.pose, result.time)
        yield result
