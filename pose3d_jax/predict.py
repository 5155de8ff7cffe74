"""Predicts poses: `python -m pose3d_jax.predict IMAGE|VIDEO|FOLDER … [--checkpoint DIR|NAME]`.

Every input gets a directory of its name below `--out`, with `poses.json`, the skeletons over the
image (`overlay.png`) or video (`overlay.mp4`), and for an image the people in 3D (`figure.png`).
docs/inference.md describes `poses.json`. An input that cannot be read is reported and skipped.
`--webcam 0` shows the people before a camera instead.
"""

import pose3d_jax.programs.start  # noqa: F401  # isort: skip  # first

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from pose3d_jax.errors import UserError
from pose3d_jax.prediction import webcam
from pose3d_jax.prediction.arguments import AUTO
from pose3d_jax.prediction.exports import FORMATS
from pose3d_jax.prediction.inputs import (
    FourNumbers,
    Options,
    choose_compute,
    list_inputs,
    read_boxes,
)
from pose3d_jax.prediction.pipeline import predict_files
from pose3d_jax.prediction.pose import JOINT_SETS
from pose3d_jax.prediction.predictor import Predictor
from pose3d_jax.prediction.tracking import Tracker
from pose3d_jax.programs.flags import (
    BATCH_SIZE,
    CHECKPOINT,
    COMPILATION_CACHE,
    COMPUTE,
    FLIP,
    OUT,
    SCALES,
)
from pose3d_jax.programs.run import configure_jax, run_program

log = logging.getLogger(__name__)

_BOX = flags.DEFINE_multi(
    FourNumbers(), flags.ArgumentSerializer(), "box", [], "x,y,width,height of a person, px, in "
    "every input; may be repeated. Default: people are detected."
)  # fmt: skip
_BOXES = flags.DEFINE_string(
    "boxes", None, 'JSON file with the boxes of each input: {"photo.jpg": [[x, y, width, height]]}.'
)
_DETECT = flags.DEFINE_bool(
    "detect", True, "Detect people where there is no box; else use the largest centred square."
)
flags.DEFINE_alias("find", "detect")
_THRESHOLD = flags.DEFINE_float("threshold", None, "Confidence of a detected person, at least.")
_MAX_PEOPLE = flags.DEFINE_integer(
    "max_people", None, "Detected people per image or frame, at most.", lower_bound=1
)
_MARGIN = flags.DEFINE_float(
    "margin", 1.0, "Factor on given boxes; 1.25 for tight ones.", lower_bound=0.01
)
_SIZE = flags.DEFINE_float(
    "bone_length_sum", None, "Sum of 14 bones, mm. Default: the average's.", lower_bound=1.0
)
_INTRINSICS = flags.DEFINE(FourNumbers(), "intrinsics", None, "fx,fy,cx,cy of the camera, px.")
_SMOOTH = flags.DEFINE_bool("smooth", False, "Smooth videos over time.")
_OVERLAYS = flags.DEFINE_bool(
    "overlays", True, "Draw the skeletons over images and videos: half of a video's time."
)
_FIGURES = flags.DEFINE_bool(
    "figures", True, "Draw the people of images in 3D, the slowest part for a photo with a box."
)
_EXPORT = flags.DEFINE_list("export", [], f"Further files: {', '.join(FORMATS)}.")
flags.register_validator(
    "export", lambda given: set(given) <= set(FORMATS), f"it takes {', '.join(FORMATS)}"
)
_JOINTS = flags.DEFINE_enum(
    "joints", "mpii", list(JOINT_SETS), "Joint set of poses.json, CSV and TRC."
)
_WEBCAM = flags.DEFINE_string("webcam", None, "Number of a camera to show people live, e.g. 0.")
_PORT = flags.DEFINE_integer("port", 8000, "Port of the live page; 0 for any free one.")
for _flag in (CHECKPOINT, OUT, BATCH_SIZE, FLIP, SCALES, COMPUTE, COMPILATION_CACHE):
    flags.declare_key_flag(_flag.name)  # --help lists key flags only.


def main(argv: Sequence[str]) -> None:
    """The program."""
    if len(argv) < 2 and _WEBCAM.value is None:
        raise UserError("Usage: python -m pose3d_jax.predict IMAGE|VIDEO|FOLDER …")
    options = Options(
        checkpoint=CHECKPOINT.value,
        boxes=_boxes(),
        margin=_MARGIN.value,
        bone_length_sum=_SIZE.value,
        threshold=_THRESHOLD.value,
        max_people=_MAX_PEOPLE.value,
        intrinsics=_INTRINSICS.value,
        smooth=_SMOOTH.value,
        overlays=_OVERLAYS.value,
        figures=_FIGURES.value,
        joint_set=_JOINTS.value,
        exports=tuple(_EXPORT.value),
    )
    inputs, problems = list_inputs(argv[1:], Path(OUT.value or "predictions"))
    for problem in problems:
        log.error("%s", problem)
    configure_jax(COMPILATION_CACHE.value)
    predictor = Predictor.from_checkpoint(
        CHECKPOINT.value,
        batch_size=BATCH_SIZE.value,
        flip=FLIP.value,
        scales=SCALES.value,
        compute=choose_compute(inputs, COMPUTE.value),
    )
    if _WEBCAM.value is not None:
        tracker = Tracker(predictor, options)
        page = webcam.Page(_PORT.value)
        with contextlib.closing(page), webcam.open_camera(_WEBCAM.value) as frames:
            log.info("Open %s in a browser; Ctrl-C ends.", page.url)
            webcam.show_live(frames, tracker, page)
        return
    failed, total = len(problems), len(inputs) + len(problems)
    for number, (item, result) in enumerate(predict_files(predictor, inputs, options), 1):
        if isinstance(result, UserError):
            failed += 1
            log.error("%d/%d %s", number, len(inputs), result)
        else:
            log.info("%d/%d %s: %s → %s", number, len(inputs), item.source, result, item.directory)
    if failed:
        raise UserError(f"{failed} of {total} inputs failed; the messages above say why.")


def _boxes() -> Any:
    if _BOX.value and _BOXES.value:
        raise UserError("Give boxes by --box or by --boxes, not by both.")
    if _BOXES.value:
        return read_boxes(_BOXES.value)
    if _BOX.value:
        return np.array(_BOX.value)
    return AUTO if _DETECT.value else None


if __name__ == "__main__":
    run_program(main)
