"""Splits of prepared data sets as random-access sources of records."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import ml_collections
import numpy as np
import tensorflow_datasets as tfds

from pose3d_jax.data.catalog import FILE_FORMAT, open_dataset, prepare_command
from pose3d_jax.errors import UserError
from pose3d_jax.untrusted import reason


def open_source(builder: tfds.core.DatasetBuilder, split: str):
    """A split, or a slice such as `train[900:]`, as a source of records with images as JPEG.

    Raises:
        UserError: the split has no records, or its file format is not ArrayRecord.
    """
    name = "/".join(filter(None, (builder.info.name, builder.info.config_name)))
    try:
        empty = not builder.info.splits[split].num_examples
    except (KeyError, ValueError):
        empty = True
    if empty:
        splits = ", ".join(builder.info.splits) or "none"
        raise UserError(f"{name} has no records in the split {split!r}; it has {splits}.")
    if (stored := builder.info.file_format.value) != FILE_FORMAT:
        raise UserError(
            f"{builder.data_dir} has the file format {stored}. Training and evaluation read "
            f"{FILE_FORMAT}: prepare the data set in another directory (--data_dir)."
        )
    source = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
    root = Path(builder.data_dir).parents[name.count("/") + 1]
    command = f"{prepare_command(name, root)} --overwrite"
    title = f"the records of {name}, split {split!r}, in {builder.data_dir}"
    return checked(source, title, command)


class View(Sequence):
    """A source of records that a function returns.

    Args:
        count: number of records.
        get: returns a record by its index, from 0 to `count` - 1.
    """

    def __init__(self, count: int, get: Callable[[int], dict]):
        self._count, self._get = count, get

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> dict:
        if not 0 <= index < self._count:
            raise IndexError(index)
        return self._get(index)


def checked(source: Sequence, title: str, command: str) -> Sequence:
    """Records of a file; a damaged or missing file raises `UserError`.

    Args:
        source: the records.
        title: noun phrase for error messages.
        command: prepares the data set again, for error messages.
    """

    def get(index: int) -> dict:
        try:
            record = source[index]
            if not record["image"]:  # ArrayRecord returns this for some truncated files.
                raise ValueError("a record is empty")
            return record
        except Exception as error:  # Of ArrayRecord, Riegeli or protocol buffers.
            raise UserError(
                f"Cannot read {title}: {reason(error)}. If a file is damaged or missing, prepare "
                f"the data set again: {command}"
            ) from error

    return View(len(source), get)


def without_depth(source: Sequence) -> Sequence:
    """Records without their 3D labels."""

    def get(index: int) -> dict:
        record = source[index]
        return dict(record, has_3d=False, joints_3d=np.zeros_like(record["joints_3d"]))

    return View(len(source), get)


def interleaved(sources: Sequence[Sequence]) -> Sequence:
    """Records of several sources in turn; shorter sources repeat."""

    def get(index: int) -> dict:
        row, which = divmod(index, len(sources))
        return sources[which][row % len(sources[which])]

    return View(len(sources) * max(map(len, sources)), get)


def subset(source: Sequence, limit: int | None) -> Sequence:
    """At most `limit` evenly spaced records of a source; all without a limit."""
    indices = evenly_spaced(len(source), limit)
    return View(len(indices), lambda index: source[int(indices[index])])


def evenly_spaced(count: int, limit: int | None) -> np.ndarray:
    """At most `limit` evenly spaced indices below `count`; all without a limit."""
    wanted = min(limit or count, count)
    return np.arange(wanted) * count // wanted


class Domain(NamedTuple):
    """An opened data set of a run."""

    name: str  # data set
    train: Sequence  # training records
    test: Sequence  # held-out records
    image_side: int  # side of its images, px
    bone_length_sum: float  # its AvgSumLen (Sec. 4.1.2), mm; 0 if it has none


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
    sources = [open_source(builder, split) for split in several]
    metadata = builder.info.metadata
    return Domain(
        name=section.name,
        train=sources[0] if len(sources) == 1 else interleaved(sources),
        test=open_source(builder, section.test),
        image_side=int(metadata["image_side"]),
        bone_length_sum=float(metadata["bone_length_sum"]),
    )
