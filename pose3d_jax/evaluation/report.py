"""Evaluation of a network on data sets: predictions, tables and pictures in a directory.

Training's final table, `pose3d_jax.evaluate` and `pose3d_jax.ablate` call this module.
"""

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pose3d_jax.checkpoints import TrainedNetwork, load
from pose3d_jax.checkpoints.loading import passes
from pose3d_jax.errors import UserError
from pose3d_jax.evaluation import scores
from pose3d_jax.evaluation.baselines import baselines, lab_labels
from pose3d_jax.evaluation.pictures import draw_curves, draw_examples
from pose3d_jax.evaluation.poses import Labels, Setting
from pose3d_jax.evaluation.predictions import (
    PREDICTIONS_FILE,
    Predictions,
    Split,
    open_split,
    predict_split,
    read_labels,
    records_digest,
    save_predictions,
)
from pose3d_jax.evaluation.protocols import make_setting, split_directory
from pose3d_jax.evaluation.tables import Results, Table, as_markdown, result_tables, tabulate
from pose3d_jax.files import check_can_write, read_json, write_json, write_text
from pose3d_jax.models import precision

log = logging.getLogger(__name__)

#: Directory of an evaluation below a stage's directory by default, and that of training's own.
DIRECTORY = "evaluation"
FINAL_DIRECTORY = "final"
RESULTS_FILE = "results.json"
TABLES_FILE = "tables.md"


def evaluate(
    trained: TrainedNetwork,
    splits: Sequence[Split],
    out: Path | None,
    *,
    source: Mapping[str, Any],
    training_labels: Labels | None = None,
    batch_size: int = 32,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
    draw: bool = True,
) -> Results:
    """Evaluates a network on data sets.

    Args:
        trained: the network.
        splits: the records.
        out: directory of the results (`RESULTS_FILE`, `TABLES_FILE`) and, for each data set, of
            predictions and pictures. None writes nothing.
        source: from `source_of`; a part of the results.
        training_labels: of the lab's training records, for baselines.
        batch_size: people predicted at once, at most; results do not depend on it.
        flip: average the predictions of each image and of its mirror image.
        scales: average over crops this many times as large.
        draw: whether to draw pictures.

    Raises:
        UserError: a label is not finite, a box has no size, or `out` cannot be written; the last is
            checked before the first prediction.
    """
    places = {split.name: out and out / split_directory(split.name) for split in splits}
    for place in [out, *places.values()] if out else ():
        check_can_write(place)
        place.mkdir(parents=True, exist_ok=True)
    results = {**source, "method": trained.config.method, "data": {}}
    for split in splits:
        arithmetic = source.get("compute", "float32")
        log.info("%s: %d images, predicted in %s", split.name, len(split.source), arithmetic)
        setting = make_setting(trained.config, split.name, with_depth=trained.with_depth)
        predictions = predict_split(trained, split, batch_size, flip=flip, scales=scales)
        results["data"][split.name] = score(predictions, setting, training_labels)
        if place := places[split.name]:
            save_predictions(place / PREDICTIONS_FILE, predictions)
            if draw:
                poses, labels = predictions.poses, predictions.labels
                draw_examples(place, split.source, poses, labels, setting)
                draw_curves(place, {trained.config.method: poses}, labels, setting)
    if out:
        write_tables(out / TABLES_FILE, result_tables(results))
        write_json(out / RESULTS_FILE, results, checksummed=True)
    return results


def evaluate_checkpoint(
    checkpoint: str | os.PathLike,
    out: Path,
    *,
    data: Sequence[str] = (),
    data_dir: str | os.PathLike | None = None,
    limit: int | None = None,
    flip: bool | None = None,
    scales: Sequence[float] | None = None,
    compute: str | None = "auto",
    batch_size: int = 32,
    draw: bool = True,
) -> Results:
    """Evaluates a checkpoint on prepared data sets; see `evaluate`.

    Args:
        checkpoint: a stage's directory, a packed file or a name (`checkpoints.loading`).
        out: see `evaluate`.
        data: names for `open_split`; by default the test splits of the checkpoint's config.
        data_dir: see `open_split`.
        limit: see `open_split`.
        flip: see `evaluate`; None for the network's default (`loading.passes`).
        scales: see `evaluate`; None for the network's default.
        compute: type of the arithmetic; see `loading.load`.
        batch_size: see `evaluate`.
        draw: see `evaluate`.

    Raises:
        UserError: the checkpoint or a data set is missing or invalid.
    """
    trained = load(checkpoint, compute=compute)
    config = trained.config
    flip, scales = passes(config, flip, scales)
    # A run's lab and wild data set may be the same.
    names = data or list(dict.fromkeys([config.data.lab.name, config.data.wild.name]))
    splits = [open_split(name, data_dir, limit) for name in names]
    if twice := [s.name for i, s in enumerate(splits) if s.name in {t.name for t in splits[:i]}]:
        raise UserError(f"{twice[0]} is named twice.")
    return evaluate(
        trained,
        splits,
        out,
        source={
            "checkpoint": os.fspath(checkpoint),
            **source_of(trained, flip=flip, scales=scales),
        },
        training_labels=lab_labels(config, data_dir),
        batch_size=batch_size,
        flip=flip,
        scales=scales,
        draw=draw,
    )


def source_of(
    trained: TrainedNetwork, *, flip: bool = False, scales: Sequence[float] = (1.0,)
) -> dict[str, Any]:
    """What results depend on besides the records: the network, its arithmetic, flip and scales."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(trained.variables):
        digest.update(np.ascontiguousarray(jax.device_get(leaf)))
    compute = precision.resolve(trained.config.precision.compute)
    source = {"network": digest.hexdigest(), "flip": flip, "compute": compute}
    # Results of version 0.1 have no scales.
    return source if tuple(scales) == (1.0,) else source | {"scales": list(scales)}


def read_results(out: Path, splits: Sequence[Split], source: Mapping[str, Any]) -> Results | None:
    """The results in a directory of `evaluate`, if they are of the same network and records.

    Args:
        out: the directory.
        splits: the records; their labels are read.
        source: from `source_of`.
    """
    try:
        results = read_json(out / RESULTS_FILE, checksummed=True)
        digests = {name: result["records"] for name, result in results["data"].items()}
        if {name: results[name] for name in source} != dict(source):
            return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None  # There are none, or they are damaged: they are computed again.
    same = digests.keys() == {split.name for split in splits} and all(
        (out / split_directory(split.name) / PREDICTIONS_FILE).exists()
        and records_digest(read_labels(split.source)) == digests[split.name]
        for split in splits
    )
    return results if same else None


def score(
    predictions: Predictions, setting: Setting, training_labels: Labels | None = None
) -> Results:
    """Scores of a split's predictions.

    Returns:
        The number of "images", the hash of the "records", a row of each of the "tables", the 95 %
        "intervals" of the summary's means, and the summaries of the "baselines".
    """
    poses, labels = predictions.poses, predictions.labels
    measures = scores.compute_measures(poses, labels, setting)
    others = baselines(training_labels, labels, setting) if labels.has_3d.any() else {}
    return {
        "images": len(labels.joints),
        "records": predictions.digest,
        "tables": tabulate(measures, predictions.groups),
        "intervals": {name: measures[name].interval() for name in scores.UNITS if name in measures},
        "baselines": {
            name: scores.summarise(other, labels, setting) for name, other in others.items()
        },
    }


def write_tables(path: Path, tables: Sequence[Table]) -> None:
    """Writes tables as Markdown."""
    write_text(path, "\n\n".join(map(as_markdown, tables)) + "\n")
