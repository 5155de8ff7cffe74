"""Evaluates a network: `python -m pose3d_jax.evaluate [--checkpoint DIR|NAME] [--data NAME …]`.

Prints Tables 1–4 of the paper for each data set, with the published rows on the paper's data sets.
The directory `--out` (by default `DIR/evaluation`, or `runs/NAME/evaluation`) receives them as
`results.json` and `tables.md`, and the predictions (`predictions.npz`) and pictures of each data
set.
"""

import pose3d_jax.programs.start  # noqa: F401  # isort: skip  # first

import logging
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from pose3d_jax.checkpoints.loading import results_directory
from pose3d_jax.errors import UserError
from pose3d_jax.evaluation import report
from pose3d_jax.evaluation.tables import as_text, result_tables
from pose3d_jax.programs.flags import (
    BATCH_SIZE,
    CHECKPOINT,
    COMPILATION_CACHE,
    COMPUTE,
    DATA_DIR,
    FLIP,
    OUT,
    SCALES,
)
from pose3d_jax.programs.run import configure_jax, run_program

log = logging.getLogger(__name__)

_DATA = flags.DEFINE_multi_string(
    "data", [], "Prepared data sets, or NAME:SPLIT. Default: the test splits of the checkpoint's "
    "config."
)  # fmt: skip
_LIMIT = flags.DEFINE_integer(
    "limit", None, "Number of images of each split, evenly spaced; all by default.", lower_bound=1
)
_PICTURES = flags.DEFINE_bool("pictures", True, "Draw pictures.")
for _flag in (CHECKPOINT, OUT, DATA_DIR, BATCH_SIZE, FLIP, SCALES, COMPUTE, COMPILATION_CACHE):
    flags.declare_key_flag(_flag.name)  # For --help.


def main(argv: Sequence[str]) -> None:
    """The program."""
    # `--data A B` is `--data A --data B`.
    names = _DATA.value + list(argv[1:])
    if names and not _DATA.value:
        raise UserError("Usage: python -m pose3d_jax.evaluate --checkpoint DIR [--data NAME …]")
    configure_jax(COMPILATION_CACHE.value)
    out = Path(OUT.value or results_directory(CHECKPOINT.value) / report.DIRECTORY)
    results = report.evaluate_checkpoint(
        CHECKPOINT.value,
        out,
        data=names,
        data_dir=DATA_DIR.value,
        limit=_LIMIT.value,
        flip=FLIP.value,
        scales=SCALES.value,
        compute=COMPUTE.value,
        batch_size=BATCH_SIZE.value,
        draw=_PICTURES.value,
    )
    tables = "\n\n".join(map(as_text, result_tables(results)))
    log.info("results in %s:\n\n%s\n", out, tables)


if __name__ == "__main__":
    run_program(main)
