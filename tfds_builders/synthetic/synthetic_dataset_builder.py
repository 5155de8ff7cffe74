"""Builder of the synthetic benchmark; see `README.md` here."""

import dataclasses
from pathlib import Path

import tensorflow_datasets as tfds

from pose3d_jax import records
from tfds_builders import base, work
from tfds_builders.synthetic import generate, subjects
from tfds_builders.synthetic.generate import Benchmark

#: Records per item, for some seconds of rendering.
_RECORDS_PER_ITEM = 4 * generate.CHUNK
#: The benchmarks by configuration.
BENCHMARKS = {
    "lab": Benchmark("lab", box_side=256, image_side=384, train=40_000, test=2_000),
    "wild": Benchmark("wild", box_side=256, image_side=384, train=40_000, test=2_000),
    "lab_tiny": Benchmark("lab", box_side=128, image_side=192, train=3_000, test=1_000),
    "wild_tiny": Benchmark("wild", box_side=128, image_side=192, train=3_000, test=1_000),
    "varied": Benchmark("varied", box_side=128, image_side=192, train=12_000, test=1_000),
}


_VERSIONS = {"lab": "2.0.0"}
_RELEASE_NOTES = {
    "1.0.0": "First release.",
    "2.0.0": "Lab images are 1.5 times the box, like wild ones.",
}


@dataclasses.dataclass
class SyntheticConfig(tfds.core.BuilderConfig):
    """A named benchmark."""

    benchmark: Benchmark | None = None


class Builder(base.RecordBuilder):
    """Builder of `synthetic`; `generate` renders the records."""

    BUILDER_CONFIGS = [  # noqa: RUF012
        SyntheticConfig(
            name=name,
            benchmark=benchmark,
            description=f"{benchmark.domain} images for a network of {benchmark.box_side} px",
            version=_VERSIONS.get(benchmark.domain, "1.0.0"),
            release_notes=_RELEASE_NOTES,
        )
        for name, benchmark in BENCHMARKS.items()
    ]
    HOMEPAGE = "https://arxiv.org/abs/1704.02447"
    use_threads = True

    def make_metadata(self) -> tfds.core.MetadataDict:
        """See `base.RecordBuilder`."""
        benchmark = self.builder_config.benchmark
        # Depth is trained on the lab's people, so wild poses are scaled to their size.
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
        """See `base.RecordBuilder.make_plan`; nothing is read."""
        benchmark = self.builder_config.benchmark
        expected = {(split,): getattr(benchmark, split) for split in ("train", "test")}
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
        return base.Plan(items, make_records, "records", expected)


def make_records(item: work.Item) -> work.Output:
    """Renders the records of an item."""
    benchmark, first, stop = item.task
    indices = range(first, stop)[: item.limit]
    return work.Output(generate.render_records(benchmark, item.split, indices))
