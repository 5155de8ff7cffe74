"""Converts the authors' PyTorch weights: `python -m pose3d_jax.convert WEIGHTS.pth OUT_DIR`.

The result is a stage directory as after stage 3, with a new optimizer; all commands accept it. The
sizes of the network are inferred from the weights. The authors' network takes BGR from 0 to
255/256, this one RGB from 0 to 1; the first convolution's kernel is converted accordingly.
"""

import logging
from collections.abc import Sequence

from pose3d_jax.errors import UserError
from pose3d_jax.interop.release import convert
from pose3d_jax.programs.run import expand_path, run_program

log = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> None:
    """Converts a file to a stage directory."""
    if len(argv) != 3:
        raise UserError("Usage: python -m pose3d_jax.convert WEIGHTS.pth OUT_DIR")
    convert(*(expand_path(path, "convert") for path in argv[1:]))
    log.info("converted; try it with: python -m pose3d_jax.predict --checkpoint %s IMAGE", argv[2])


if __name__ == "__main__":
    run_program(main)
