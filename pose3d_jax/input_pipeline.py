"""Records to host batches: shuffled, mixed, and the same for the same seed everywhere.

Only what the device needs crosses to it: uint8 images and small labels. The position in the stream
is the step: batch k is the same whether or not the batches before it were read, whatever the number
of threads, and however many hosts share it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import grain
import ml_collections
import numpy as np
import tensorflow_datasets as tfds

from pose3d_jax.errors import UserError
from pose3d_jax.records import decode_image
from pose3d_jax.untrusted import reason
from tfds_builders.catalog import command, open_dataset

#: The fields of a record that the device needs.
FIELDS = ("image", "box", "joints_2d", "joints_valid", "joints_3d", "has_3d", "head_size")

Batch = dict[str, np.ndarray]


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
    """Records as wild training ones are: with 2D labels only."""

    def __init__(self, source: Sequence):
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict:
        record = self._source[index]
        return dict(record, has_3d=False, joints_3d=np.zeros_like(record["joints_3d"]))


class Chosen(Sequence):
    """At most `limit` of a source's records, evenly spaced; all of them without a limit."""

    def __init__(self, source: Sequence, limit: int | None):
        self._source, self._indices = source, spread(len(source), limit)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> dict:
        return self._source[int(self._indices[index])]


def to_arrays(record: dict, image_side: int) -> Batch:
    """Decodes a record; the image is padded with black, right and below, to `image_side`."""
    arrays = {name: np.asarray(record[name]) for name in FIELDS if name != "image"}
    image = decode_image(record["image"])
    missing = image_side - len(image)
    return {"image": np.pad(image, ((0, missing), (0, missing), (0, 0))), **arrays}


def mixed_records(sources: Sequence, seed: int) -> grain.MapDataset:
    """An endless stream that takes from each source in turn, each shuffled anew every epoch.

    Shuffling permutes indices and holds no records.
    """
    streams = [
        grain.MapDataset.source(source).shuffle(seed=seed + i).repeat()
        for i, source in enumerate(sources)
    ]
    return grain.MapDataset.mix(streams, weights=[1] * len(streams))


def training_batches(
    sources: Sequence,
    *,
    batch_size: int,
    seed: int,
    start: int,
    image_side: int,
    threads: int,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """This host's part of the batches from number `start` on.

    Sources alternate within a batch, so that every contiguous share of it, even in size, has as
    many records of each.

    Args:
        sources: one or two, from `open_source`.
        batch_size: of all hosts together.
        seed: of the order.
        start: the first batch's number.
        image_side: of the images, px; smaller ones are padded.
        threads: that read and decode.
        process_index: this host's number.
        process_count: number of hosts.
    """
    records = mixed_records(sources, seed).map(lambda record: to_arrays(record, image_side))
    # Batches first, then every host takes its own: host p's k-th is share p of global batch k.
    batches = records.batch(batch_size // process_count)[process_index::process_count]
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    return iter(batches[start:].to_iter_dataset(options))


def batch_ids(sources: Sequence, *, batch_size: int, seed: int, step: int) -> list[str]:
    """The `image_id`s of the records of batch `step`, all hosts together."""
    records = mixed_records(sources, seed)
    return [
        records[i]["image_id"].decode() for i in range(step * batch_size, (step + 1) * batch_size)
    ]


def spread(count: int, limit: int | None) -> np.ndarray:
    """At most `limit` of `count` indices, evenly spaced; all of them without a limit."""
    wanted = min(limit or count, count)
    return np.arange(wanted) * count // wanted


def evaluation_batches(
    source: Sequence, *, batch_size: int, image_side: int, threads: int
) -> Iterator[tuple[Batch, int]]:
    """All records in order, in batches of one size, and how many records of each are real.

    The last batch is filled up with copies of its last record.

    Args:
        source: from `open_source`, or some of it, `Chosen`.
        batch_size: records per batch.
        image_side: of the images, px; smaller ones are padded.
        threads: that read and decode.
    """
    count = len(source)
    indices = np.minimum(np.arange(count + -count % batch_size), count - 1)
    records = grain.MapDataset.source(indices).map(lambda i: to_arrays(source[int(i)], image_side))
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    batches = records.batch(batch_size).to_iter_dataset(options)
    for number, batch in enumerate(batches):
        yield batch, min(batch_size, count - number * batch_size)


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


def open_domain(section: ml_collections.ConfigDict, data_dir: str) -> Domain:
    """Opens a data set of the config's `data` section.

    Args:
        section: `name` of the data set, and its `train` and `test` splits.
        data_dir: where data sets are prepared; empty for TFDS's own place.

    Raises:
        UserError: it is not prepared; the message names the command.
    """
    builder = open_dataset(section.name, data_dir or None)
    empty = [s for s in (section.train, section.test) if not builder.info.splits.get(s)]
    if empty:
        raise UserError(
            f"{section.name} has no records in the split {empty[0]!r}; it has "
            f"{', '.join(builder.info.splits) or 'none'}."
        )
    metadata = builder.info.metadata
    return Domain(
        name=section.name,
        train=open_source(builder, section.train),
        test=open_source(builder, section.test),
        image_side=int(metadata["image_side"]),
        bone_length_sum=float(metadata["bone_length_sum"]),
    )
