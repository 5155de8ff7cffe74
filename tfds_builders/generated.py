"""The embedded benchmark, prepared as the releases are: in items that are never made twice."""

from pathlib import Path

from tfds_builders import base, work
from tfds_builders.synthetic import generate, synthetic_dataset_builder

#: Some seconds of rendering.
_RECORDS_PER_ITEM = 4 * generate.CHUNK


class Builder(base.RecordBuilder, synthetic_dataset_builder.Builder, skip_registration=True):
    """The builder of `synthetic`, which makes the same records from a plan."""

    name = "synthetic"
    in_process = True

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
