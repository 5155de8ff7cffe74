"""How long the programs take to compile, and what they compute: `python -m benchmarks.compile`.

For the training step and for prediction: seconds to trace and to compile, without a cache, and by
the compiled program's own account its operations, the bytes that it reads and writes, and its
temporary memory.
"""

from benchmarks import measure  # isort: skip  # before JAX

import time

import jax

from pose3d_jax.models.variables import make_network
from pose3d_jax.stages import get_stage
from pose3d_jax.training.state import (
    hyperparameters,
    initial_state,
    make_optimizer,
    split_over_devices,
)
from pose3d_jax.training.steps import make_predict_step, make_train_step


def main() -> None:
    """The program."""
    chosen = measure.options(__doc__).parse_args()
    config = measure.make_config(chosen)
    jax.config.update("jax_enable_compilation_cache", False)
    network = make_network(config)
    optimizer = make_optimizer(config)
    state = initial_state(network, optimizer)
    batch = split_over_devices(measure.random_records(config))
    rows = {}
    for number in (1, 3):
        stage = get_stage(config, number)
        step = make_train_step(config, network, optimizer, stage)
        hyper = hyperparameters(stage, 0)
        rows[f"training step, stage {number}"] = describe(
            step, (state, batch, hyper), config.data.batch_size
        )
    predict = make_predict_step(network, config.model.input_side)
    rows["prediction"] = describe(predict, (state, batch), config.data.batch_size)
    measure.report("compilation", rows, config)


def describe(program, arguments, images: int) -> dict[str, float]:
    """Compiles a program for these arguments; its costs are per device."""
    start = time.perf_counter()
    lowered = program.lower(*arguments)
    traced = time.perf_counter()
    compiled = lowered.compile()
    done = time.perf_counter()
    cost = compiled.cost_analysis()
    own = images / jax.device_count()
    return {
        "trace, s": traced - start,
        "compile, s": done - traced,
        "GFLOP per image": cost["flops"] / own / 1e9,
        "MB moved per image": cost["bytes accessed"] / own / 1e6,
        "temporaries, MB": compiled.memory_analysis().temp_size_in_bytes / 1e6,
    }


if __name__ == "__main__":
    measure.run(main)
