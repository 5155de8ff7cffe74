"""Trains detector and lifter of a trained network, and packs the whole.

    python -m pose3d_jax.train_heads --checkpoint runs/open/3D+2D-w-geo/stage3 --out o.safetensors

The config of the network says which data sets it was trained on; the detector sees mosaics of their
training records, the lifter the 3D poses of its lab. The network itself does not change.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import app, flags

from pose3d_jax.checkpoints.loading import load
from pose3d_jax.checkpoints.packed import check_writable, write_packed
from pose3d_jax.data.sources import Interleaved, open_domain
from pose3d_jax.errors import UserError
from pose3d_jax.models.variables import flatten
from pose3d_jax.programs.run import run_program
from pose3d_jax.training.heads import train_detector, train_lifter

log = logging.getLogger(__name__)

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "stage directory or packed file")
OUT = flags.DEFINE_string("out", None, "packed file to write, .safetensors")
DATA_DIR = flags.DEFINE_string("data_dir", None, "where data sets are prepared")
DETECTOR_STEPS = flags.DEFINE_integer("detector_steps", 4_000, "iterations; 0 leaves it as it is")
LIFTER_STEPS = flags.DEFINE_integer("lifter_steps", 20_000, "iterations; 0 leaves it as it is")


def main(argv: Sequence[str]) -> None:
    """The program."""
    if argv[1:]:
        raise app.UsageError(f"Unknown argument {argv[1]!r}.")
    if not CHECKPOINT.value or not OUT.value:
        raise app.UsageError("Name the trained network and the file: --checkpoint DIR --out FILE.")
    check_writable(Path(OUT.value))
    trained = load(CHECKPOINT.value)
    config, variables = trained.config, trained.variables
    if not config.model.get("detector_features") or not config.model.get("lifter_features"):
        raise UserError(
            f"{CHECKPOINT.value} has no detector and no lifter. Train a preset that has them, such "
            "as `--config configs/stage3.py:open`."
        )
    lab, wild = (open_domain(config.data[name], DATA_DIR.value) for name in ("lab", "wild"))
    if DETECTOR_STEPS.value:
        records = Interleaved([wild.train, wild.train, lab.train])
        variables = train_detector(trained.graphdef, variables, records, steps=DETECTOR_STEPS.value)
    if LIFTER_STEPS.value:
        poses = np.stack([lab.train[i]["joints_3d"] for i in range(len(lab.train))])
        variables = train_lifter(trained.graphdef, variables, poses, steps=LIFTER_STEPS.value)
    size = write_packed(Path(OUT.value), config, flatten(variables))
    log.info("%s: %.1f MB", OUT.value, size / 1e6)


if __name__ == "__main__":
    run_program(main)
