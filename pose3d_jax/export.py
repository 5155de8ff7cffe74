"""One file of a network: `python -m pose3d_jax.export DIR OUT_FILE`.

A name that ends in `.jaxexport` makes a file that predicts without this package (extra `export`): a
StableHLO program with the parameters inside, for CPU, GPU and TPU, which any process that has JAX
and flatbuffers can run:

    program = jax.export.deserialize(open("pose.jaxexport", "rb").read())
    joints_2d, joints_3d, scores = program.call(images, boxes)

`images` are uint8 RGB (n, height, width, 3) of any one size; `boxes` float32 (n, 4), x, y, width
and height in px. The results are those of `Pose`: px of the images, root-relative mm of
the average skeleton, and scores. Where a box is more than twice the network's input in size,
reduce the image first: the program samples bilinearly, and would alias.

A name that ends in `.onnx` makes an ONNX model with the parameters inside (extra `onnx`), for ONNX
Runtime and its like:

    session = onnxruntime.InferenceSession("pose.onnx")
    joints_2d, joints_3d, scores = session.run(None, {"crops": crops})

`crops` are uint8 RGB (n, side, side, 3) of the network's input side, one person each; `joints_2d`
are px of the crop. It computes in float32, whatever the network was trained in.

A name that ends in `.safetensors` packs the network for this package: weights (in half precision),
config and checksum, which every command here takes for a checkpoint. So was made what is in
`pose3d_jax/weights`.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from pose3d_jax.checkpoints.loading import pack
from pose3d_jax.errors import UserError
from pose3d_jax.interop.one_file import export, export_onnx
from pose3d_jax.prediction.predictor import Predictor
from pose3d_jax.programs.run import run_program

log = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> None:
    """Writes the network of a checkpoint as one file."""
    if len(argv) != 3:
        raise UserError("Usage: python -m pose3d_jax.export CHECKPOINT OUT_FILE")
    _, checkpoint, path = argv
    suffix = Path(path).suffix
    if suffix == ".jaxexport":
        size = export(Predictor.from_checkpoint(checkpoint), path)
    elif suffix == ".onnx":
        # Few ONNX runtimes have bfloat16 kernels.
        size = export_onnx(Predictor.from_checkpoint(checkpoint, compute="float32"), path)
    elif suffix == SUFFIX:
        size = pack(checkpoint, path)
    else:
        raise UserError(f"{path} must end in .jaxexport, .onnx or {SUFFIX}: the kind of the file.")
    log.info("%s: %.1f MB", path, size / 1e6)


if __name__ == "__main__":
    run_program(main)
