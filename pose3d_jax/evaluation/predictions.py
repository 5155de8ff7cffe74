"""Predictions of a split with the split's labels, and their files."""

import hashlib
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Shaped

from pose3d_jax import processors
from pose3d_jax.checkpoints import TrainedNetwork
from pose3d_jax.data.catalog import open_dataset
from pose3d_jax.data.loader import FIELDS, evaluation_batches
from pose3d_jax.data.sources import open_source, subset
from pose3d_jax.errors import UserError
from pose3d_jax.evaluation.poses import LABEL_FIELDS, Labels, Poses, as_poses, to_labels
from pose3d_jax.evaluation.protocols import (
    make_setting,
    protocol_of,
    record_groups,
    redefine_poses,
    split_name,
)
from pose3d_jax.files import atomic_write
from pose3d_jax.prediction.batching import BatchedNetwork
from pose3d_jax.training.progress import Pace

log = logging.getLogger(__name__)

PREDICTIONS_FILE = "predictions.npz"
#: Seconds between log lines about the progress of a split.
LOG_INTERVAL = 20
#: Threads that read records, at most: each prefetches two batches of up to 25 MB.
MAX_READERS = 16

_ORIGIN_FIELDS = ("image_id", "subject", "action")


class Split(NamedTuple):
    """A split of a prepared data set."""

    name: str  # of the split in results (`split_name`)
    source: Sequence  # its records
    image_side: int  # side of its images, px


class Predictions(NamedTuple):
    """Predictions and labels of a split, in the order of its records."""

    poses: Poses  # the network's
    labels: Labels  # of the records
    image_ids: Shaped[np.ndarray, "n"]  # of the records
    #: The scene of every record where the data set has scenes, else its action.
    groups: Shaped[np.ndarray, "n"]
    digest: str  # see `records_digest`


def open_split(name: str, data_dir: str | os.PathLike | None, limit: int | None = None) -> Split:
    """Opens the test split of a data set, or another one.

    Args:
        name: of the data set, or `NAME:SPLIT`.
        data_dir: directory of the data sets; None for TFDS's default.
        limit: number of records, evenly spaced over the split; all by default.

    Raises:
        UserError: the data set is not prepared, or the split has no records.
    """
    dataset, _, split = name.partition(":")
    builder = open_dataset(dataset, data_dir)
    split = split or protocol_of(dataset).test_split
    return Split(
        name=split_name(dataset, split),
        source=subset(open_source(builder, split), limit),
        image_side=int(builder.info.metadata["image_side"]),
    )


def read_labels(source: Sequence) -> dict[str, np.ndarray]:
    """The fields of `LABEL_FIELDS` and the `image_id`s of all records, stacked.

    One record is in memory at a time.
    """
    names = (*LABEL_FIELDS, "image_id")
    rows = [[record[name] for name in names] for record in source]
    return {name: np.asarray(column) for name, column in zip(names, zip(*rows))}


def records_digest(records: Mapping[str, np.ndarray]) -> str:
    """Hash of labels and identifiers from `read_labels`: results hold for records with the same."""
    digest = hashlib.sha256("\0".join(np.char.decode(records["image_id"]).tolist()).encode())
    for name in LABEL_FIELDS:
        digest.update(np.ascontiguousarray(records[name]))
    return digest.hexdigest()[:16]


def predict_split(
    trained: TrainedNetwork,
    split: Split,
    batch_size: int,
    *,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
) -> Predictions:
    """Predicts a split as `Predictor` does. Every record is read once; no image is kept.

    Args:
        trained: the network.
        split: the records.
        batch_size: people predicted at once, at most; results do not depend on it.
        flip: average the predictions of each image and of its mirror image.
        scales: average over crops this many times as large.

    Raises:
        UserError: a label is not finite, or a box has no size.
    """
    setting = make_setting(trained.config, split.name, with_depth=trained.with_depth)
    network = BatchedNetwork(trained.graphdef, trained.variables, setting.side, batch_size)
    outputs, kept = [], []
    batches = evaluation_batches(
        split.source,
        batch_size=batch_size,
        image_side=split.image_side,
        threads=min(processors.usable(), MAX_READERS),
        fields=(*FIELDS, *_ORIGIN_FIELDS),
    )
    count = len(split.source)
    pace, logged = Pace(-(-count // batch_size), 0, batch_size), time.monotonic()
    for done, batch in enumerate(batches, 1):
        index = np.arange(len(batch["box"]))
        sizes = np.full(len(index), setting.bone_length_sum, np.float32)
        people = list(batch["image"]), index, batch["box"], sizes
        outputs.append(network(*people, flip=flip, scales=scales)._asdict())
        kept.append({name: batch[name] for name in (*LABEL_FIELDS, *_ORIGIN_FIELDS)})
        if done == 1:
            pace.restart(done)  # The first batch includes compilation.
        elif time.monotonic() - logged > LOG_INTERVAL:
            log.info("%d of %d images · %s", done * batch_size, count, pace.text(done))
            logged = time.monotonic()
    output, batch = (
        jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts) for parts in (outputs, kept)
    )
    image_ids, subjects, actions = (np.char.decode(batch[name]).tolist() for name in _ORIGIN_FIELDS)
    _check_labels(split.name, image_ids, batch)
    poses = as_poses(output["crop"], output["depth"], setting)
    return Predictions(
        poses=redefine_poses(poses, split.name),
        labels=to_labels(batch, setting.side),
        image_ids=np.array(image_ids),
        groups=record_groups(subjects, actions, split.name),
        digest=records_digest(batch),
    )


def _check_labels(name: str, image_ids: Sequence[str], batch: dict[str, np.ndarray]) -> None:
    labels = [np.reshape(batch[field], (len(image_ids), -1)) for field in LABEL_FIELDS]
    valid = np.isfinite(np.concatenate(labels, axis=1)).all(axis=1) & (batch["box"][:, 2] > 0)
    if not valid.all():
        bad = [image_ids[i] for i in np.flatnonzero(~valid)]
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise UserError(
            f"{name} has labels that are not finite, or boxes without size, in "
            f"{', '.join(bad[:3])}{more}. Correct or remove these records and prepare it again."
        )


def save_predictions(path: Path, predictions: Predictions) -> None:
    """Writes predictions and labels as `.npz`, for other metrics and for comparisons."""
    poses, labels = predictions.poses._asdict(), predictions.labels._asdict()
    with atomic_write(path) as file:
        np.savez_compressed(
            file,
            image_id=predictions.image_ids,
            group=predictions.groups,
            digest=predictions.digest,
            **{f"predicted_{name}": array for name, array in poses.items()},
            **{f"true_{name}": array for name, array in labels.items()},
        )


def read_predictions(path: Path) -> Predictions:
    """Reads a file of `save_predictions`."""
    with np.load(path) as arrays:
        return Predictions(
            poses=Poses(*(arrays[f"predicted_{name}"] for name in Poses._fields)),
            labels=Labels(*(arrays[f"true_{name}"] for name in Labels._fields)),
            image_ids=arrays["image_id"],
            groups=arrays["group"],
            digest=str(arrays["digest"]),
        )
