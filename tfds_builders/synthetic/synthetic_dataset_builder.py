"""The embedded benchmark as a TFDS data set: people rendered by this package itself.

    python -m tfds_builders.prepare synthetic

Nothing is downloaded. `lab` is a motion-capture room with 3D labels, `wild` is photographs of
other people elsewhere, whose training records have 2D labels only; its test records carry the 3D
truth, which no real data set of photographs has. `varied` is the laboratory of a network that is
to work on real photographs: 3D labels on every record, and people of sport among all others.
"""

from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from pose3d_jax import records
from tfds_builders.synthetic import generate, subjects
from tfds_builders.synthetic.generate import Benchmark

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


class Builder(tfds.core.GeneratorBasedBuilder):
    """Synthetic people with exact labels; see `generate` for how a record is made."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012
    BUILDER_CONFIGS = [  # noqa: RUF012
        SyntheticConfig(
            name,
            benchmark,
            description=f"{benchmark.domain} images for a network of {benchmark.box_side} px",
        )
        for name, benchmark in BENCHMARKS.items()
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        benchmark = self.builder_config.benchmark
        # Poses of the wild are scaled to the size of the laboratory's people, who were trained on.
        measured = "lab" if benchmark.domain == "wild" else benchmark.domain
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=records.features(),
            metadata=records.metadata(
                image_side=benchmark.image_side,
                bone_length_sum=subjects.bone_length_sum(benchmark.seed, measured),
                box_side=benchmark.box_side,
                domain=benchmark.domain,
                seed=benchmark.seed,
            ),
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[str, dict[str, Any]]]]:
        return {split: self._generate_examples(split) for split in ("train", "test")}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for record in generate.iterate_records(self.builder_config.benchmark, split):
            yield record["image_id"], record
