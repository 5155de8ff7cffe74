"""What builders share: plans of work items, records of photographs, and the TFDS builder."""

import collections
import contextlib
import dataclasses
import itertools
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Bool, Float, UInt8

from pose3d_jax import records
from pose3d_jax.errors import UserError
from pose3d_jax.images.crop import crop_square, to_crop
from pose3d_jax.images.jpeg import encode_image
from pose3d_jax.skeleton import HEAD_TOP, NECK
from tfds_builders import sorting, work


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a release becomes records."""

    items: Sequence[work.Item]  # the work items, in order
    process: work.Process  # turns an item into records
    unit: str  # what `expected` counts: "records", or the kind of item, such as "videos"
    #: Number of units in a complete release, by split and row of the summary.
    expected: Mapping[tuple[str, ...], int]
    missing: Sequence[str] = ()  # what the release lacks, one message each
    remarks: Sequence[work.Remark] = ()  # what is left out, and why
    #: Stored beside the records.
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def trial(self, records: int) -> "Plan":
        """A plan for at most `records` records a split, from up to 16 evenly spaced items."""
        chosen = []
        for _, group in itertools.groupby(self.items, key=lambda item: item.split):
            items = list(group)
            count = min(len(items), records, 16)
            for k in range(count):
                item = items[k * len(items) // count]
                share = records // count + (k < records % count)
                chosen.append(dataclasses.replace(item, limit=share))
        return dataclasses.replace(self, items=chosen, metadata={**self.metadata, "limit": records})


def require_complete(missing: Sequence[str], instructions: str) -> None:
    """Raises one `UserError` that lists everything missing, if anything is."""
    if missing:
        listed = "\n".join(f"  - {message}" for message in missing)
        raise UserError(
            f"The release is incomplete:\n{listed}\n{instructions.strip()}\n"
            "To continue with what is there, add --partial."
        )


def crop_record(
    image: UInt8[np.ndarray, "height width 3"],
    joints: Float[np.ndarray, "16 2"],
    center: Float[np.ndarray, "2"],
    side: float,
    *,
    image_side: int,
    margin: float = 1.0,
    joints_valid: Bool[np.ndarray, "16"] | None = None,
    head_size: float | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """The record of a person in a photograph.

    Args:
        image: RGB.
        joints: px of the photograph.
        center: of the person's box, px of the photograph.
        side: of the box, px of the photograph.
        image_side: side of the record's image, px.
        margin: side of the record's image in boxes.
        joints_valid: annotated joints; None for all.
        head_size: px of the photograph; by default the distance from neck to head top.
        **fields: others of `records.make_record`.
    """
    crop, to_source = crop_square(image, center, margin * side, image_side)
    in_crop = to_crop(joints, to_source)
    if head_size is None:
        known = joints_valid is None or joints_valid[[HEAD_TOP, NECK]].all()
        head_in_crop = np.linalg.norm(in_crop[HEAD_TOP] - in_crop[NECK]) * known
    else:
        head_in_crop = head_size / to_source[0, 0]
    return records.make_record(
        encode_image(crop),
        in_crop,
        image_side=image_side,
        box_side=image_side / margin,
        head_size=head_in_crop,
        to_source=to_source,
        joints_valid=joints_valid,
        **fields,
    )


class RecordBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A TFDS builder whose records come from a plan.

    `tfds_builders.prepare` makes the plan, processes its items in parallel and sets `plan` and
    `cache`; TFDS then only writes. `tfds build` sets neither: items are processed one after the
    other while TFDS writes. With `use_beam`, Beam's workers process them.

    Description, citation and tags are in the builder's directory (`README.md`, `CITATIONS.bib`,
    `TAGS.txt`), where TFDS looks for them.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012
    #: The data set's page.
    HOMEPAGE: str | None = None
    #: Side of every record's image, px.
    image_side: int

    plan: Plan | None = None
    cache: Path | None = None
    #: Process items in threads instead of processes; for functions that use JAX.
    use_threads = False
    use_beam = False
    #: Cache directory of `tfds build`, removed at the end.
    _scratch: Path | None = None

    def __init__(self, *, file_format: Any = None, **kwargs: Any):
        super().__init__(file_format=file_format or "array_record", **kwargs)

    def make_metadata(self) -> tfds.core.MetadataDict:
        """Metadata stored beside the records; by default without `AvgSumLen`."""
        return records.metadata(image_side=self.image_side, bone_length_sum=0.0)

    def make_plan(
        self, manual_dir: Path, scratch: Path, *, partial: bool, trial: bool = False
    ) -> Plan:
        """Reads the contents of a release.

        By default calls `make_plan(manual_dir, partial=partial)` of the builder's module.

        Args:
            manual_dir: directory of the official files.
            scratch: directory for intermediate files, kept until the data set is finished.
            partial: accept an incomplete release and list in the plan what is missing.
            trial: only a part of the plan will be used, so costly steps may be skipped.

        Raises:
            UserError: the release is unreadable, or incomplete and not `partial`.
        """
        del scratch, trial
        return sys.modules[type(self).__module__].make_plan(manual_dir, partial=partial)

    def download_and_prepare(self, **options: Any) -> None:
        """TFDS's method, for splits of any size without TensorFlow."""
        with sorting.without_tensorflow():
            super().download_and_prepare(**options)

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=records.features(), metadata=self.make_metadata(), homepage=self.HOMEPAGE
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
        # `prepare` collects the items' errors; `tfds build` stops at the first.
        options = {
            "process": self.plan.process,
            "cache": self.cache,
            "strict": self._scratch is not None,
        }
        if not self.use_beam:
            # TFDS sorts the records after the last item where they exceed its memory.
            bar = work.progress_bar(items, desc=f"Writing {items[0].split}", unit="item")
            return itertools.chain.from_iterable(_examples(item, **options) for item in bar)
        import apache_beam as beam

        return beam.Create(items) | beam.Reshuffle() | beam.FlatMap(_examples, **options)

    def _post_download_and_prepare_hook(self) -> None:
        if self._scratch is not None:
            shutil.rmtree(self._scratch)
            with contextlib.suppress(OSError):  # Another process may use it.
                self._scratch.parent.rmdir()


def _examples(
    item: work.Item, process: work.Process, cache: Path, strict: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    output = work.run(process, item, cache)
    if strict and output.errors:
        raise UserError("\n".join(output.errors))
    for record in output.load():
        yield record["image_id"], record
