"""How fast a training step is: `python -m benchmarks.train_step [--preset tiny] [--baseline none]`.

Ours goes from uint8 records on the host to updated parameters: transfer, crop, augmentation,
targets, network, losses, gradients, RMSprop. The PyTorch baseline, in turn with it, gets ready
images and targets on its device. `--profile DIR` writes a trace of three steps instead, for
TensorBoard or Perfetto (https://docs.jax.dev/en/latest/profiling.html).
"""

from benchmarks import measure  # isort: skip  # before JAX

import functools

import jax

from pose3d_jax.data import examples
from pose3d_jax.models.variables import make_network
from pose3d_jax.stages import get_stage
from pose3d_jax.training.state import hyperparameters, split_over_devices


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

    if chosen.profile:
        work = our_step(config, graphdef, variables, stage, records)
        work()  # Compiles.
        with jax.profiler.trace(chosen.profile, create_perfetto_trace=True):
            for _ in range(3):
                work()
        return
    works = {"this repository": our_step(config, graphdef, variables, stage, records)}
    # On CPUs, compiling takes PyTorch minutes and gives nothing.
    baseline = default_baseline(chosen.baseline, compiled=measure.on_gpu())
    for name, settings in measure.baseline_settings(baseline, config.precision.compute):
        works[name] = baseline_step(config, variables, stage, records, settings)
    seconds = measure.alternate(works, chosen.rounds)
    rows = measure.timing_rows(seconds, config.data.batch_size)
    measure.report("training step", rows, config, stage=stage.number)


def default_baseline(choice: str | None, *, compiled: bool) -> str:
    """What to compare with, where the command line does not say.

    Args:
        choice: the command line's.
        compiled: compare with the compiled baseline as well.
    """
    if choice is not None:
        return choice
    if not measure.has("torch"):
        return "none"
    return "both" if compiled else "eager"


def our_step(config, graphdef, variables, stage, records):
    """A call that trains on `records` from the state of the call before, and waits."""
    step, state = measure.make_training(config, graphdef, variables, stage)
    batch, hyper = split_over_devices(records), hyperparameters(stage)

    def work():
        nonlocal state
        state, metrics = step(state, batch, hyper)
        return jax.block_until_ready(metrics)

    return work


def baseline_step(config, variables, stage, records, settings):
    """The same in PyTorch, from our parameters and our examples."""
    from benchmarks import torch_baseline, torch_network

    make = jax.jit(
        functools.partial(examples.make_examples, side=config.model.input_side, **config.targets)
    )
    example = make(records, augmentation=examples.no_augmentation(config.data.batch_size))
    theirs = torch_network.make_network(variables, config.model)
    return torch_baseline.make_train_step(theirs, example, stage, settings)


if __name__ == "__main__":
    measure.run(main)
