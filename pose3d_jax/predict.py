"""Predicts poses: `python -m pose3d_jax.predict --checkpoint DIR IMAGE|VIDEO|FOLDER …`.

Every input gets a directory of its name below `--out`, with `poses.json`, the skeletons over the
image (`overlay.png`) or video (`overlay.mp4`), and for an image the people in 3D (`figure.png`).
docs/inference.md describes `poses.json`. An input that cannot be read is reported, and the rest
goes on.
"""

import contextlib
import errno
import itertools
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags
from PIL import Image

from pose3d_jax.drawing.axes import figure_3d
from pose3d_jax.drawing.skeletons import draw_people
from pose3d_jax.errors import UserError
from pose3d_jax.images import videos
from pose3d_jax.images.boxes import InputError
from pose3d_jax.images.files import read_image, reduce_image
from pose3d_jax.prediction.predictor import Pose, Predictor
from pose3d_jax.prediction.smoothing import OneEuro
from pose3d_jax.programs.compilation import keep_compiled
from pose3d_jax.programs.flags import BATCH_SIZE, CHECKPOINT, COMPILATION_CACHE, OUT
from pose3d_jax.programs.run import run_program
from pose3d_jax.skeleton import JOINT_NAMES
from pose3d_jax.untrusted import reason

log = logging.getLogger(__name__)

#: Where the results go without --out.
PLACE = "predictions"
_BOXES = flags.DEFINE_multi_string(
    "box", [], "x,y,width,height of a person, px, in every input; may be repeated. Default: the "
    "largest centred square."
)  # fmt: skip
_MARGIN = flags.DEFINE_float("margin", 1.0, "Factor on the boxes; 1.25 if they fit tightly.")
_SIZE = flags.DEFINE_float(
    "bone_length_sum", None, "Sum of the person's 14 bones, mm. Default: the average skeleton's."
)
_SMOOTH = flags.DEFINE_bool("smooth", False, "Smooth videos over time (One-Euro filter).")

#: What a folder is searched for.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".bmp", ".gif", ".tif", ".tiff")
RESULT = "poses.json"
#: Pictures of larger images are reduced to this side, px: they are to be looked at.
LONGEST = 2048
#: How much faster the One-Euro filter follows, Hz per (unit/s); px of a person of 200 px, and mm.
BETA_2D, BETA_3D = 0.03, 0.005


class Job(NamedTuple):
    """An input and the directory of its results."""

    source: Path
    place: Path


def main(argv: Sequence[str]) -> None:
    """The program."""
    if CHECKPOINT.value is None or len(argv) < 2:
        raise UserError("Usage: python -m pose3d_jax.predict --checkpoint DIR IMAGE|VIDEO|FOLDER …")
    boxes = parse_boxes(_BOXES.value)
    jobs = list_jobs([Path(path) for path in argv[1:]], Path(OUT.value or PLACE))
    keep_compiled(COMPILATION_CACHE.value)
    predictor = Predictor.from_checkpoint(CHECKPOINT.value, batch_size=BATCH_SIZE.value)

    failed = 0
    for number, job in enumerate(jobs, 1):
        try:
            told = predict_file(predictor, job, boxes)
        except InputError as error:
            failed += 1
            log.error("%d/%d %s: %s", number, len(jobs), job.source, error)
        except UserError as error:
            failed += 1
            log.error("%d/%d %s", number, len(jobs), error)
        else:
            log.info("%d/%d %s: %s → %s", number, len(jobs), job.source, told, job.place)
    if failed:
        raise UserError(f"{failed} of {len(jobs)} inputs failed, as said above.")


def parse_boxes(texts: Sequence[str]) -> np.ndarray | None:
    """The boxes of the command line; None without any.

    Raises:
        UserError: one is not four numbers.
    """
    try:
        boxes = [[float(number) for number in text.split(",")] for text in texts]
    except ValueError:
        boxes = [[]]
    if any(len(box) != 4 for box in boxes):
        raise UserError("A box is four numbers: --box x,y,width,height, in px.")
    return np.array(boxes) if boxes else None


def list_jobs(paths: Sequence[Path], out: Path) -> list[Job]:
    """Files, and what images and videos there are in folders, each with a place of its own.

    Raises:
        UserError: a folder is empty, or two inputs would share a place.
    """
    jobs: dict[Path, Job] = {}
    for path in paths:
        if path.name == "..":  # Below its parent, by name, lies nothing but the parent.
            path = path.resolve()
        files = _files_below(path) if path.is_dir() else [path]
        for file in files:
            place = out / file.relative_to(path.parent)
            if place in jobs:
                raise UserError(
                    f"{file} and {jobs[place].source} have the same name; name their folder "
                    "instead, or predict one at a time."
                )
            jobs[place] = Job(file, place)
    return list(jobs.values())


def _files_below(folder: Path) -> list[Path]:
    suffixes = IMAGE_SUFFIXES + videos.SUFFIXES
    files = sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in suffixes and not path.is_dir()
    )
    if not files:
        raise UserError(f"There are no images or videos in {folder}.")
    return files


def predict_file(predictor: Predictor, job: Job, boxes: np.ndarray | None) -> str:
    """Predicts one input and writes its results.

    Returns:
        What there was to see.

    Raises:
        UserError: it cannot be read, or a box is of no use in it.
    """
    if job.source.suffix.lower() in videos.SUFFIXES:
        return predict_video(predictor, job, boxes)
    image = read_image(job.source)
    pose = _predict(predictor, [image], boxes)
    shown, factors = reduce_image(image, LONGEST)
    joints = pose.joints_2d * factors
    with _results(job) as folder:
        Image.fromarray(draw_people(shown, joints)).save(folder / "overlay.png")
        figure_3d(shown, joints, pose.joints_3d).savefig(folder / "figure.png")
        _write(folder, job, image.shape, {"people": people(pose)})
    return f"{len(pose)} {'person' if len(pose) == 1 else 'people'}"


def predict_video(predictor: Predictor, job: Job, boxes: np.ndarray | None) -> str:
    """Predicts a video, as `predict_file`; only a few frames are in memory at once."""
    with videos.open_video(job.source) as video:
        first = next(video.frames, None)
        if first is None:
            raise UserError(f"{job.source} has no frames.")
        frames = itertools.chain([first], video.frames)
        rows = []
        smooth = _smoother(float(video.rate)) if _SMOOTH.value else (lambda pose: pose)
        with _results(job) as folder:
            with videos.write_video(folder / "overlay.mp4", video.rate) as add:
                for chunk in _batches(frames, predictor.batch_size):
                    poses = _predict(predictor, chunk, boxes)
                    for index, frame in enumerate(chunk):
                        pose = smooth(poses.of_image(index))
                        add(draw_people(frame, pose.joints_2d))
                        time = round(len(rows) / float(video.rate), 6)
                        rows.append({"frame": len(rows), "time": time, "people": people(pose)})
                    log.info("%s: frame %d of %s", job.source, len(rows), video.count or "?")
            _write(folder, job, first.shape, {"rate": float(video.rate), "frames": rows})
    return f"{len(rows)} frames"


@contextlib.contextmanager
def _results(job: Job) -> Iterator[Path]:
    """A directory to write an input's results into; they appear in the job's place together.

    Raises:
        UserError: one cannot be written; none of them is left.
    """
    partial = job.place / ".partial"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        results = {file: job.place / file.name for file in partial.iterdir()}
        for target in results.values():
            if target.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
        for file, target in results.items():
            file.replace(target)
    except OSError as error:
        where = error.filename or job.place
        raise UserError(
            f"The results of {job.source} cannot be written: {where}: {reason(error)}."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        with contextlib.suppress(OSError):  # Of what is not empty.
            job.place.rmdir()


def _predict(predictor: Predictor, images: list[np.ndarray], boxes: np.ndarray | None) -> Pose:
    return predictor(
        images, [boxes] * len(images), margin=_MARGIN.value, bone_length_sum=_SIZE.value
    )


def _batches(frames: Iterator[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    while chunk := list(itertools.islice(frames, size)):
        yield chunk


def _smoother(rate: float):
    """Smooths the poses of the same people in frame after frame."""
    filter_2d, filter_3d = OneEuro(rate, beta=BETA_2D), OneEuro(rate, beta=BETA_3D)

    def smooth(pose: Pose) -> Pose:
        joints_2d, joints_3d = filter_2d(pose.joints_2d), filter_3d(pose.joints_3d)
        return Pose(joints_2d, joints_3d, pose.scores, pose.squares, pose.image)

    return smooth


def people(pose: Pose) -> list[dict[str, Any]]:
    """Poses as plain JSON values, rounded to what is meaningful."""
    return [
        {
            "square": np.round(square, 2).tolist(),
            "joints_2d": np.round(joints_2d, 4).tolist(),
            "joints_3d": np.round(joints_3d, 3).tolist(),
            "scores": np.round(scores, 4).tolist(),
        }
        for square, joints_2d, joints_3d, scores in zip(
            *(
                np.asarray(field, np.float64)
                for field in (pose.squares, pose.joints_2d, pose.joints_3d, pose.scores)
            )
        )
    ]


def _write(folder: Path, job: Job, shape: tuple[int, ...], content: dict[str, Any]) -> None:
    """Writes `poses.json`."""
    head = {
        "source": str(job.source),
        "checkpoint": str(CHECKPOINT.value),
        "width": shape[1],
        "height": shape[0],
        "joint_names": JOINT_NAMES,
    }
    (folder / RESULT).write_text(json.dumps(head | content) + "\n")


if __name__ == "__main__":
    run_program(main)
