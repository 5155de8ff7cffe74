"""Trains detector and lifter of a trained network, and packs the whole.

    python -m pose3d_jax.train_heads runs/open/3D+2D-w-geo/stage3 open.safetensors

The data sets are those of the network's config. The detector is trained on mosaics of their
training records, the lifter on the 3D poses of the lab. The network itself does not change.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from pose3d_jax.checkpoints.loading import load
from pose3d_jax.checkpoints.packed import check_writable, write_packed
from pose3d_jax.data.backgrounds import open_backgrounds
from pose3d_jax.data.sources import interleaved, open_domain
from pose3d_jax.errors import UserError
from pose3d_jax.models.variables import flatten
from pose3d_jax.programs.flags import DATA_DIR
from pose3d_jax.programs.run import expand_path, run_program
from pose3d_jax.training.heads import train_detector, train_lifter

log = logging.getLogger(__name__)

_DETECTOR_STEPS = flags.DEFINE_integer(
    "detector_steps", 2_400, "Iterations of the detector; 0 leaves it as it is.", lower_bound=0
)
_LIFTER_STEPS = flags.DEFINE_integer(
    "lifter_steps", 10_000, "Iterations of the lifter; 0 leaves it as it is.", lower_bound=0
)


def main(argv: Sequence[str]) -> None:
    """The program."""
    if len(argv) != 3:
        raise UserError("Usage: python -m pose3d_jax.train_heads CHECKPOINT OUT_FILE.safetensors")
    checkpoint, path = (expand_path(path, "train_heads") for path in argv[1:])
    check_writable(Path(path))
    trained = load(checkpoint)
    config, variables = trained.config, trained.variables
    if not config.model.get("detector_features") or not config.model.get("lifter_features"):
        raise UserError(
            f"{checkpoint} has no detector and no lifter. Train a preset that has them, such "
            "as `--config configs/stage3.py:open`."
        )
    lab, wild = (open_domain(config.data[part], DATA_DIR.value) for part in ("lab", "wild"))
    if _DETECTOR_STEPS.value:
        records = interleaved([wild.train, wild.train, lab.train])
        others = open_backgrounds(config.data.get("backgrounds"), DATA_DIR.value)
        variables = train_detector(
            trained.graphdef, variables, records, others=others, steps=_DETECTOR_STEPS.value
        )
    if _LIFTER_STEPS.value:
        poses = np.stack([lab.train[i]["joints_3d"] for i in range(len(lab.train))])
        variables = train_lifter(trained.graphdef, variables, poses, steps=_LIFTER_STEPS.value)
    size = write_packed(Path(path), config, flatten(variables))
    log.info("%s: %.1f MB", path, size / 1e6)


if __name__ == "__main__":
    run_program(main)
