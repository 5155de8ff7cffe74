"""Which records a run reads: splits of prepared data sets as random-access sources."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import ml_collections
import numpy as np
import tensorflow_datasets as tfds

from pose3d_jax.data.catalog import command, open_dataset
from pose3d_jax.errors import UserError
from pose3d_jax.untrusted import reason


def open_source(builder: tfds.core.DatasetBuilder, split: str):
    """A split as a random-access source of records, their images still JPEG."""
    source = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
    name = "/".join(filter(None, (builder.info.name, builder.info.config_name)))
    root = Path(builder.data_dir).parents[name.count("/") + 1]
    again = f"{command(name, root)} --overwrite"
    return Checked(source, f"the records of {name}, split {split!r}, in {builder.data_dir}", again)


class Checked(Sequence):
    """Records whose files may be damaged or gone.

    Args:
        source: the records.
        what: they are, as a part of a sentence.
        again: the command that makes them anew.
    """

    def __init__(self, source: Sequence, what: str, again: str):
        self._source, self._what, self._again = source, what, again

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict:
        if not 0 <= index < len(self):
            raise IndexError(index)
        try:
            record = self._source[index]
            if not record["image"]:  # What ArrayRecord makes of some files that were cut off.
                raise ValueError("a record is empty")
            return record
        except Exception as error:  # ArrayRecord's, Riegeli's and the protocol buffers' own.
            raise UserError(
                f"Cannot read {self._what}: {reason(error)}. If a file is damaged or missing, "
                f"prepare the data set anew: {self._again}"
            ) from error


class WithoutDepth(Sequence):
    """Hides 3D labels, as in wild training records."""

    def __init__(self, source: Sequence):
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict:
        record = self._source[index]
        return dict(record, has_3d=False, joints_3d=np.zeros_like(record["joints_3d"]))


class InTurn(Sequence):
    """Records of several sources in turn; those of shorter sources come again and again."""

    def __init__(self, sources: Sequence[Sequence]):
        self._sources = sources

    def __len__(self) -> int:
        return len(self._sources) * max(map(len, self._sources))

    def __getitem__(self, index: int) -> dict:
        row, which = divmod(index, len(self._sources))
        source = self._sources[which]
        return source[row % len(source)]


class Chosen(Sequence):
    """At most `limit` of a source's records, evenly spaced; all of them without a limit."""

    def __init__(self, source: Sequence, limit: int | None):
        self._source, self._indices = source, spread(len(source), limit)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> dict:
        return self._source[int(self._indices[index])]


def spread(count: int, limit: int | None) -> np.ndarray:
    """At most `limit` of `count` indices, evenly spaced; all of them without a limit."""
    wanted = min(limit or count, count)
    return np.arange(wanted) * count // wanted


class Domain(NamedTuple):
    """One of the data sets that a run is about, opened.

    Attributes:
        name: of the data set.
        train: source of training records.
        test: source of held-out records.
        image_side: side of its images, px.
        bone_length_sum: its `AvgSumLen`, mm; 0 where it has none.
    """

    name: str
    train: Sequence
    test: Sequence
    image_side: int
    bone_length_sum: float


def open_domain(section: ml_collections.ConfigDict, data_dir: str | os.PathLike | None) -> Domain:
    """Opens a data set of the config's `data` section.

    Args:
        section: `name` of the data set, and its `train` and `test` splits; several training
            splits, of different sizes, give equally many records.
        data_dir: where data sets are prepared; None or empty for TFDS's own place.

    Raises:
        UserError: it is not prepared; the message names the command.
    """
    builder = open_dataset(section.name, data_dir or None)
    several = [section.train] if isinstance(section.train, str) else list(section.train)
    for split in (*several, section.test):
        if not _has_records(builder, split):
            raise UserError(
                f"{section.name} has no records in the split {split!r}; it has "
                f"{', '.join(builder.info.splits) or 'none'}."
            )
    sources = [open_source(builder, split) for split in several]
    metadata = builder.info.metadata
    return Domain(
        name=section.name,
        train=sources[0] if len(sources) == 1 else InTurn(sources),
        test=open_source(builder, section.test),
        image_side=int(metadata["image_side"]),
        bone_length_sum=float(metadata["bone_length_sum"]),
    )


def _has_records(builder: tfds.core.DatasetBuilder, split: str) -> bool:
    """Whether a split, or a slice such as `train[900:]`, has records."""
    try:
        return builder.info.splits[split].num_examples > 0
    except (KeyError, ValueError):
        return False
