"""The evaluation of a network on data sets: predictions, tables and pictures, kept in a directory.

Training's final table, `pose3d_jax.evaluate` and `pose3d_jax.ablate` all come from here.
"""

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pose3d_jax import metrics
from pose3d_jax.checkpoints import TrainedNetwork, load
from pose3d_jax.errors import UserError
from pose3d_jax.evaluation import charts, extremes, scores
from pose3d_jax.evaluation.baselines import baselines, lab_labels
from pose3d_jax.evaluation.poses import Labels, Poses, Setting, in_pixels
from pose3d_jax.evaluation.predictions import (
    PREDICTIONS_FILE,
    Predicted,
    Split,
    open_split,
    predict,
    save_predictions,
    setting_of,
)
from pose3d_jax.evaluation.protocols import protocol_of
from pose3d_jax.evaluation.published import KNOWN_DIFFERENCES
from pose3d_jax.evaluation.tables import ALL, Table, as_markdown, as_tables, tabulate
from pose3d_jax.files import read_json, write_json, write_text

log = logging.getLogger(__name__)

#: Below a stage's directory, where its evaluation is kept by default; and training's own.
DIRECTORY = "evaluation"
FINAL_DIRECTORY = "final"
RESULTS_FILE = "results.json"
TABLES_FILE = "tables.md"

#: By data set, what `score` returns; and what these depend on.
Results = dict[str, Any]


def evaluate(
    trained: TrainedNetwork,
    splits: Sequence[Split],
    out: Path | None,
    *,
    source: Mapping[str, Any],
    training_labels: Labels | None = None,
    batch_size: int = 32,
    flip: bool = False,
    draw: bool = True,
) -> Results:
    """Evaluates a network on data sets, and keeps what it finds in a directory.

    Args:
        trained: the network.
        splits: the records.
        out: receives the results (`RESULTS_FILE`, `TABLES_FILE`), and for each data set predictions
            and pictures. None keeps nothing.
        source: from `source_of`, kept with the results.
        training_labels: of the lab's training records, for baselines.
        batch_size: people predicted at once, at most; it changes no result.
        flip: average the predictions of each image and of its mirror image.
        draw: whether to leave pictures too.
    """
    results = {**source, "method": trained.config.method, "data": {}}
    for split in splits:
        log.info("%s: %d images", split.name, len(split.source))
        setting = setting_of(trained, split.name)
        predicted = predict(trained, split, batch_size, flip=flip)
        results["data"][split.name] = score(predicted, setting, training_labels)
        if out is None:
            continue
        place = out / directory_of(split.name)
        place.mkdir(parents=True, exist_ok=True)
        save_predictions(place / PREDICTIONS_FILE, predicted)
        if draw:
            poses, labels = predicted.poses, predicted.labels
            draw_examples(place, split.source, poses, labels, setting)
            draw_curves(place, {trained.config.method: poses}, labels, setting)
    if out is not None:
        write_tables(out / TABLES_FILE, tables_of(results))
        write_json(out / RESULTS_FILE, results, sealed=True)
    return results


def evaluate_checkpoint(
    checkpoint: str | os.PathLike,
    out: Path,
    *,
    data: Sequence[str] = (),
    data_dir: str | os.PathLike | None = None,
    limit: int | None = None,
    flip: bool = False,
    batch_size: int = 32,
    draw: bool = True,
) -> Results:
    """Evaluates a checkpoint on prepared data sets; see `evaluate`.

    Args:
        checkpoint: a stage's directory, a packed file or a name (`checkpoints.loading`).
        out: see `evaluate`.
        data: names for `open_split`; those that the checkpoint's config tests on by default.
        data_dir: where data sets are prepared; TFDS's own place by default.
        limit: see `open_split`.
        flip: see `evaluate`.
        batch_size: see `evaluate`.
        draw: see `evaluate`.

    Raises:
        UserError: the checkpoint or a data set is not as it should be.
    """
    trained = load(checkpoint)
    config = trained.config
    # A run's lab and wild may be one data set.
    names = data or list(dict.fromkeys([config.data.lab.name, config.data.wild.name]))
    splits = [open_split(name, data_dir, limit) for name in names]
    if twice := [s.name for i, s in enumerate(splits) if s.name in {t.name for t in splits[:i]}]:
        raise UserError(f"{twice[0]} is named twice.")
    return evaluate(
        trained,
        splits,
        out,
        source={"checkpoint": os.fspath(checkpoint), **source_of(trained, flip=flip)},
        training_labels=lab_labels(config, data_dir),
        batch_size=batch_size,
        flip=flip,
        draw=draw,
    )


def source_of(trained: TrainedNetwork, *, flip: bool = False) -> dict[str, Any]:
    """What the results of a network depend on besides the records: its numbers, and `flip`."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(trained.variables):
        digest.update(np.ascontiguousarray(jax.device_get(leaf)))
    return {"network": digest.hexdigest(), "flip": flip}


def kept(out: Path, splits: Sequence[Split], source: Mapping[str, Any]) -> Results | None:
    """What `evaluate` kept in a directory, where it is of the same network and records.

    Args:
        out: the directory.
        splits: the records.
        source: from `source_of`.
    """
    try:
        results = read_json(out / RESULTS_FILE, sealed=True)
        there = {name: found["images"] for name, found in results["data"].items()}
        same_source = {name: results[name] for name in source} == dict(source)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None  # None is there, or it cannot be read: it is computed again.
    same_records = there == {split.name: len(split.source) for split in splits}
    whole = all((out / directory_of(name) / PREDICTIONS_FILE).exists() for name in there)
    return results if same_source and same_records and whole else None


def directory_of(dataset: str) -> str:
    """A split's name as a directory."""
    return dataset.replace("/", "-").replace(":", "-")


def score(predicted: Predicted, setting: Setting, training_labels: Labels | None = None) -> Results:
    """What the tables say of a split's predictions.

    Returns:
        The number of "images"; a row of each of the "tables"; "intervals" of the summary's means;
        and the "baselines" beside it.
    """
    poses, labels = predicted.poses, predicted.labels
    found = scores.measure(poses, labels, setting)
    others = baselines(training_labels, labels, setting) if labels.has_3d.any() else {}
    return {
        "images": len(labels.joints),
        "tables": tabulate(found, predicted.groups),
        "intervals": {name: found[name].interval() for name in scores.SUMMARY if name in found},
        "baselines": {
            name: scores.summarise(other, labels, setting) for name, other in others.items()
        },
    }


def tables_of(results: Results, kinds: Sequence[str] | None = None) -> list[Table]:
    """The tables of `evaluate`'s results.

    Args:
        results: from `evaluate`.
        kinds: which tables ("summary", "table1", …); all of them by default.
    """
    tables = []
    for dataset, found in results["data"].items():
        ours = results["method"] + (" (ours)" if protocol_of(dataset).published else "")
        low, high = (
            {name: interval[end] for name, interval in found["intervals"].items()} for end in (0, 1)
        )
        rows = {
            ours: found["tables"],
            "95 % interval, from": {"summary": low},
            "95 % interval, to": {"summary": high},
            **{name: {"summary": row} for name, row in found["baselines"].items()},
        }
        if kinds is not None:
            rows = {name: {k: row[k] for k in kinds if k in row} for name, row in rows.items()}
        tables += as_tables(rows, dataset, found["images"])
    return tables


def beside_published(results: Results) -> list[Table]:
    """Our 3D error beside the paper's of the same method, and what is known to differ.

    Args:
        results: from `evaluate`.

    Returns:
        A table for each data set on which the paper has 3D errors in mm, if ours are there too.
    """
    tables = []
    method = results["method"]
    for dataset, found in results["data"].items():
        paper, summary = protocol_of(dataset).published, found["tables"]["summary"]
        if method not in paper.get("table1", {}) or "MPJPE" not in summary:
            continue
        theirs = {
            "MPJPE": paper["table1"][method][ALL],
            "PCKh@0.5": paper["table2"][method]["mean"],
        }
        columns = (*theirs, "PCKh@0.5 weak perspective")
        tables.append(
            Table(
                title=f"Beside the paper on {dataset} (MPJPE in mm, PCKh in %)",
                rows={
                    f"{method} (published)": theirs,
                    f"{method} (ours)": {name: summary.get(name, np.nan) for name in columns},
                },
                note="The paper does not say which 2D positions its PCKh compares with. Known "
                "differences between the preset `paper` and the release (docs/paper-preset.md has "
                "all):\n" + "\n".join(f"- {sentence}" for sentence in KNOWN_DIFFERENCES),
            )
        )
    return tables


def write_tables(path: Path, tables: Sequence[Table]) -> None:
    """Writes tables as Markdown."""
    write_text(path, "\n\n".join(map(as_markdown, tables)) + "\n")


def draw_examples(
    place: Path, records: Sequence, poses: Poses, labels: Labels, setting: Setting
) -> None:
    """Draws the best, median and worst images, by MPJPE or else by 2D error."""
    in_3d = setting.with_depth and labels.has_3d.any()
    errors = scores.errors_3d(poses, labels, setting) if in_3d else scores.errors_2d(poses, labels)
    counted = np.isfinite(errors).any(1)
    means = np.full(len(errors), np.nan)
    means[counted] = np.nanmean(errors[counted], axis=1)
    if counted.any():
        figure = extremes.draw(
            records,
            poses,
            labels,
            means,
            side=setting.side,
            unit="mm" if in_3d else "head sizes",
            with_depth=setting.with_depth,
        )
        charts.save(figure, place / "examples.png")


def draw_curves(
    place: Path, predicted: Mapping[str, Poses], labels: Labels, setting: Setting
) -> None:
    """Draws errors per joint, PCK curves, and the distributions of bone lengths.

    Args:
        place: directory of the pictures.
        predicted: poses by the name of the method that predicted them.
        labels: of the same images.
        setting: how they are scored.
    """
    of_heads = {name: scores.errors_2d(poses, labels) for name, poses in predicted.items()}
    if np.isfinite(next(iter(of_heads.values()))).any():
        title = f"2D: joints within a share of the head's size, {setting.dataset}"
        curves = charts.pck_curves(of_heads, limit=1.0, unit="head sizes", mark=0.5, title=title)
        charts.save(curves, place / "pckh.png")
    if not (setting.with_depth and labels.has_3d.any()):
        return
    errors = {name: scores.errors_3d(poses, labels, setting) for name, poses in predicted.items()}
    figure = charts.joint_errors(errors, f"Error per joint, {setting.dataset}")
    charts.save(figure, place / "joints.png")
    title = f"3D, at the truth's size: joints within a distance of it, {setting.dataset}"
    errors = {
        name: scores.errors_of_pck(poses, labels, setting) for name, poses in predicted.items()
    }
    figure = charts.pck_curves(errors, limit=300.0, unit="mm", mark=150.0, title=title)
    charts.save(figure, place / "pck.png")
    charts.save(_bones(predicted, labels, setting), place / "bones.png")


def _bones(predicted: Mapping[str, Poses], labels: Labels, setting: Setting):
    known = labels.has_3d & labels.valid.all(1)
    poses = {name: poses.millimetres[known] for name, poses in predicted.items()}
    truth = in_pixels(labels, setting.side)[known]
    sums = {
        name: np.asarray(metrics.bone_sum_ratio(in_pixels(poses, setting.side)[known], truth))
        for name, poses in predicted.items()
    }
    true_poses = {charts.TRUTH: labels.joints_3d[known]}
    return charts.bones(true_poses | poses, sums, f"Bone lengths, {setting.dataset}")
