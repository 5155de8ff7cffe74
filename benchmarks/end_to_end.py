"""From records on disk to updated parameters: `python -m benchmarks.end_to_end [--preset tiny]`.

Training as `pose3d_jax.train` does it, augmentation on, without logs and checkpoints; beside it,
in turn, the input pipeline alone and the step alone on one batch. The slower of the two bounds
the whole.
"""

from benchmarks import measure  # isort: skip  # before JAX

import itertools
import tempfile

import jax

from benchmarks.input_pipeline import make_records, open_domains, take, training_batches
from pose3d_jax.models.variables import make_network
from pose3d_jax.stages import get_stage
from pose3d_jax.training.state import hyperparameters, split_over_devices


def main() -> None:
    """The program."""
    parser = measure.options(__doc__, preset="synthetic" if measure.on_gpu() else "tiny", rounds=5)
    parser.add_argument("--steps", type=int, default=40, help="iterations a call")
    parser.add_argument("--data_dir", help="prepared data; by default some records are made")
    chosen = parser.parse_args()
    config = measure.make_config(chosen)
    stage = get_stage(config, 3)
    step, state = measure.make_training(config, *make_network(config), stage)

    def train(batches) -> None:
        nonlocal state
        hyper = hyperparameters(stage)
        for batch in itertools.islice(batches, chosen.steps):
            state, metrics = step(state, split_over_devices(batch), hyper)
        jax.block_until_ready(metrics)

    with tempfile.TemporaryDirectory() as scratch:
        domains = open_domains(config, chosen.data_dir or make_records(config, scratch))
        alone, read = training_batches(config, domains), training_batches(config, domains)
        one = next(alone)
        works = {
            "records to parameters": lambda: train(read),
            "input pipeline alone": lambda: take(alone, chosen.steps),
            "step alone": lambda: train(itertools.repeat(one)),
        }
        seconds = measure.alternate(works, chosen.rounds, warm_up=1)
    rows = measure.timing_rows(seconds, chosen.steps * config.data.batch_size)
    measure.report(f"end to end, {chosen.steps} steps a call", rows, config, stage=3)


if __name__ == "__main__":
    measure.run(main)
