"""Speed of a training step: `python -m benchmarks.train_step [--preset tiny] [--baseline none]`.

The step goes from uint8 records on the host to updated parameters: transfer, crop, augmentation,
targets, network, losses, gradients, RMSprop. The PyTorch baseline, alternating with it, gets images
and targets on its device. `--profile DIR` writes a trace of three steps instead, for
TensorBoard or Perfetto (https://docs.jax.dev/en/latest/profiling.html).
"""

from benchmarks import measure  # isort: skip  # before JAX

import functools

import jax

from pose3d_jax.data import examples
from pose3d_jax.models.variables import make_network
from pose3d_jax.stages import get_stage


def main() -> None:
    """The program."""
    parser = measure.options(__doc__)
    parser.add_argument("--stage", type=int, choices=(1, 2, 3), default=3)
    parser.add_argument("--baseline", choices=("none", "eager", "compiled", "both"))
    parser.add_argument("--profile", metavar="DIR", help="write a trace of three steps instead")
    chosen = parser.parse_args()
    config = measure.make_config(chosen)
    stage = get_stage(config, chosen.stage)
    graphdef, variables = make_network(config)
    records = measure.random_records(config)
    train = measure.make_trainer(config, graphdef, variables, stage)
    works = {"this repository": lambda: jax.block_until_ready(train(records))}

    if chosen.profile:
        works["this repository"]()  # Compiles.
        with jax.profiler.trace(chosen.profile, create_perfetto_trace=True):
            for _ in range(3):
                works["this repository"]()
        return
    # On CPUs, compiling takes PyTorch minutes and gives nothing.
    baselines = measure.baseline_settings(
        chosen.baseline, config.precision.compute, compiled=measure.on_gpu()
    )
    for name, settings in baselines.items():
        from benchmarks import torch_baseline

        side, batch_size = config.model.input_side, config.data.batch_size
        make = jax.jit(functools.partial(examples.make_examples, side=side, **config.targets))
        example = make(records, augmentation=examples.no_augmentation(batch_size))
        network = torch_baseline.make_network(graphdef, variables)
        works[name] = torch_baseline.make_train_step(network, example, stage, **settings)
    seconds = measure.alternate(works, chosen.rounds)
    rows = measure.timing_rows(seconds, config.data.batch_size)
    measure.report("training step", rows, **measure.setting(config), stage=stage.number)


if __name__ == "__main__":
    measure.run(main)
