"""Data loading: from records to host batches, shuffled and mixed, reproducible from the seed.

Batches hold only what the device needs: uint8 images and small labels. Batch k depends only on the
seed and k, not on the batches read before, the number of threads or the number of hosts.
"""

from collections.abc import Iterator, Sequence

import grain
import numpy as np

from pose3d_jax.images.jpeg import decode_image

#: Fields of a record that the device needs.
FIELDS = ("image", "box", "joints_2d", "joints_valid", "joints_3d", "has_3d", "head_size")

HostBatch = dict[str, np.ndarray]


def to_arrays(record: dict, image_side: int, fields: Sequence[str] = FIELDS) -> HostBatch:
    """Decodes a record and pads its image with black, right and below, to `image_side`."""
    arrays = {name: np.asarray(record[name]) for name in fields if name != "image"}
    image = decode_image(record["image"])
    missing = image_side - len(image)
    return {"image": np.pad(image, ((0, missing), (0, missing), (0, 0))), **arrays}


def mixed_records(sources: Sequence, seed: int) -> grain.MapDataset:
    """An endless stream that takes one record from each source in turn.

    Each source is reshuffled every epoch; shuffling permutes indices, not records. A source may be
    given more than once, each time with another order. Epoch e of stream i has the order of
    seed + i + e, so an order recurs in other streams and epochs.
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
) -> Iterator[HostBatch]:
    """This host's part of the batches from index `start` on.

    Sources alternate within a batch, so each device gets equally many records of each.

    Args:
        sources: from `open_source`.
        batch_size: of all hosts together.
        seed: of the order.
        start: index of the first batch.
        image_side: side of the images, px; smaller ones are padded.
        threads: number of threads that read and decode.
        process_index: index of this host.
        process_count: number of hosts.
    """
    records = mixed_records(sources, seed).map(lambda record: to_arrays(record, image_side))
    # Part p of global batch k is the k-th batch of host p.
    batches = records.batch(batch_size // process_count)[process_index::process_count]
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    return iter(batches[start:].to_iter_dataset(options))


def batch_ids(sources: Sequence, *, batch_size: int, seed: int, step: int) -> list[str]:
    """The `image_id`s of batch `step`, all hosts together."""
    records = mixed_records(sources, seed)
    return [
        records[i]["image_id"].decode() for i in range(step * batch_size, (step + 1) * batch_size)
    ]


def evaluation_batches(
    source: Sequence,
    *,
    batch_size: int,
    image_side: int,
    threads: int,
    fields: Sequence[str] = FIELDS,
) -> Iterator[HostBatch]:
    """All records in order, each read once; the last batch may be smaller.

    Args:
        source: from `open_source`, or a `subset`.
        batch_size: records per batch.
        image_side: side of the images, px; smaller ones are padded.
        threads: number of threads that read and decode.
        fields: fields of the records.
    """
    records = grain.MapDataset.source(source).map(
        lambda record: to_arrays(record, image_side, fields)
    )
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    return iter(records.batch(batch_size).to_iter_dataset(options))
