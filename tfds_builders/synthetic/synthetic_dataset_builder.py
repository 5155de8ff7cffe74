"""The built-in synthetic benchmark as a TFDS data set: people rendered by this package itself.

    python -m tfds_builders.prepare synthetic

Nothing is downloaded. `lab` is a motion-capture room with 3D labels, `wild` is photographs of
other people elsewhere, whose training records have 2D labels only; its test records carry the 3D
truth, which no real data set of photographs has. `varied` is the laboratory of a network that is
to work on real photographs: 3D labels on every record, and people of sport among all others.
"""

from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from pose3d_jax import records
from tfds_builders import base, work
from tfds_builders.synthetic import generate, subjects
from tfds_builders.synthetic.generate import Benchmark

#: Some seconds of rendering.
_RECORDS_PER_ITEM = 4 * generate.CHUNK
#: The benchmarks by the name of their config: full size, and for a laptop.
BENCHMARKS = {
    "lab": Benchmark("lab", box_side=256, image_side=272, train=40_000, test=2_000),
    "wild": Benchmark("wild", box_side=256, image_side=384, train=40_000, test=2_000),
    "lab_tiny": Benchmark("lab", box_side=128, image_side=136, train=3_000, test=1_000),
    "wild_tiny": Benchmark("wild", box_side=128, image_side=192, train=3_000, test=1_000),
    "varied": Benchmark("varied", box_side=128, image_side=192, train=12_000, test=1_000),
}


class SyntheticConfig(tfds.core.BuilderConfig):
    """A named benchmark."""

    def __init__(self, name: str, benchmark: Benchmark, **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.benchmark = benchmark


class Builder(base.RecordBuilder):
    """Synthetic people with exact labels; see `generate` for how a record is made."""

    BUILDER_CONFIGS = [  # noqa: RUF012
        SyntheticConfig(
            name,
            benchmark,
            description=f"{benchmark.domain} images for a network of {benchmark.box_side} px",
        )
        for name, benchmark in BENCHMARKS.items()
    ]
    in_process = True

    def make_metadata(self) -> tfds.core.MetadataDict:
        """See `base.RecordBuilder`."""
        benchmark = self.builder_config.benchmark
        # Poses of the wild are scaled to the size of the laboratory's people, who were trained on.
        measured = "lab" if benchmark.domain == "wild" else benchmark.domain
        return records.metadata(
            image_side=benchmark.image_side,
            bone_length_sum=subjects.bone_length_sum(benchmark.seed, measured),
            box_side=benchmark.box_side,
            domain=benchmark.domain,
            seed=benchmark.seed,
        )

    def make_plan(
        self, manual_dir: Path, scratch: Path, *, partial: bool, trial: bool = False
    ) -> base.Plan:
        """See `base.RecordBuilder.make_plan`; there is nothing to read."""
        benchmark = self.builder_config.benchmark
        expected = {(split,): benchmark.size(split) for split in ("train", "test")}
        items = [
            work.Item(
                split=split,
                name=f"{split} {first}",
                row=(),
                inputs=(),
                task=(benchmark, first, min(first + _RECORDS_PER_ITEM, size)),
            )
            for (split,), size in expected.items()
            for first in range(0, size, _RECORDS_PER_ITEM)
        ]
        return base.Plan(tuple(items), make_records, unit="records", expected=expected)


def make_records(item: work.Item) -> work.Made:
    """Renders some records."""
    benchmark, first, stop = item.task
    indices = range(first, stop)[: item.limit]
    return work.Made(generate.render_records(benchmark, item.split, indices))
