"""From records on disk to updated parameters: `python -m benchmarks.end_to_end [--preset tiny]`.

Training as by `pose3d_jax.train`, with augmentation, without logs and checkpoints. Alternating with
it: the step alone on one batch, and the input pipeline alone, from records on disk to host batches,
for several numbers of reading threads. The slower of the two limits the whole.
"""

from benchmarks import measure  # isort: skip  # before JAX

import functools
import itertools
import tempfile
from collections import deque

import jax

from pose3d_jax.data import loader
from pose3d_jax.data.sources import open_domain
from pose3d_jax.models.variables import make_network
from pose3d_jax.stages import get_stage
from tfds_builders.prepare import prepare

#: Records of each domain, where none are prepared; batches take them again and again.
RECORDS = 200


def main() -> None:
    """The program."""
    parser = measure.options(__doc__, preset="synthetic" if measure.on_gpu() else "tiny", rounds=5)
    parser.add_argument("--steps", type=int, default=40, help="iterations a call")
    parser.add_argument("--threads", type=int, nargs="+", default=(1, 4, 16), help="that read")
    parser.add_argument("--data_dir", help="prepared data; by default some records are made")
    chosen = parser.parse_args()
    config = measure.make_config(chosen)
    train = measure.make_trainer(config, *make_network(config), get_stage(config, 3))
    sections = (config.data.lab, config.data.wild)
    with tempfile.TemporaryDirectory() as scratch:
        if not chosen.data_dir:
            for section in sections:
                prepare(section.name, scratch, limit=RECORDS)
        domains = [open_domain(section, chosen.data_dir or scratch) for section in sections]
        open_batches = functools.partial(
            loader.training_batches,
            [domain.train for domain in domains],
            batch_size=config.data.batch_size,
            seed=0,
            start=0,
            image_side=max(domain.image_side for domain in domains),
        )

        batches = open_batches(threads=config.run.reading_threads)
        one = next(batches)
        streams = {
            "records to parameters": map(train, batches),
            "step alone": map(train, itertools.repeat(one)),
        } | {f"reading alone, {n} threads": open_batches(threads=n) for n in chosen.threads}

        def take(stream):
            last = deque(itertools.islice(stream, chosen.steps), maxlen=1)
            jax.block_until_ready(list(last))

        works = {name: functools.partial(take, stream) for name, stream in streams.items()}
        seconds = measure.alternate(works, chosen.rounds, warm_up=1)
    rows = measure.timing_rows(seconds, chosen.steps * config.data.batch_size)
    measure.report("end to end", rows, **measure.setting(config), steps=chosen.steps)


if __name__ == "__main__":
    measure.run(main)
