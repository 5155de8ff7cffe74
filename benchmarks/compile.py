"""Seconds to compile the programs, and their cost by XLA: `python -m benchmarks.compile`.

One row each for the training step of stages 1 and 3 and for prediction, without a compilation
cache. The text of the compiled programs is written by XLA itself:
`XLA_FLAGS=--xla_dump_to=DIR python -m benchmarks.compile`.
"""

from benchmarks import measure  # isort: skip  # before JAX

import functools
import time

import jax

from pose3d_jax.models import inference
from pose3d_jax.models.folding import fold
from pose3d_jax.models.variables import make_network
from pose3d_jax.stages import get_stage
from pose3d_jax.training.state import (
    hyperparameters,
    initial_state,
    make_optimizer,
    split_over_devices,
)
from pose3d_jax.training.steps import make_train_step


def main() -> None:
    """The program."""
    config = measure.make_config(measure.options(__doc__).parse_args())
    jax.config.update("jax_enable_compilation_cache", False)
    graphdef, variables = make_network(config)
    records = measure.random_records(config)
    batch = split_over_devices(records)
    images = config.data.batch_size / jax.device_count()
    rows = {}
    for number in (1, 3):
        stage = get_stage(config, number)
        optimizer = make_optimizer(config, stage)
        state = initial_state(variables, optimizer)
        step = make_train_step(config, graphdef, optimizer, stage)
        arguments = (state, batch, hyperparameters(stage))
        rows[f"training step, stage {number}"] = cost(step, arguments, images)
    predict = jax.jit(functools.partial(inference.predict, *fold(graphdef, variables)))
    rows["prediction"] = cost(predict, (records["image"], records["box"]), len(records["box"]))
    measure.report("compilation", rows, config)


def cost(program, arguments: tuple, images: float) -> dict[str, float]:
    """Compiles a program and returns its costs per device.

    Args:
        program: from `jax.pmap` or `jax.jit`.
        arguments: arrays, or their shapes.
        images: images per device in `arguments`.
    """
    start = time.perf_counter()
    lowered = program.lower(*arguments)
    traced = time.perf_counter()
    compiled = lowered.compile()
    done = time.perf_counter()
    analysis, memory = compiled.cost_analysis(), compiled.memory_analysis()
    return {
        "trace, s": traced - start,
        "compile, s": done - traced,
        "GFLOP per image": analysis["flops"] / images / 1e9,
        "MB moved per image": analysis["bytes accessed"] / images / 1e6,
        "temporaries, MB": memory.temp_size_in_bytes / 1e6,
    }


if __name__ == "__main__":
    measure.run(main)
