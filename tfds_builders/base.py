"""What the builders of official releases share: a plan, and TFDS's side of carrying it out."""

import collections
import contextlib
import dataclasses
import itertools
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from pose3d_jax import records
from pose3d_jax.errors import UserError
from tfds_builders import sorting, work


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a release becomes records.

    Attributes:
        items: the work, in order.
        make: turns an item into records.
        unit: what `expected` counts: "records", or what an item is, such as "videos".
        expected: how many there are of that in a complete release, by split and row.
        missing: what a complete release has and this one has not, in sentences.
        remarks: what is in the release and left out, and why.
        metadata: what is stored beside the records.
    """

    items: Sequence[work.Item]
    make: work.Make
    unit: str
    expected: Mapping[tuple[str, ...], int]
    missing: tuple[str, ...] = ()
    remarks: tuple[work.Remark, ...] = ()
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def trial(self, records: int) -> "Plan":
        """The part of a plan that makes at most a number of records a split, from all over it."""
        chosen = []
        for _, group in itertools.groupby(self.items, key=lambda item: item.split):
            items = list(group)
            count = min(len(items), records, 16)
            for k in range(count):
                item = items[k * len(items) // count]
                share = records // count + (k < records % count)
                chosen.append(dataclasses.replace(item, limit=share))
        return dataclasses.replace(
            self, items=tuple(chosen), metadata={**self.metadata, "limit": records}
        )


def stop_if_missing(missing: Sequence[str], instructions: str) -> None:
    """Raises one `UserError` that lists everything missing."""
    if missing:
        listed = "\n".join(f"  - {sentence}" for sentence in missing)
        raise UserError(
            f"The release is incomplete:\n{listed}\n{instructions.strip()}\n"
            "To continue with what is there, add --partial."
        )


class RecordBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A builder whose records come from a plan.

    `tfds_builders.prepare` makes the plan, carries it out in parallel and sets `plan` and `cache`;
    TFDS then only writes. Under `tfds build` there is neither, and the items are made as TFDS asks
    for them; with `use_beam`, Beam's workers make them.

    TFDS describes the data set with the docstring of the builder's module.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012
    #: The data set's page.
    HOMEPAGE: str | None = None
    #: Side of every record's image, px.
    image_side: int

    plan: Plan | None = None
    cache: Path | None = None
    #: Work in threads of this process, not in others: for makers that use JAX.
    in_process = False
    use_beam = False
    #: What this object made for itself, and has to remove.
    _scratch: Path | None = None

    def __init__(self, *, file_format: Any = None, **kwargs: Any):
        super().__init__(file_format=file_format or "array_record", **kwargs)

    def make_metadata(self) -> tfds.core.MetadataDict:
        """What is stored beside the records; by default no `AvgSumLen`: only training needs it."""
        return records.metadata(image_side=self.image_side, bone_length_sum=0.0)

    def make_plan(
        self, manual_dir: Path, scratch: Path, *, partial: bool, trial: bool = False
    ) -> Plan:
        """Reads what is in a release.

        By default, `make_plan(manual_dir, partial=partial)` of the builder's module does.

        Args:
            manual_dir: where the user keeps the official files.
            scratch: a directory for intermediate files, kept until the data set is finished.
            partial: continue when something is missing, and list it in the plan.
            trial: only some of the plan will be carried out; what is costly may be left out.

        Raises:
            UserError: the release is unreadable, or incomplete and not `partial`.
        """
        del scratch, trial
        return sys.modules[type(self).__module__].make_plan(manual_dir, partial=partial)

    def download_and_prepare(self, **options: Any) -> None:
        """TFDS's own, for splits of any size without TensorFlow."""
        with sorting.with_pythons_files():
            super().download_and_prepare(**options)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=sys.modules[type(self).__module__].__doc__,
            features=records.features(),
            metadata=self.make_metadata(),
            homepage=self.HOMEPAGE,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        if self.plan is None:
            self._scratch = Path(self.data_dir_root) / ".preparing" / f"{self.name}-tfds"
            needs_files = self.MANUAL_DOWNLOAD_INSTRUCTIONS is not None
            manual_dir = Path(dl_manager.manual_dir) if needs_files else Path()
            self.plan = self.make_plan(manual_dir, self._scratch, partial=False)
            self.cache = self._scratch / "items"
        self.info.metadata.update(self.plan.metadata)
        splits = collections.defaultdict(list)
        for item in self.plan.items:
            splits[item.split].append(item)
        return {split: self._generate_examples(items) for split, items in splits.items()}

    def _generate_examples(self, items: Sequence[work.Item]):
        # `prepare` reports errors; without it, nobody else would.
        options = {"make": self.plan.make, "cache": self.cache, "strict": self._scratch is not None}
        if not self.use_beam:
            # Where there are more records than memory holds, TFDS sorts them after the last.
            shown = work.progress(items, desc=f"Writing {items[0].split}", unit="item")
            return itertools.chain.from_iterable(_examples(item, **options) for item in shown)
        import apache_beam as beam

        return beam.Create(items) | beam.Reshuffle() | beam.FlatMap(_examples, **options)

    def _post_download_and_prepare_hook(self) -> None:
        if self._scratch is not None:
            shutil.rmtree(self._scratch)
            with contextlib.suppress(OSError):  # Others may be at work there.
                self._scratch.parent.rmdir()


def _examples(
    item: work.Item, make: work.Make, cache: Path, strict: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    receipt = work.do(make, item, cache)
    if strict and receipt.errors:
        raise UserError("\n".join(receipt.errors))
    for record in receipt.load():
        yield record["image_id"], record
