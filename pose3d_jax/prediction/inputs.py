"""What to predict and how: the images and videos in the paths that a user names, and options."""

import collections
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags
from jaxtyping import Float

from pose3d_jax.errors import UserError, system_error
from pose3d_jax.files import check_can_write, local_path
from pose3d_jax.images.media import is_input, is_video, walk

log = logging.getLogger(__name__)

#: Names of the results. A folder that has `POSES` holds results of an earlier run.
POSES, OVERLAY, FIGURE, VIDEO = "poses.json", "overlay.png", "figure.png", "overlay.mp4"
#: See `choose_compute`.
FEW_IMAGES = 32
EXPORTS = ("poses.csv", "poses.trc", "poses.bvh")


class Input(NamedTuple):
    """An image or video file, and the directory of its results."""

    source: Path
    directory: Path

    @property
    def is_video(self) -> bool:
        """Whether the file is read as a video, see `media.is_video`."""
        return is_video(self.source)


class Options(NamedTuple):
    """How to predict, and what to write."""

    checkpoint: str = ""  # as given; for `poses.json`
    #: Boxes of people in every input, px; `AUTO` to detect them, None for the centred square; or a
    #: mapping from files' names to their boxes.
    boxes: Float[np.ndarray, "n 4"] | str | Mapping[str, Any] | None = None
    margin: float = 1.0  # factor on the boxes
    bone_length_sum: float | None = None  # everyone's, mm; None for the average skeleton's
    threshold: float | None = None  # of detection; None for the default
    max_people: int | None = None  # detected or tracked, at most; None for no limit
    intrinsics: tuple[float, ...] | None = None  # fx, fy, cx, cy of the camera, px
    smooth: bool = False  # whether to smooth videos over time
    overlays: bool = True  # whether to draw the skeletons over images and videos
    figures: bool = True  # whether to draw the people of images in 3D
    joint_set: str = "mpii"  # of `poses.json`, CSV and TRC, see `Pose.to`
    exports: tuple[str, ...] = ()  # of `exports.FORMATS`

    def boxes_of(self, item: Input) -> Any:
        """The boxes of an input: those of its path or, failing that, of its name.

        Raises:
            UserError: the mapping lacks the input.
        """
        if not isinstance(self.boxes, Mapping):
            return self.boxes
        for key in (str(item.source), item.source.name):
            if key in self.boxes:
                return self.boxes[key]
        raise UserError(f"{item.source}: the file of boxes has no entry {item.source.name!r}.")


def list_inputs(
    paths: Sequence[str | os.PathLike], out: Path
) -> tuple[list[Input], list[UserError]]:
    """Files, and the images and videos in folders, each with a directory of its own.

    Args:
        paths: of files and folders.
        out: directory of all results.

    Returns:
        The inputs, and the errors of folders.

    Raises:
        UserError: a path is empty or remote, two inputs would share a directory, a directory is a
            file, or `out` cannot be written.
    """
    inputs: dict[Path, Input] = {}
    problems: list[UserError] = []
    for text in paths:
        if not os.fspath(text):
            raise UserError("The name of an input is empty.")
        expanded = local_path(text, "The input")
        path = expanded if str(text).startswith("~") else Path(text)
        if path.name == "..":  # Without the real name, the results would be above `out`
            path = path.resolve()
        files = [path]
        if os.path.isdir(path):
            files, errors = _files_below(path)
            problems += errors
        for file in files:
            directory = out / file.relative_to(path.parent)
            if os.path.isfile(directory):
                raise UserError(
                    f"The results of {file} go to a directory {directory}, which is a file. "
                    "Choose another --out."
                )
            if directory not in inputs:
                inputs[directory] = Input(file, directory)
            elif os.path.realpath(file) != os.path.realpath(inputs[directory].source):
                raise UserError(
                    f"{file} and {inputs[directory].source} have the same name; name their folder "
                    "instead, or predict one at a time."
                )
    if inputs:
        check_can_write(out)
    return list(inputs.values()), problems


def _files_below(folder: Path) -> tuple[list[Path], list[UserError]]:
    """The images and videos in a folder without hidden files and earlier results, and errors."""
    found: list[Path] = []
    problems: list[UserError] = []
    others: collections.Counter[str] = collections.Counter()
    for root, names in walk(folder, lambda e: problems.append(UserError(system_error(e)))):
        results = {POSES, OVERLAY, FIGURE, VIDEO, *EXPORTS} if POSES in names else set()
        for path in (Path(root, name) for name in names if name not in results):
            if is_input(path):
                found.append(path)
            else:
                others[path.suffix.lower() or "without suffix"] += 1
    if others:
        most = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(5))
        log.info("%s: other files are skipped (%s)", folder, most)
    if not found and not problems:
        problems.append(UserError(f"There are no images or videos in {folder}."))
    return sorted(found), problems


def choose_compute(inputs: Sequence[Input], compute: str) -> str:
    """The arithmetic for some inputs: "auto" is float32 for fewer than `FEW_IMAGES` images.

    JAX keeps float32's programs between runs; oneDNN's, which bfloat16 uses, are compiled again.

    Args:
        inputs: to predict; none for a camera.
        compute: one of `precision.COMPUTE`.
    """
    few = 0 < len(inputs) < FEW_IMAGES and not any(item.is_video for item in inputs)
    return "float32" if compute == "auto" and few else compute


class FourNumbers(flags.ArgumentParser):
    """Flags of four numbers, separated by commas."""

    def parse(self, argument: str) -> tuple[float, ...]:
        """The value of a flag."""
        try:
            first, second, third, fourth = map(float, argument.split(","))
        except ValueError:
            raise ValueError("it takes four numbers, separated by commas") from None
        return first, second, third, fourth


def read_boxes(path: str) -> dict[str, Any]:
    """The boxes of a JSON file: `{"photo.jpg": [[x, y, width, height], …], …}`, px.

    Keys are the inputs' paths or names. Invalid boxes are reported with their input.

    Raises:
        UserError: the file cannot be read, or is not an object.
    """
    file = local_path(path, "--boxes")
    try:
        content = json.loads(file.read_text("utf-8-sig"))  # Windows puts a mark first.
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"--boxes {file} cannot be read: {error}.") from error
    if not isinstance(content, dict):
        raise UserError(
            f'--boxes {file} must be an object: {{"photo.jpg": [[x, y, width, height], …], …}}.'
        )
    return content
