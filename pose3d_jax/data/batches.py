"""Records to host batches: shuffled, mixed, and the same for the same seed everywhere.

Only what the device needs crosses to it: uint8 images and small labels. The position in the stream
is the step: batch k is the same whether or not the batches before it were read, whatever the number
of threads, and however many hosts share it.
"""

from collections.abc import Iterator, Sequence

import grain
import numpy as np

from pose3d_jax.images.jpeg import decode_image

#: The fields of a record that the device needs.
FIELDS = ("image", "box", "joints_2d", "joints_valid", "joints_3d", "has_3d", "head_size")

Batch = dict[str, np.ndarray]


def to_arrays(record: dict, image_side: int, fields: Sequence[str] = FIELDS) -> Batch:
    """Decodes a record; the image is padded with black, right and below, to `image_side`."""
    arrays = {name: np.asarray(record[name]) for name in fields if name != "image"}
    image = decode_image(record["image"])
    missing = image_side - len(image)
    return {"image": np.pad(image, ((0, missing), (0, missing), (0, 0))), **arrays}


def mixed_records(sources: Sequence, seed: int) -> grain.MapDataset:
    """An endless stream that takes from each source in turn, each reshuffled every epoch.

    Shuffling permutes indices and holds no records. A source may be given more than once: in one
    epoch, each has another order. Epoch e of stream i has the order of seed + i + e, so that orders
    come back in other streams and epochs.
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

    Sources alternate within a batch, so that every contiguous share of it, a multiple of their
    number in size, has as many records of each.

    Args:
        sources: from `open_source`.
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


def evaluation_batches(
    source: Sequence,
    *,
    batch_size: int,
    image_side: int,
    threads: int,
    fields: Sequence[str] = FIELDS,
) -> Iterator[tuple[Batch, int]]:
    """All records in order, in batches of one size, and how many records of each are real.

    The last batch is filled up with copies of its last record.

    Args:
        source: from `open_source`, or some of it, `Chosen`.
        batch_size: records per batch.
        image_side: of the images, px; smaller ones are padded.
        threads: that read and decode.
        fields: of the records.
    """
    count = len(source)
    indices = np.minimum(np.arange(count + -count % batch_size), count - 1)

    def read(index):
        return to_arrays(source[int(index)], image_side, fields)

    records = grain.MapDataset.source(indices).map(read)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    batches = records.batch(batch_size).to_iter_dataset(options)
    for number, batch in enumerate(batches):
        yield batch, min(batch_size, count - number * batch_size)
