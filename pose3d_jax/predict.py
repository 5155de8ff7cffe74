"""Predicts poses: `python -m pose3d_jax.predict IMAGE|VIDEO|FOLDER … [--checkpoint DIR|NAME]`.

Every input gets a directory of its name below `--out`, with `poses.json`, the skeletons over the
image (`overlay.png`) or video (`overlay.mp4`), and for an image the people in 3D (`figure.png`).
docs/inference.md describes `poses.json`. An input that cannot be read is reported, and the rest
goes on.
"""

import pose3d_jax.programs.start  # noqa: F401  # isort: skip  # first

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from pose3d_jax.errors import UserError
from pose3d_jax.images.boxes import InputError
from pose3d_jax.prediction.finding import AUTO
from pose3d_jax.prediction.inputs import list_jobs
from pose3d_jax.prediction.jobs import Options, predict_files
from pose3d_jax.prediction.predictor import Predictor
from pose3d_jax.programs.flags import BATCH_SIZE, CHECKPOINT, COMPILATION_CACHE, COMPUTE, FLIP, OUT
from pose3d_jax.programs.run import configure_jax, expand_path, run_program

log = logging.getLogger(__name__)

#: Where the results go without --out.
PLACE = "predictions"
_BOXES = flags.DEFINE_multi_string(
    "box", [], "x,y,width,height of a person, px, in every input; may be repeated. Default: people "
    "are looked for."
)  # fmt: skip
_FIND = flags.DEFINE_bool(
    "find", True, "Look for people where there is no box; else the largest centred square is taken."
)
_MARGIN = flags.DEFINE_float(
    "margin", 1.0, "Factor on the boxes; 1.25 if they fit tightly.", lower_bound=0.01
)
_SIZE = flags.DEFINE_float(
    "bone_length_sum",
    None,
    "Sum of the person's 14 bones, mm. Default: the average skeleton's.",
    lower_bound=1.0,
)
_SMOOTH = flags.DEFINE_bool("smooth", False, "Smooth videos over time (One-Euro filter).")
_OVERLAYS = flags.DEFINE_bool(
    "overlays", True, "Draw the skeletons over images and videos: half of a video's time."
)
_FIGURES = flags.DEFINE_bool(
    "figures", True, "Draw the people of images in 3D: of a photo with a box the slowest part."
)
for _flag in (CHECKPOINT, OUT, BATCH_SIZE, FLIP, COMPUTE, COMPILATION_CACHE):
    flags.declare_key_flag(_flag.name)  # Or --help would leave it out.


def main(argv: Sequence[str]) -> None:
    """The program."""
    if len(argv) < 2:
        raise UserError("Usage: python -m pose3d_jax.predict IMAGE|VIDEO|FOLDER …")
    boxes = parse_boxes(_BOXES.value)
    if boxes is None and _FIND.value:
        boxes = AUTO
    jobs, problems = list_jobs(
        [Path(expand_path(path, "predict")) for path in argv[1:]], Path(OUT.value or PLACE)
    )
    for problem in problems:
        log.error("%s", problem)
    configure_jax(COMPILATION_CACHE.value)
    predictor = Predictor.from_checkpoint(
        CHECKPOINT.value, batch_size=BATCH_SIZE.value, flip=FLIP.value, compute=COMPUTE.value
    )

    options = Options(
        checkpoint=CHECKPOINT.value,
        boxes=boxes,
        margin=_MARGIN.value,
        bone_length_sum=_SIZE.value,
        smooth=_SMOOTH.value,
        overlays=_OVERLAYS.value,
        figures=_FIGURES.value,
    )
    failed = len(problems)
    for number, (job, told) in enumerate(predict_files(predictor, jobs, options), 1):
        if isinstance(told, UserError):
            failed += 1
            # What is wrong with a box does not tell of which file.
            name = f"{job.source}: " if isinstance(told, InputError) else ""
            log.error("%d/%d %s%s", number, len(jobs), name, told)
        else:
            log.info("%d/%d %s: %s → %s", number, len(jobs), job.source, told, job.place)
    if failed:
        total = len(jobs) + len(problems)
        raise UserError(f"{failed} of {total} inputs failed, as said above.")


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


if __name__ == "__main__":
    run_program(main)
