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
from pose3d_jax.training.state import hyperparameters, split_over_devices


def main() -> None:
    """The program."""
    config = measure.make_config(measure.options(__doc__).parse_args())
    jax.config.update("jax_enable_compilation_cache", False)
    network, records = make_network(config), measure.random_records(config)
    predict = jax.jit(functools.partial(inference.predict, *fold(*network)))
    programs = {}
    for stage in (get_stage(config, number) for number in (1, 3)):
        step, state = measure.make_training(config, *network, stage)
        arguments = state, split_over_devices(records), hyperparameters(stage)
        programs[f"training step, stage {stage.number}"] = step, arguments, jax.device_count()
    programs["prediction"] = predict, (records["image"], records["box"]), 1
    rows = {}
    for name, (program, arguments, devices) in programs.items():
        start = time.perf_counter()
        lowered = program.lower(*arguments)
        traced = time.perf_counter()
        compiled = lowered.compile()
        done = time.perf_counter()
        analysis, images = compiled.cost_analysis(), config.data.batch_size / devices
        rows[name] = {
            "trace, s": traced - start,
            "compile, s": done - traced,
            "GFLOP per image": analysis["flops"] / images / 1e9,
            "MB moved per image": analysis["bytes accessed"] / images / 1e6,
            "temporaries, MB": compiled.memory_analysis().temp_size_in_bytes / 1e6,
        }
    measure.report("compilation", rows, **measure.setting(config))


if __name__ == "__main__":
    measure.run(main)
