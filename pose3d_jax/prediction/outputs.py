"""What `pose3d_jax.predict` writes of an input: numbers, pictures, a video."""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from pose3d_jax.drawing.axes import figure_3d
from pose3d_jax.drawing.skeletons import draw_people
from pose3d_jax.errors import UserError
from pose3d_jax.files import uninterrupted
from pose3d_jax.prediction.predictor import Pose
from pose3d_jax.skeleton import JOINT_NAMES

POSES, OVERLAY, FIGURE, VIDEO = "poses.json", "overlay.png", "figure.png", "overlay.mp4"


class Job(NamedTuple):
    """An input and the directory of its results."""

    source: Path
    place: Path


@contextlib.contextmanager
def results(job: Job) -> Iterator[Path]:
    """A directory to write an input's results into; they appear in the job's place together.

    Raises:
        UserError: one cannot be written; none of them is left.
    """
    partial = job.place / ".partial"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        found = {file: job.place / file.name for file in partial.iterdir()}
        for target in found.values():
            if target.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
        with uninterrupted():
            for file, target in found.items():
                file.replace(target)
    except OSError as error:
        where, reason = error.filename or job.place, error.strerror or error
        raise UserError(
            f"The results of {job.source} cannot be written: {where}: {reason}."
        ) from error
    finally:
        with uninterrupted():
            shutil.rmtree(partial, ignore_errors=True)
            with contextlib.suppress(OSError):  # Of what is not empty.
                job.place.rmdir()


def write_photo(
    folder: Path,
    head: dict[str, Any],
    picture: UInt8[np.ndarray, "h w 3"],
    pose: Pose,
    *,
    overlay: bool,
    figure: bool,
) -> None:
    """Writes the results of an image.

    Args:
        folder: for them.
        head: from `describe`, of the image as it was.
        picture: RGB, perhaps reduced: it is to be looked at.
        pose: the people, in px of the image as it was.
        overlay: whether to draw their skeletons over it.
        figure: whether to draw them in 3D as well, which takes longest.
    """
    factors = np.divide(picture.shape[1::-1], (head["width"], head["height"]))
    joints = pose.joints_2d * factors
    if overlay:
        Image.fromarray(draw_people(picture, joints)).save(folder / OVERLAY)
    if figure:
        figure_3d(picture, joints, pose.joints_3d).savefig(folder / FIGURE)
    (folder / POSES).write_text(json.dumps(head | {"people": people(pose)}) + "\n")


@contextlib.contextmanager
def write_frames(
    folder: Path, head: dict[str, Any], rate: float
) -> Iterator[Callable[[Pose, float], None]]:
    """Opens a video's `poses.json`; calling what it gives adds a frame's people and its time, s.

    Frames go to the file at once: there may be more than the memory holds.

    Args:
        folder: for the results.
        head: from `describe`.
        rate: frames per second, on average.
    """
    count = 0
    with (folder / POSES).open("w") as file:
        file.write(json.dumps(head | {"rate": rate})[:-1] + ', "frames": [')

        def add(pose: Pose, time: float) -> None:
            nonlocal count
            row = {"frame": count, "time": round(time, 6), "people": people(pose)}
            file.write((", " if count else "") + json.dumps(row))
            count += 1

        yield add
        file.write("]}\n")


def describe(job: Job, checkpoint: str, size: tuple[int, int]) -> dict[str, Any]:
    """What `poses.json` begins with.

    Args:
        job: the input.
        checkpoint: as given.
        size: width and height, px.
    """
    return {
        "source": str(job.source),
        "checkpoint": str(checkpoint),
        "width": size[0],
        "height": size[1],
        "joint_names": JOINT_NAMES,
    }


def people(pose: Pose) -> list[dict[str, Any]]:
    """Poses as plain JSON values, rounded to what is meaningful."""

    def rounded(values: Float[np.ndarray, "..."], digits: int) -> list:
        return np.round(values.astype(np.float64), digits).tolist()

    columns = {
        "square": rounded(pose.squares, 2),
        "joints_2d": rounded(pose.joints_2d, 4),
        "joints_3d": rounded(pose.joints_3d, 3),
        "scores": rounded(pose.scores, 4),
    }
    return [dict(zip(columns, row)) for row in zip(*columns.values())]
