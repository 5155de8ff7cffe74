"""Speed of prediction: `python -m benchmarks.side_by_side [NETWORK] [--people 1 64]`.

The same people, alternating. To joints: `Predictor`, the StableHLO export, and the ONNX export in
ONNX Runtime. To heat-maps and depths, the network alone: as it predicts (`models.folding`), as it
is trained, and in PyTorch, eager and compiled. All must agree before any is timed. People are crops
of the network's input side, uint8, so that nothing is reduced; the networks alone get them on their
device. Two more rows have people in photos of one megapixel: a call of `Predictor`, and cropping
alone.

NETWORK is a checkpoint, or a preset, whose weights are random. ONNX Runtime (extra `onnx`) and
PyTorch (extra `benchmark`) are left out, with a message, where they are not installed.
"""

from benchmarks import measure  # isort: skip  # before JAX

import argparse
import functools
import operator
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from jaxtyping import UInt8

from pose3d_jax.checkpoints import loading
from pose3d_jax.errors import UserError
from pose3d_jax.interop.one_file import export, export_onnx
from pose3d_jax.models.precision import compiler_options
from pose3d_jax.prediction.predictor import Predictor

#: Largest differences of joints in px of the crop and in mm, and of scores.
TOLERANCES = {"joints, px": 0.01, "joints, mm": 0.5, "scores": 1e-3}
#: Largest difference between two networks' outputs, relative to the largest output.
NETWORK_TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1}
#: Seconds before each call: threads of the call before wait in a busy loop for a while.
REST = 0.05
#: A photo, and in it x, y, width and height of a large person, who is reduced by 7 for 128 px.
PHOTO, BOX = (1000, 1000, 3), (100.0, 50.0, 700.0, 900.0)

#: Calls by name, this package's first.
Works = dict[str, Callable[[], object]]


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", nargs="?", default=loading.DEFAULT, metavar="NETWORK")
    parser.add_argument("--people", type=int, nargs="+", default=[1, 64], help="in a call")
    parser.add_argument("--rounds", type=int, default=20, help="calls of each kind, in turn")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--baseline", choices=("none", "eager", "compiled", "both"))
    parser.add_argument("--batch_size", type=int, help="by default the most people")
    options = parser.parse_args()
    for module, extra in {"onnxruntime": "onnx", "jax2onnx": "onnx", "torch": "benchmark"}.items():
        if not measure.has(module):
            print(f"{module} is not installed: pip install 'pose3d_jax[{extra}]'.")
    batch_size = options.batch_size or max(options.people)
    trained, predictor = measure.open_predictor(options.network, options.precision, batch_size)
    side = predictor.input_side
    # Exports compute in float32.
    programs = exported(predictor) if options.precision == "float32" else {}
    rows = {}
    for count in options.people:
        crops = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)
        people = "1 person" if count == 1 else f"{count} people"
        groups = (
            to_joints(predictor, programs, crops),
            to_maps(predictor, trained, crops, options.baseline),
            from_photos(predictor, count),
        )
        works = functools.reduce(operator.or_, groups)
        seconds = measure.alternate(works, options.rounds, rest=REST)
        for group in groups:
            timings = measure.timing_rows({work: seconds[work] for work in group}, count)
            for work, timing in timings.items():
                row = rows.setdefault(work, {})
                row[f"{people}: ms"] = timing["median, ms"]
                row[f"{people}: people/s"] = timing["images/s"]
                row[f"{people}: time / ours"] = timing["time / ours"]
    facts = measure.setting(trained.config) | {"network": options.network, "rounds": options.rounds}
    measure.report("side by side", rows, **facts | {"batch_size": batch_size})


def exported(predictor: Predictor) -> dict[str, Callable[[UInt8[np.ndarray, "n s s 3"]], list]]:
    """The exports, read from their files: from crops to joints in px and mm, and scores."""
    programs = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pose.jaxexport")
        export(predictor, path)
        stablehlo = jax.export.deserialize(path.read_bytes())

        def call(crops):
            boxes = np.tile(np.float32([0, 0, predictor.input_side, predictor.input_side]),
                            (len(crops), 1))  # fmt: skip
            return [np.asarray(output) for output in stablehlo.call(crops, boxes)]

        programs["StableHLO"] = call
        if measure.has("onnxruntime") and measure.has("jax2onnx"):
            import onnxruntime

            path = Path(folder, "pose.onnx")
            export_onnx(predictor, path)
            session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            name = f"ONNX in ONNX Runtime {onnxruntime.__version__}"
            programs[name] = lambda crops: session.run(None, {"crops": crops})
    return programs


def to_joints(predictor: Predictor, programs: dict, crops: UInt8[np.ndarray, "n s s 3"]) -> Works:
    """Calls from crops to joints, which agree.

    Raises:
        UserError: they differ by more than rounding.
    """
    ours = predictor(crops)
    # A crop is an image to the predictor, whose joints are px of the image.
    expected = dict(zip(TOLERANCES, (ours.joints_2d, ours.joints_3d, ours.confidence)))
    works = {"`Predictor`": lambda: predictor(crops)}
    for name, program in programs.items():
        for (what, mine), other in zip(expected.items(), program(crops)):
            # Where two peaks are as high as one another, rounding decides: not every joint counts.
            error = np.quantile(np.abs(mine - other), 0.98)
            if not error < TOLERANCES[what]:
                raise UserError(f"{name}: {what} differ by {error:.2g} from the predictor's.")
        works[name] = lambda program=program: program(crops)
    return works


def to_maps(
    predictor: Predictor,
    trained: loading.TrainedNetwork,
    crops: UInt8[np.ndarray, "n s s 3"],
    baseline: str | None,
) -> Works:
    """Calls from crops to heat-maps and depths, JAX's and PyTorch's, which agree.

    Raises:
        UserError: they differ by more than rounding.
    """
    precision = trained.config.precision.compute
    images = crops.astype(np.float32) / 255
    on_device, variables = jax.device_put((images, trained.variables))

    def apply(variables, images):
        model = nnx.merge(trained.graphdef, *variables)
        model.eval()
        return model(images)

    as_trained = jax.jit(apply, compiler_options=compiler_options(precision))
    works = {
        "network alone": lambda: jax.block_until_ready(predictor.model(on_device)),
        "network alone, not folded": lambda: jax.block_until_ready(
            as_trained(variables, on_device)
        ),
    }
    heatmaps, depth = works["network alone"]()
    baselines = measure.baseline_settings(baseline, precision, compiled=True)
    for name, settings in baselines.items():
        from benchmarks import torch_baseline

        network = torch_baseline.make_network(trained.graphdef, trained.variables)
        run = works[f"network alone, {name}"] = torch_baseline.make_forward(
            network, images, **settings
        )
        for what, mine, other in zip(("heat-maps", "depths"), (heatmaps[-1], depth), run()):
            mine, other = np.asarray(mine), other.float().cpu().numpy()
            error = np.abs(mine - other).max() / np.abs(other).max()
            if not error < NETWORK_TOLERANCE[precision]:
                raise UserError(
                    f"The {what} differ by {error:.2g} of their largest from PyTorch's."
                )
    return works


def from_photos(predictor: Predictor, people: int) -> Works:
    """Calls on several people of a photo of one megapixel."""
    photo = np.random.default_rng(0).integers(0, 256, PHOTO, np.uint8)
    boxes, index = np.tile([BOX], (people, 1)), np.zeros(people, np.int32)
    squares = predictor.squares(photo, boxes)
    return {
        "`Predictor`, photos": lambda: predictor(photo, boxes),
        "cropping alone, photos": lambda: predictor.network.crop([photo], index, squares),
    }


if __name__ == "__main__":
    measure.run(main)
