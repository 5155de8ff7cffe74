"""The authors' PyTorch weights become a checkpoint: `python -m pose3d_jax.convert WEIGHTS.pth OUT`.

The result is what training leaves after stage 3, with a fresh optimizer: every program here accepts
it. Sizes are inferred from the weights. The authors' network expects BGR from 0 to 255/256; ours
gets RGB from 0 to 1, and the difference is folded into the first convolution.
"""

import logging
from collections.abc import Sequence

from pose3d_jax.errors import UserError
from pose3d_jax.interop.release import convert
from pose3d_jax.programs.run import run_program

log = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> None:
    """The program."""
    if len(argv) != 3:
        raise UserError("Usage: python -m pose3d_jax.convert WEIGHTS.pth OUT_DIR")
    convert(argv[1], argv[2])
    log.info("converted; try it with: python -m pose3d_jax.predict --checkpoint %s IMAGE", argv[2])


if __name__ == "__main__":
    run_program(main)
