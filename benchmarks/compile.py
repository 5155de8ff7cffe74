"""How long the programs take to compile, and what they compute: `python -m benchmarks.compile`.

For the training step and for prediction: seconds to trace and to compile, without a cache, and by
the compiled program's own account its operations, the bytes that it reads and writes, and its
temporary memory. With `--topology v5e:2x2` for TPUs that need not be there; then at several batch
sizes per chip, with its collectives, what writes most, and what a chip could do at best.
"""

from benchmarks import measure  # isort: skip  # before JAX

import functools
import time
from collections.abc import Callable, Sequence

import jax
import ml_collections

from benchmarks import hlo
from benchmarks.topology import PEAKS, roofline, tpu_chips
from pose3d_jax.models.variables import Network, make_network
from pose3d_jax.stages import get_stage
from pose3d_jax.training.state import (
    Hyperparameters,
    hyperparameters,
    initial_state,
    make_optimizer,
    split_over_devices,
)
from pose3d_jax.training.steps import augmented_examples, make_predict_step, make_train_step

#: Images per chip where `--topology` is given and `--batch_size` is not.
BATCH_SIZES = (6, 64, 256)
#: Rows of a table of writes.
LARGEST = 8


def main() -> None:
    """The program."""
    parser = measure.options(__doc__)
    parser.add_argument("--topology", help="TPUs to compile for, such as v5e:2x2")
    parser.add_argument("--stacks", type=int, help="hourglasses, to compile sooner")
    parser.add_argument("--modules", type=int, help="residuals per place, likewise")
    chosen = parser.parse_args()
    config = measure.make_config(chosen)
    config.model.stacks = chosen.stacks or config.model.stacks
    config.model.modules = chosen.modules or config.model.modules
    jax.config.update("jax_enable_compilation_cache", False)
    if chosen.topology is None:
        here(config)
        return
    config.precision.compute = chosen.precision or "bfloat16"
    sizes = [chosen.batch_size] if chosen.batch_size else BATCH_SIZES
    elsewhere(config, chosen.topology, sizes)


def here(config: ml_collections.ConfigDict) -> None:
    """Compiles for this machine's devices."""
    network = make_network(config)
    state = initial_state(network, make_optimizer(config))
    batch = split_over_devices(measure.random_records(config))
    own = config.data.batch_size / jax.device_count()
    rows = {}
    for number in (1, 3):
        step, hyper = training_step(config, network, number)
        rows[f"training step, stage {number}"], _ = describe(step, (state, batch, hyper), own)
    predict = make_predict_step(network, config.model.input_side)
    rows["prediction"], _ = describe(predict, (state, batch), own)
    measure.report("compilation", rows, config)


def elsewhere(config: ml_collections.ConfigDict, topology: str, sizes: Sequence[int]) -> None:
    """Compiles for chips of a topology; `sizes` are images per chip."""
    chips = tpu_chips(topology)
    network = make_network(config)
    state = jax.eval_shape(lambda: initial_state(network, make_optimizer(config)))
    step, hyper = training_step(config, network, 3, chips)
    predict = make_predict_step(network, config.model.input_side, devices=chips)
    examples = jax.pmap(functools.partial(augmented_examples, config), devices=chips)
    rows, largest = {}, {}
    for size in sizes:
        config.data.batch_size = size * len(chips)
        batch = {
            name: jax.ShapeDtypeStruct((len(chips), size, *records.shape[1:]), records.dtype)
            for name, records in measure.random_records(config).items()
        }
        keys = jax.eval_shape(
            lambda size=size: jax.random.split(jax.random.key(0), (len(chips), size))
        )
        for name, program, arguments in (
            (f"training step, {size} a chip", step, (state, batch, hyper)),
            (f"its crops and targets alone, {size} a chip", examples, (batch, keys)),
            (f"prediction, {size} a chip", predict, (state, batch)),
        ):
            rows[name], text = describe(program, arguments, size)
            if not text:
                continue
            written = hlo.writes(text)
            rows[name]["MB written per image"] = sum(w.size for w in written) / size / 1e6
            rows[name] |= at_best(rows[name], topology) | collectives_in_words(text)
            largest |= {
                f"{name}: {write.operation}, {write.part}, {write.type}": {
                    "MB written per image": write.size / size / 1e6,
                }
                for write in written[:LARGEST]
            }
    measure.report(f"compilation for {topology}", rows, config)
    measure.report("largest writes", largest, config)


def training_step(
    config: ml_collections.ConfigDict,
    network: Network,
    number: int,
    devices: Sequence[jax.Device] | None = None,
) -> tuple[Callable, Hyperparameters]:
    """A stage's step, and the hyperparameters that it starts with."""
    stage = get_stage(config, number)
    step = make_train_step(config, network, make_optimizer(config), stage, devices=devices)
    return step, hyperparameters(stage, 0)


def describe(program, arguments: tuple, images: float) -> tuple[dict[str, float | str], str]:
    """Compiles a program for these arguments: its costs per device, and its text.

    The text is empty where the device has too little memory.

    Args:
        program: from `pmap`.
        arguments: arrays, or their shapes.
        images: per device.
    """
    start = time.perf_counter()
    lowered = program.lower(*arguments)
    traced = time.perf_counter()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return {"trace, s": traced - start, "compile, s": "does not fit into memory"}, ""
    done = time.perf_counter()
    cost = compiled.cost_analysis()
    memory = compiled.memory_analysis()
    row = {
        "trace, s": traced - start,
        "compile, s": done - traced,
        "GFLOP per image": cost["flops"] / images / 1e9,
        "MB moved per image": cost["bytes accessed"] / images / 1e6,
        "temporaries, MB": memory.temp_size_in_bytes / 1e6,
        "peak, MB": memory.peak_memory_in_bytes / 1e6,
    }
    return row, compiled.as_text()


def at_best(row: dict[str, float], topology: str) -> dict[str, float]:
    """The roofline's estimate for a chip, where its peaks are known."""
    peak = PEAKS.get(topology.partition(":")[0])
    if peak is None:
        return {}
    operations, moved = 1e9 * row["GFLOP per image"], 1e6 * row["MB moved per image"]
    return {"estimate by peaks, images/s a chip": roofline(peak, operations, moved)}


def collectives_in_words(text: str) -> dict[str, str]:
    """A cell that names the collectives."""
    counts = hlo.collectives(text)
    return {"collectives": ", ".join(f"{n} {kind}" for kind, n in counts.items()) or "none"}


if __name__ == "__main__":
    measure.run(main)
