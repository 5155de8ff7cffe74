"""How fast batches are read and decoded: `python -m benchmarks.input_pipeline [--preset tiny]`.

Records of the built-in synthetic benchmark on disk to host batches, with nothing else running, for
several numbers of reading threads. Training needs its step's images per second, and some to spare.
"""

from benchmarks import measure  # isort: skip  # before JAX

import tempfile
import time
from collections.abc import Iterator

import ml_collections

from pose3d_jax.data import loader
from pose3d_jax.data.sources import Domain, open_domain
from tfds_builders.prepare import prepare

#: Records of each domain, where none are prepared; batches take them again and again.
RECORDS = 200


def main() -> None:
    """The program."""
    parser = measure.options(__doc__, preset="synthetic" if measure.on_gpu() else "tiny", rounds=5)
    parser.add_argument("--threads", type=int, nargs="+", default=(1, 2, 4, 8, 16))
    parser.add_argument("--data_dir", help="prepared data; by default some records are made")
    chosen = parser.parse_args()
    config = measure.make_config(chosen)
    with tempfile.TemporaryDirectory() as scratch:
        domains = open_domains(config, chosen.data_dir or make_records(config, scratch))
        count = max(4, 512 // config.data.batch_size)
        works = {}
        for threads in chosen.threads:
            batches = training_batches(config, domains, threads)
            works[f"{threads} threads"] = lambda batches=batches: take(batches, count)
        seconds = measure.alternate(works, chosen.rounds, warm_up=1)
        rows = measure.timing_rows(seconds, count * config.data.batch_size)
    for row in rows.values():
        row.pop("time / ours")
    measure.report(f"input pipeline, {count} batches a call", rows, config)


def make_records(config: ml_collections.ConfigDict, directory: str) -> str:
    """Renders some records of the config's data sets."""
    for section in (config.data.lab, config.data.wild):
        prepare(section.name, directory, limit=RECORDS)
    return directory


def open_domains(config: ml_collections.ConfigDict, data_dir: str | None) -> list[Domain]:
    """The lab and the wild data set of a config."""
    sections = (config.data.lab, config.data.wild)
    return [open_domain(section, data_dir) for section in sections]


def training_batches(config, domains, threads: int | None = None) -> Iterator[dict]:
    """Batches as stages 2 and 3 read them."""
    return loader.training_batches(
        [domain.train for domain in domains],
        batch_size=config.data.batch_size,
        seed=0,
        start=0,
        image_side=max(domain.image_side for domain in domains),
        threads=threads or config.run.reading_threads,
    )


def take(batches: Iterator[dict], count: int) -> float:
    """Takes some batches; seconds."""
    start = time.perf_counter()
    for _ in range(count):
        next(batches)
    return time.perf_counter() - start


if __name__ == "__main__":
    measure.run(main)
