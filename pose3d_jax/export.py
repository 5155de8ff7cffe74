"""Exports a network: `python -m pose3d_jax.export CHECKPOINT OUT_FILE`, or `… --web OUT_DIR`.

The file's ending selects the format.

`.jaxexport` (extra `export`) is a StableHLO program for CPU, GPU and TPU that contains the
parameters. A process needs only JAX and flatbuffers to run it:

    program = jax.export.deserialize(open("pose.jaxexport", "rb").read())
    joints_2d, joints_3d, scores = program.call(images, boxes)

`images` are uint8 RGB (n, height, width, 3) of one size; `boxes` are float32 (n, 4): x, y, width
and height in px. The results are those of `Pose`: px of the images, root-relative mm of the average
skeleton, and confidences. The program samples bilinearly: reduce images whose boxes are more than
twice as large as the network's input.

`.onnx` (extra `onnx`) is an ONNX model that contains the parameters:

    session = onnxruntime.InferenceSession("pose.onnx")
    joints_2d, joints_3d, scores = session.run(None, {"crops": crops})

`crops` are uint8 RGB (n, side, side, 3) of the network's input side, one person each; `joints_2d`
are px of the crop. The model computes in float32.

`--web OUT_DIR` writes a static page that runs the ONNX model in a browser (extra `onnx`, and npm,
which fetches ONNX Runtime Web): `python -m http.server --directory OUT_DIR`.

`.safetensors` is a checkpoint of this package: weights in half precision, config and checksum.
`pose3d_jax/weights` was made this way.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from pose3d_jax import web
from pose3d_jax.checkpoints import load
from pose3d_jax.checkpoints.packed import SUFFIX, write_packed
from pose3d_jax.errors import UserError
from pose3d_jax.interop.one_file import export, export_onnx
from pose3d_jax.models.variables import flatten
from pose3d_jax.prediction.predictor import Predictor
from pose3d_jax.programs.flags import define_path
from pose3d_jax.programs.run import expand_path, run_program

log = logging.getLogger(__name__)

_WEB = define_path(
    "web", None, "A directory that receives a web page which runs the network in the browser."
)


def main(argv: Sequence[str]) -> None:
    """Writes the network of a checkpoint as one file, or a page that runs it."""
    if len(argv) != (2 if _WEB.value else 3):
        raise UserError(
            "Usage: python -m pose3d_jax.export CHECKPOINT OUT_FILE, or CHECKPOINT --web OUT_DIR"
        )
    if _WEB.value:
        write_site(expand_path(argv[1], "CHECKPOINT"), Path(_WEB.value))
        return
    checkpoint, path = (expand_path(path, "export") for path in argv[1:])
    suffix = Path(path).suffix
    if suffix == ".jaxexport":
        size = export(Predictor.from_checkpoint(checkpoint, compute=None), path)
    elif suffix == ".onnx":
        # Few ONNX runtimes have bfloat16 kernels.
        size = export_onnx(Predictor.from_checkpoint(checkpoint, compute="float32"), path)
    elif suffix == SUFFIX:
        trained = load(checkpoint)
        size = write_packed(path, trained.config, flatten(trained.variables))
    else:
        raise UserError(f"{path} must end in .jaxexport, .onnx or {SUFFIX}: the kind of the file.")
    log.info("%s: %.1f MB", path, size / 1e6)


def write_site(checkpoint: str, directory: Path) -> None:
    """Writes the web page with its network and runtime (`pose3d_jax.web`)."""
    directory.mkdir(parents=True, exist_ok=True)
    predictor = Predictor.from_checkpoint(checkpoint, compute="float32")
    export_onnx(predictor, directory / web.NETWORK_FILE)
    web.write_page(directory, input_side=predictor.input_side)
    log.info("%s; try it with: python -m http.server --directory %s", directory, directory)


if __name__ == "__main__":
    run_program(main)
