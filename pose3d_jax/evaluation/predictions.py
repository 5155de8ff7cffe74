"""A trained network's predictions of a split, beside the split's labels; kept on disk."""

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from pose3d_jax import processors
from pose3d_jax.checkpoints import TrainedNetwork
from pose3d_jax.data.batches import FIELDS, evaluation_batches
from pose3d_jax.data.catalog import open_dataset
from pose3d_jax.data.sources import Chosen, open_source
from pose3d_jax.errors import UserError
from pose3d_jax.evaluation.poses import LABEL_FIELDS, Labels, Poses, Setting, as_poses, to_labels
from pose3d_jax.evaluation.protocols import groups_of, protocol_of, redefined_poses, split_name
from pose3d_jax.files import written_whole
from pose3d_jax.images.boxes import Person
from pose3d_jax.prediction.batches import Batches
from pose3d_jax.training.progress import Pace

log = logging.getLogger(__name__)

PREDICTIONS_FILE = "predictions.npz"
#: Between reports of progress, while a long split is predicted.
SECONDS_BETWEEN_REPORTS = 20
#: Threads that read records, at most: each has two batches waiting, of up to 25 MB.
MOST_READERS = 16

#: Where a record comes from.
_ORIGIN = ("image_id", "subject", "action")


def setting_of(trained: TrainedNetwork, dataset: str) -> Setting:
    """The setting in which a network's predictions on a data set are scored."""
    return Setting(
        side=trained.config.model.input_side,
        skeleton_size=trained.config.data.bone_length_sum,
        dataset=dataset,
        with_depth=trained.with_depth,
    )


class Split(NamedTuple):
    """A split of a prepared data set.

    Attributes:
        name: of the data set, and of the split if it is not the protocol's (`split_name`).
        source: its records.
        image_side: of its images, px.
    """

    name: str
    source: Sequence
    image_side: int


class Predicted(NamedTuple):
    """Predictions and labels of a split, in its order.

    Attributes:
        poses: the network's.
        labels: the records'.
        image_ids: of every record.
        groups: the scene of every record where the data set has scenes, else its action.
    """

    poses: Poses
    labels: Labels
    image_ids: Shaped[np.ndarray, "n"]
    groups: Shaped[np.ndarray, "n"]


def open_split(name: str, data_dir: str | os.PathLike | None, limit: int | None = None) -> Split:
    """Opens a data set's held-out split.

    Args:
        name: the data set's, or `NAME:SPLIT` for another of its splits.
        data_dir: where data sets are prepared; TFDS's own place by default.
        limit: take this many records, spread evenly over the split, instead of all.

    Raises:
        UserError: it is not prepared, or has no records.
    """
    dataset, _, split = name.partition(":")
    builder = open_dataset(dataset, data_dir)
    split = split or protocol_of(dataset).test_split
    if not builder.info.splits.get(split):
        have = ", ".join(builder.info.splits) or "none"
        raise UserError(f"{dataset} has no records in the split {split!r}; it has {have}.")
    return Split(
        name=split_name(dataset, split),
        source=Chosen(open_source(builder, split), limit),
        image_side=int(builder.info.metadata["image_side"]),
    )


def predict(
    trained: TrainedNetwork, split: Split, batch_size: int, *, flip: bool = False
) -> Predicted:
    """Predicts a split as `Predictor` does; reads every record once and keeps no image.

    Args:
        trained: the network.
        split: the records.
        batch_size: people predicted at once, at most; it changes no result.
        flip: average the predictions of each image and of its mirror image.

    Raises:
        UserError: a label is not finite, or a box has no size.
    """
    side, skeleton_size = setting_of(trained, split.name)[:2]
    network = Batches(trained.graphdef, trained.variables, side, batch_size, flip=flip)
    outputs, kept = [], []
    batches = evaluation_batches(
        split.source,
        batch_size=batch_size,
        image_side=split.image_side,
        threads=min(processors.usable(), MOST_READERS),
        fields=(*FIELDS, *_ORIGIN),
    )
    count = len(split.source)
    pace, reported = Pace(-(-count // batch_size), 0, batch_size), time.monotonic()
    for done, (batch, real) in enumerate(batches, 1):
        people = [Person(number, square) for number, square in enumerate(batch["box"][:real])]
        sizes = np.full(real, skeleton_size, np.float32)
        outputs.append(network(list(batch["image"]), people, sizes)._asdict())
        kept.append({name: batch[name][:real] for name in (*LABEL_FIELDS, *_ORIGIN)})
        if done == 1:
            pace.restart(done)  # The first batch compiles.
        elif time.monotonic() - reported > SECONDS_BETWEEN_REPORTS:
            log.info("%d of %d images · %s", done * batch_size, count, pace.text(done))
            reported = time.monotonic()
    output, batch = _concatenate(outputs), _concatenate(kept)
    image_ids, subjects, actions = (np.char.decode(batch[name]).tolist() for name in _ORIGIN)
    _check_labels(split.name, image_ids, batch)
    poses = as_poses(output["crop"], output["depth"], side, skeleton_size)
    return Predicted(
        poses=redefined_poses(poses, split.name),
        labels=to_labels(batch, side),
        image_ids=np.array(image_ids),
        groups=groups_of(subjects, actions, split.name),
    )


def _check_labels(name: str, image_ids: Sequence[str], batch: dict[str, np.ndarray]) -> None:
    labels = [np.reshape(batch[field], (len(image_ids), -1)) for field in LABEL_FIELDS]
    sound = np.isfinite(np.concatenate(labels, axis=1)).all(axis=1) & (batch["box"][:, 2] > 0)
    if not sound.all():
        bad = [image_ids[i] for i in np.flatnonzero(~sound)]
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise UserError(
            f"{name} has labels that are not finite, or boxes of no size, in "
            f"{', '.join(bad[:3])}{more}. Repair or leave out these records, and prepare it again."
        )


def _concatenate(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def save_predictions(path: Path, predicted: Predicted) -> None:
    """Keeps predictions and labels, for other metrics than ours."""
    poses, labels, image_ids, groups = predicted
    with written_whole(path) as file:
        np.savez_compressed(
            file,
            image_id=image_ids,
            group=groups,
            **{f"predicted_{name}": array for name, array in poses._asdict().items()},
            **{f"true_{name}": array for name, array in labels._asdict().items()},
        )


def read_predictions(path: Path) -> Predicted:
    """Reads what `save_predictions` wrote."""
    with np.load(path) as arrays:
        return Predicted(
            poses=Poses(*(arrays[f"predicted_{name}"] for name in Poses._fields)),
            labels=Labels(*(arrays[f"true_{name}"] for name in Labels._fields)),
            image_ids=arrays["image_id"],
            groups=arrays["group"],
        )
