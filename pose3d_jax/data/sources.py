"""Splits of prepared data sets as random-access sources of records."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import ml_collections
import numpy as np
import tensorflow_datasets as tfds

from pose3d_jax.data.backgrounds import list_images
from pose3d_jax.data.catalog import FILE_FORMAT, data_root, open_dataset, prepare_command
from pose3d_jax.errors import UserError
from pose3d_jax.untrusted import reason


def open_source(builder: tfds.core.DatasetBuilder, split: str):
    """A split as a random-access source of records, with images as JPEG bytes.

    Raises:
        UserError: the data set has another file format than ArrayRecord.
    """
    if (stored := builder.info.file_format.value) != FILE_FORMAT:
        raise UserError(
            f"{builder.data_dir} has the file format {stored}. Training and evaluation read "
            f"{FILE_FORMAT}: prepare the data set in another directory (--data_dir)."
        )
    source = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
    name = "/".join(filter(None, (builder.info.name, builder.info.config_name)))
    root = Path(builder.data_dir).parents[name.count("/") + 1]
    command = f"{prepare_command(name, root)} --overwrite"
    title = f"the records of {name}, split {split!r}, in {builder.data_dir}"
    return RecordSource(source, title, command)


class RecordSource(Sequence):
    """Records of a file; a damaged or missing file raises `UserError`.

    Args:
        source: the records.
        title: noun phrase for error messages.
        command: prepares the data set again, for error messages.
    """

    def __init__(self, source: Sequence, title: str, command: str):
        self._source, self._title, self._command = source, title, command

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict:
        if not 0 <= index < len(self):
            raise IndexError(index)
        try:
            record = self._source[index]
            if not record["image"]:  # ArrayRecord returns this for some truncated files.
                raise ValueError("a record is empty")
            return record
        except Exception as error:  # Of ArrayRecord, Riegeli or protocol buffers.
            raise UserError(
                f"Cannot read {self._title}: {reason(error)}. If a file is damaged or missing, "
                f"prepare the data set again: {self._command}"
            ) from error


class WithoutDepth(Sequence):
    """Records without their 3D labels."""

    def __init__(self, source: Sequence):
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict:
        record = self._source[index]
        return dict(record, has_3d=False, joints_3d=np.zeros_like(record["joints_3d"]))


class Interleaved(Sequence):
    """Records of several sources in turn; shorter sources repeat."""

    def __init__(self, sources: Sequence[Sequence]):
        self._sources = sources

    def __len__(self) -> int:
        return len(self._sources) * max(map(len, self._sources))

    def __getitem__(self, index: int) -> dict:
        row, which = divmod(index, len(self._sources))
        source = self._sources[which]
        return source[row % len(source)]


class Subset(Sequence):
    """At most `limit` evenly spaced records of a source; all without a limit."""

    def __init__(self, source: Sequence, limit: int | None):
        self._source, self._indices = source, evenly_spaced(len(source), limit)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> dict:
        return self._source[int(self._indices[index])]


def evenly_spaced(count: int, limit: int | None) -> np.ndarray:
    """At most `limit` evenly spaced indices below `count`; all without a limit."""
    wanted = min(limit or count, count)
    return np.arange(wanted) * count // wanted


class Domain(NamedTuple):
    """An opened data set of a run.

    Attributes:
        name: data set.
        train: training records.
        test: held-out records.
        image_side: side of its images, px.
        bone_length_sum: its AvgSumLen (Sec. 4.1.2), mm; 0 if it has none.
    """

    name: str
    train: Sequence
    test: Sequence
    image_side: int
    bone_length_sum: float


def open_domain(section: ml_collections.ConfigDict, data_dir: str | os.PathLike | None) -> Domain:
    """Opens a data set of the config's `data` section.

    Args:
        section: `name` of the data set, and its `train` and `test` splits. Several training splits
            are interleaved, with equally many records of each.
        data_dir: directory of the data sets; see `catalog.data_root`.

    Raises:
        UserError: it is not prepared, or a split has no records.
    """
    builder = open_dataset(section.name, data_dir or None)
    several = [section.train] if isinstance(section.train, str) else list(section.train)
    for split in (*several, section.test):
        if not has_records(builder, split):
            raise UserError(
                f"{section.name} has no records in the split {split!r}; it has "
                f"{', '.join(builder.info.splits) or 'none'}."
            )
    sources = [open_source(builder, split) for split in several]
    metadata = builder.info.metadata
    return Domain(
        name=section.name,
        train=sources[0] if len(sources) == 1 else Interleaved(sources),
        test=open_source(builder, section.test),
        image_side=int(metadata["image_side"]),
        bone_length_sum=float(metadata["bone_length_sum"]),
    )


def open_backgrounds(folder: str | None, data_dir: str | os.PathLike | None) -> list[Path]:
    """The images of the config's `data.backgrounds`; none without a folder.

    Args:
        folder: in the directory of the data sets, or an absolute path.
        data_dir: directory of the data sets; see `catalog.data_root`.

    Raises:
        UserError: the folder has no images, or one cannot be read.
    """
    return list_images(data_root(data_dir or None) / folder) if folder else []


def has_records(builder: tfds.core.DatasetBuilder, split: str) -> bool:
    """Whether a split, or a slice such as `train[900:]`, has records."""
    try:
        return builder.info.splits[split].num_examples > 0
    except (KeyError, ValueError):
        return False
