"""Images and videos: how each becomes results."""

import contextlib
import functools
import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from pose3d_jax.drawing.skeletons import draw_people
from pose3d_jax.errors import UserError
from pose3d_jax.images import media, videos
from pose3d_jax.images.files import read_image
from pose3d_jax.prediction import outputs
from pose3d_jax.prediction.finding import AUTO, in_one_place
from pose3d_jax.prediction.following import Follower
from pose3d_jax.prediction.outputs import Job
from pose3d_jax.prediction.pipeline import Frame, Seen, ahead, mapped, predict_frames
from pose3d_jax.prediction.predictor import Pose, Predictor
from pose3d_jax.prediction.smoothing import OneEuro

log = logging.getLogger(__name__)

#: Pictures of larger images are reduced to this side, px: they are to be looked at.
LONGEST = 2048
#: How much faster the One-Euro filter follows, Hz per (unit/s); px of a person of 200 px, and mm.
BETA_2D, BETA_3D = 0.03, 0.005
#: Seconds from frame to frame, at least.
SHORTEST = 1e-3
#: Seconds from one line about a video to the next.
TELLING = 5.0


class Options(NamedTuple):
    """How to predict.

    Attributes:
        checkpoint: as given; for `poses.json`.
        boxes: of people in every input, px; "auto" to find them, None for the centred square.
        margin: factor on the boxes.
        bone_length_sum: everybody's, mm; None for the average skeleton's.
        smooth: whether to smooth videos over time.
        overlays: whether to draw the skeletons over images and videos.
        figures: whether to draw the people of images in 3D.
    """

    checkpoint: str = ""
    boxes: Any = None
    margin: float = 1.0
    bone_length_sum: float | None = None
    smooth: bool = False
    overlays: bool = True
    figures: bool = True

    def of_calls(self) -> dict[str, Any]:
        """Those of a `Predictor`'s calls."""
        return {"margin": self.margin, "bone_length_sum": self.bone_length_sum}


def predict_files(
    predictor: Predictor, jobs: Iterable[Job], options: Options
) -> Iterator[tuple[Job, str | UserError]]:
    """Predicts inputs in their order, and writes their results.

    Yields:
        Each input, and what there was to see, or why it failed.
    """
    for is_video, some in itertools.groupby(jobs, _is_video):
        if is_video:
            for job in some:
                try:
                    yield job, predict_video(predictor, job, options)
                except UserError as error:
                    yield job, error
        else:
            yield from predict_photos(predictor, some, options)


def _is_video(job: Job) -> bool:
    return media.is_video(job.source)


def predict_photos(
    predictor: Predictor, jobs: Iterable[Job], options: Options
) -> Iterator[tuple[Job, str | UserError]]:
    """Predicts images side by side, in batches; as `predict_files`."""
    frames = (
        Frame(functools.partial(read_image, job.source), options.boxes, LONGEST, note=job)
        for job in jobs
    )
    # Written by this thread alone: Matplotlib is not for several.
    for seen in ahead(predict_frames(predictor, frames, **options.of_calls())):
        try:
            yield seen.note, _write_photo(seen, options)
        except UserError as error:
            yield seen.note, error


def _write_photo(seen: Seen, options: Options) -> str:
    if isinstance(seen.pose, UserError):
        raise seen.pose
    _check(seen.note, seen.pose)
    head = outputs.describe(seen.note, options.checkpoint, seen.size)
    with outputs.results(seen.note) as folder:
        outputs.write_photo(
            folder,
            head,
            seen.picture,
            seen.pose,
            overlay=options.overlays,
            figure=options.figures,
        )
    if not len(seen.pose):
        return "nobody found; name a box, or take the centre with --nofind"
    return f"{len(seen.pose)} {'person' if len(seen.pose) == 1 else 'people'}"


def _check(job: Job, pose: Pose) -> None:
    """Makes sure that there is something to write.

    Raises:
        UserError: the network has no numbers for an input, as one with damaged weights has not.
    """
    if not all(np.isfinite(part).all() for part in (pose.joints_2d, pose.joints_3d, pose.scores)):
        raise UserError(
            f"{job.source}: the network's answer is not finite. Its weights are damaged, or its "
            "training has failed."
        )


def predict_video(predictor: Predictor, job: Job, options: Options) -> str:
    """Predicts a video frame by frame, and writes its results; a few frames are in memory at once.

    Returns:
        What there was to see.

    Raises:
        UserError: it cannot be read, a box is of no use in it, or a result cannot be written.
    """
    with videos.open_video(job.source) as video:
        frames = ahead(video.frames)
        first = next(frames, None)
        if first is None:
            raise UserError(f"{job.source} has no frames.")
        frames = itertools.chain([first], frames)
        rate = float(video.rate)
        poses = _poses(predictor, frames, options)
        if options.smooth:
            poses = map(_smoother(), poses)
        draw = functools.partial(_drawn, job, overlay=options.overlays)
        drawn = mapped(lambda seen: (seen, draw(seen)), ahead(poses))
        head = outputs.describe(job, options.checkpoint, first.image.shape[1::-1])
        tell = _teller(job, video.count)
        with (
            contextlib.closing(drawn),
            outputs.results(job) as folder,
            outputs.write_frames(folder, head, rate) as add_people,
            _overlay(folder, video.rate, options) as add_picture,
        ):
            for count, (seen, picture) in enumerate(drawn, 1):
                add_people(seen.pose, seen.note)
                add_picture(picture, seen.note)
                tell(count)
        if video.lost:
            raise UserError(
                f"{job.source} is damaged: {video.lost} frames could not be decoded. The other "
                f"{count} are predicted; their results are in {job.place}."
            )
    return f"{count} frames"


def _poses(
    predictor: Predictor, frames: Iterable[videos.VideoFrame], options: Options
) -> Iterator[Seen]:
    """The people of each frame: followed where they are to be found, else predicted in batches.

    Notes are the frames' times.
    """
    if isinstance(options.boxes, str) and options.boxes == AUTO:
        follow = Follower(predictor, **options.of_calls())
        for when, image in frames:
            yield Seen(when, image, image.shape[1::-1], follow([image]))
        return
    named = (Frame(lambda image=image: image, options.boxes, note=when) for when, image in frames)
    for seen in predict_frames(predictor, named, **options.of_calls()):
        if isinstance(seen.pose, UserError):
            raise seen.pose
        yield seen


def _overlay(
    folder: Path, rate: Fraction, options: Options
) -> contextlib.AbstractContextManager[Callable[..., None]]:
    """Opens the video of skeletons; where it is not asked for, pictures go nowhere."""
    if not options.overlays:
        return contextlib.nullcontext(lambda picture, time: None)
    return videos.write_video(folder / outputs.VIDEO, rate)


def _drawn(job: Job, seen: Seen, *, overlay: bool) -> UInt8[np.ndarray, "h w 3"]:
    _check(job, seen.pose)
    return draw_people(seen.picture, seen.pose.joints_2d) if overlay else seen.picture


def _teller(job: Job, total: int) -> Callable[[int], None]:
    """Tells from time to time how far a video is."""
    start = last = time.monotonic()

    def tell(count: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > TELLING:
            last, rate = now, count / (now - start)
            log.info("%s: frame %d of %s, %.1f a second", job.source, count, total or "?", rate)

    return tell


def _smoother() -> Callable[[Seen], Seen]:
    """Smooths the poses of the same people in frame after frame, whose notes are their times.

    It begins anew when their number changes, and for whoever is where nobody was.
    """
    filter_2d, filter_3d, before, time_before = None, None, None, 0.0

    def smooth(seen: Seen) -> Seen:
        nonlocal filter_2d, filter_3d, before, time_before
        pose, fresh = seen.pose, None
        if before is None or len(pose) != len(before):
            filter_2d, filter_3d = OneEuro(beta=BETA_2D), OneEuro(beta=BETA_3D)
        else:
            fresh = ~in_one_place(before, pose.joints_2d).diagonal()
        # A damaged video's times may stand still.
        seconds = max(seen.note - time_before, SHORTEST)
        before, time_before = pose.joints_2d, seen.note
        joints_2d = filter_2d(pose.joints_2d, seconds, fresh)
        joints_3d = filter_3d(pose.joints_3d, seconds, fresh)
        smoothed = Pose(joints_2d, joints_3d, pose.scores, pose.squares, pose.image)
        return seen._replace(pose=smoothed)

    return smooth
