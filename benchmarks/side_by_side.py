"""What else runs these networks: `python -m benchmarks.side_by_side [NETWORK] [--people 1 64]`.

The same people, each in turn. To joints: `Predictor`, our StableHLO export, and our ONNX export in
ONNX Runtime. To heat-maps and depths, the network alone: ours as it predicts (`models.folding`) and
as it is trained, and one in PyTorch, eager and compiled. All must agree before any is timed. People
are crops of the network's input side, uint8, so that there are no photos to reduce; the networks
alone get them on their device, ready.

NETWORK is a checkpoint, or a preset, whose weights are random. What is not installed is left out,
with a word: ONNX Runtime (extra `onnx`) and PyTorch (extra `benchmark`).
"""

from benchmarks import measure  # isort: skip  # before JAX

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from jaxtyping import UInt8

from pose3d_jax import presets
from pose3d_jax.checkpoints import loading
from pose3d_jax.errors import UserError
from pose3d_jax.interop.one_file import export, export_onnx
from pose3d_jax.models.precision import compiler_options
from pose3d_jax.models.variables import make_network
from pose3d_jax.prediction.predictor import Predictor
from pose3d_jax.skeleton import HUMAN36M_BONE_LENGTH_SUM

#: Largest differences of joints in px of the crop and in mm, and of scores.
TOLERANCES = {"joints, px": 0.01, "joints, mm": 0.5, "scores": 1e-3}
#: Largest difference between two networks' outputs, relative to the largest output.
NETWORK_TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1}
#: Seconds before each call: threads of the call before wait in a loop for a while, on our cores.
REST = 0.05

#: Calls by what makes them, the first ours.
Works = dict[str, Callable[[], object]]


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", nargs="?", default=loading.DEFAULT, metavar="NETWORK")
    parser.add_argument("--people", type=int, nargs="+", default=[1, 64], help="in a call")
    parser.add_argument("--rounds", type=int, default=20, help="calls of each kind, in turn")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--baseline", choices=("none", "eager", "compiled", "both"))
    options = parser.parse_args()
    for module, extra in {"onnxruntime": "onnx", "jax2onnx": "onnx", "torch": "benchmark"}.items():
        if not measure.has(module):
            print(f"Left out for want of {module}: pip install 'pose3d_jax[{extra}]'.")
    trained = open_network(options.network, options.precision)
    side = trained.config.model.input_side
    predictor = Predictor(
        trained.graphdef,
        trained.variables,
        input_side=side,
        bone_length_sum=trained.config.data.bone_length_sum or HUMAN36M_BONE_LENGTH_SUM,
        batch_size=max(options.people),
    )
    # Exports compute in float32.
    programs = exported(predictor) if options.precision == "float32" else {}
    rows = {}
    for count in options.people:
        crops = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)
        people = "1 person" if count == 1 else f"{count} people"
        groups = (
            to_joints(predictor, programs, crops),
            to_maps(predictor, trained, crops, options.baseline),
        )
        seconds = measure.alternate(groups[0] | groups[1], options.rounds, rest=REST)
        for group in groups:
            timings = measure.timing_rows({work: seconds[work] for work in group}, count)
            for work, timing in timings.items():
                row = rows.setdefault(work, {})
                row[f"{people}: ms"] = timing["median, ms"]
                row[f"{people}: people/s"] = timing["images/s"]
                row[f"{people}: time / ours"] = timing["time / ours"]
    facts = measure.setting(trained.config) | {"network": options.network, "rounds": options.rounds}
    measure.report("side by side", rows, **facts | {"batch_size": max(options.people)})


def open_network(name: str, precision: str) -> loading.TrainedNetwork:
    """A checkpoint's network, or a preset's with random weights."""
    if name not in presets.PRESETS or name in loading.bundled_names():
        return loading.load(name, compute=precision)
    config = presets.experiment(3, name)
    config.precision.compute = precision
    config.model.zero_init_outputs = False  # Zeros always agree.
    return loading.TrainedNetwork(config, *make_network(config, axis_name=None), with_depth=True)


def exported(predictor: Predictor) -> dict[str, Callable[[UInt8[np.ndarray, "n s s 3"]], list]]:
    """Our exports, read from their files: from crops to joints in px and mm, and scores."""
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
    """Calls from crops to heat-maps and depths, ours and PyTorch's, which agree.

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

        theirs = torch_baseline.make_network(trained.graphdef, trained.variables)
        run = works[f"network alone, {name}"] = torch_baseline.make_forward(
            theirs, images, **settings
        )
        for what, mine, other in zip(("heat-maps", "depths"), (heatmaps[-1], depth), run()):
            mine, other = np.asarray(mine), other.float().cpu().numpy()
            error = np.abs(mine - other).max() / np.abs(other).max()
            if not error < NETWORK_TOLERANCE[precision]:
                raise UserError(
                    f"The {what} differ by {error:.2g} of their largest from PyTorch's."
                )
    return works


if __name__ == "__main__":
    measure.run(main)
