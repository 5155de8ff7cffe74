"""What else runs these networks: `python -m benchmarks.side_by_side [--checkpoint open]`.

The same people, each in turn. To joints: `Predictor`, our StableHLO export, and our ONNX export in
ONNX Runtime. To heat-maps and depths, the network alone: ours, and one in PyTorch, eager and
compiled. All must agree before any is timed. People are crops of the network's input side, uint8,
so that there are no photos to reduce; the networks alone get them on their device, ready.

Printed are the milliseconds of a call with one person, and the people per second of a call with
many. The paper's network, with random weights, follows with one person. What is not installed is
left out, with a word: ONNX Runtime (extra `onnx`) and PyTorch (extra `benchmark`).
"""

from benchmarks import measure  # isort: skip  # before JAX

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
from jaxtyping import UInt8

from benchmarks import forward
from pose3d_jax import presets
from pose3d_jax.checkpoints import loading
from pose3d_jax.errors import UserError
from pose3d_jax.interop.one_file import export, export_onnx
from pose3d_jax.models.variables import make_network
from pose3d_jax.prediction.predictor import Predictor
from pose3d_jax.skeleton import HUMAN36M_BONE_LENGTH_SUM

#: Largest differences of joints in px of the crop and in mm, and of scores.
TOLERANCES = {"joints, px": 0.01, "joints, mm": 0.5, "scores": 1e-3}
#: Seconds before each call: threads of the call before wait in a loop for a while, on our cores.
REST = 0.05

#: Calls by what makes them, the first ours.
Works = dict[str, Callable[[], object]]


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default=loading.DEFAULT, help="a name, file or directory")
    parser.add_argument("--people", type=int, default=64, help="in a call with many")
    parser.add_argument("--rounds", type=int, default=20, help="calls of each kind, in turn")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--paper", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    if options.people < 2 or options.rounds < 1:
        raise UserError("--people must be at least 2, and --rounds at least 1.")
    left_out = {"onnxruntime": "onnx", "jax2onnx": "onnx", "torch": "benchmark"}
    for module, extra in left_out.items():
        if not measure.has(module):
            print(f"Left out for want of {module}: pip install 'pose3d_jax[{extra}]'.")

    precision = options.precision
    chosen = loading.load(options.checkpoint, compute=precision)
    rows = measure_network(options.checkpoint, chosen, (1, options.people), options.rounds)
    if options.paper:
        config = presets.experiment(3, "paper")
        config.precision.compute = precision
        paper = loading.TrainedNetwork(
            config, *make_network(config, axis_name=None), with_depth=True
        )
        rows |= measure_network("paper", paper, (1,), options.rounds)
    machine = measure.machine()
    print(f"\nside by side, {precision}\non {machine}\n")
    measure.print_table(rows)
    result = {"benchmark": "side by side", "machine": machine, "rounds": options.rounds}
    result["precision"] = precision
    print("\n" + json.dumps(result | {"rows": rows}, ensure_ascii=False), flush=True)


def measure_network(
    name: str, chosen: loading.TrainedNetwork, counts: Sequence[int], rounds: int
) -> dict[str, dict[str, float]]:
    """A table's rows: all that runs a network, at some numbers of people per call."""
    side = chosen.config.model.input_side
    predictor = Predictor(
        chosen.graphdef,
        chosen.variables,
        input_side=side,
        bone_length_sum=chosen.config.data.bone_length_sum or HUMAN36M_BONE_LENGTH_SUM,
        batch_size=max(counts),
    )
    precision = chosen.config.precision.compute
    programs = exported(predictor) if precision == "float32" else {}  # The form of exports.
    rows = {}
    for count in counts:
        crops = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)
        people = "1 person" if count == 1 else f"{count} people"
        groups = to_joints(predictor, programs, crops), to_maps(predictor, chosen, crops)
        seconds = measure.alternate(groups[0] | groups[1], rounds, rest=REST)
        for group in groups:
            timings = measure.timing_rows({work: seconds[work] for work in group}, count)
            for work, timing in timings.items():
                row = rows.setdefault(f"`{name}`: {work}", {})
                row[f"{people}: ms"] = timing["median, ms"]
                row[f"{people}: people/s"] = timing["images/s"]
                row[f"{people}: time / ours"] = timing["time / ours"]
    return rows


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
    predictor: Predictor, chosen: loading.TrainedNetwork, crops: UInt8[np.ndarray, "n s s 3"]
) -> Works:
    """Calls from crops to heat-maps and depths, ours and PyTorch's, which agree.

    Raises:
        UserError: they differ by more than rounding.
    """
    images = crops.astype(np.float32) / 255
    on_device = jax.device_put(images)
    ours = "network alone"
    works = {ours: lambda: jax.block_until_ready(predictor.model(on_device))}
    for name, settings in measure.baseline_settings(
        "both" if measure.has("torch") else "none", chosen.config.precision.compute
    ):
        from benchmarks import torch_baseline, torch_network

        theirs = torch_network.make_network(chosen.variables, chosen.config.model)
        works[f"{ours}, {name}"] = torch_baseline.make_forward(theirs, images, settings)
        forward.check(works[ours](), works[f"{ours}, {name}"](), chosen.config.precision.compute)
    return works


if __name__ == "__main__":
    measure.run(main)
