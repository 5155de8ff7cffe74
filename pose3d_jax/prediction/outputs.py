"""The results of an input: numbers, pictures, a video, and files for other programs."""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from pose3d_jax.drawing.axes import figure_3d
from pose3d_jax.drawing.skeletons import draw_people
from pose3d_jax.errors import UserError
from pose3d_jax.files import uninterrupted
from pose3d_jax.images import videos
from pose3d_jax.images.files import reduce_image
from pose3d_jax.prediction import exports
from pose3d_jax.prediction.inputs import FIGURE, OVERLAY, POSES, VIDEO, Input, Options
from pose3d_jax.prediction.pose import JOINT_SETS, Pose

#: Pictures of larger images are reduced to this side, px.
MAX_PICTURE = 2048


def write_photo(
    item: Input, image: UInt8[np.ndarray, "h w 3"], pose: Pose, options: Options
) -> None:
    """Writes the results of an image.

    Raises:
        UserError: one of them cannot be written; then none is.
    """
    with _directory(item) as folder:
        content = _head(item, image.shape[1::-1], options) | pose.to(options.joint_set).to_dict()
        (folder / POSES).write_text(json.dumps(content) + "\n")
        picture, factors = reduce_image(image, MAX_PICTURE)
        joints, confidence = pose.joints_2d * factors, pose.person_confidence
        if options.overlays:
            Image.fromarray(draw_people(picture, joints, confidence)).save(folder / OVERLAY)
        if options.figures:
            figure_3d(picture, joints, pose.joints_3d, confidence).savefig(folder / FIGURE)
        exports.write(folder, options.exports, [0.0], [pose], options.joint_set)


@contextlib.contextmanager
def open_video_results(
    item: Input, size: tuple[int, int], rate: Fraction, options: Options
) -> Iterator[Callable[[float, Pose, UInt8[np.ndarray, "h w 3"]], None]]:
    """Opens the results of a video; frames go to the files at once.

    Args:
        item: the video.
        size: width and height, px.
        rate: frames per second, on average.
        options: what to write.

    Yields:
        A function that adds a frame: its time in s, its people, and its picture for the overlay.

    Raises:
        UserError: one of the results cannot be written; then none is.
    """
    times: list[float] = []
    poses: list[Pose] = []
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(_directory(item))
        add_picture = None
        if options.overlays:
            add_picture = stack.enter_context(videos.write_video(folder / VIDEO, rate))
        file = stack.enter_context((folder / POSES).open("w"))
        head = _head(item, size, options) | {"rate": float(rate)}
        file.write(json.dumps(head)[:-1] + ', "frames": [')

        def add(time: float, pose: Pose, picture: np.ndarray) -> None:
            people = pose.to(options.joint_set).to_dict()["people"]
            row = {"frame": len(times), "time": round(time, 6), "people": people}
            file.write((", " if times else "") + json.dumps(row))
            times.append(time)
            if options.exports:
                poses.append(pose)
            if add_picture is not None:
                add_picture(picture, time)

        yield add
        file.write("]}\n")
        exports.write(folder, options.exports, times, poses, options.joint_set)


def _head(item: Input, size: tuple[int, int], options: Options) -> dict[str, Any]:
    """The beginning of `poses.json`."""
    joints, bones = JOINT_SETS[options.joint_set]
    return {
        "source": str(item.source),
        "checkpoint": str(options.checkpoint),
        "width": size[0],
        "height": size[1],
        "joint_names": list(joints),
        "bones": np.array(bones).tolist(),
    }


@contextlib.contextmanager
def _directory(item: Input) -> Iterator[Path]:
    """A directory to write results into; they appear in the input's directory together.

    Raises:
        UserError: one cannot be written; then none is.
    """
    target, partial = item.directory, item.directory / ".partial"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        files = {file: target / file.name for file in partial.iterdir()}
        for file in files.values():
            if file.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))
        with uninterrupted():
            for file, place in files.items():
                file.replace(place)
    except OSError as error:
        where, reason = error.filename or target, error.strerror or error
        raise UserError(
            f"The results of {item.source} cannot be written: {where}: {reason}."
        ) from error
    finally:
        with uninterrupted():
            shutil.rmtree(partial, ignore_errors=True)
            with contextlib.suppress(OSError):  # Not empty.
                target.rmdir()
