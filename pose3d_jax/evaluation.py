"""The evaluation of a checkpoint on a data set: predictions, and what the tables say of them."""

import json
import logging
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import ml_collections
import numpy as np

from pose3d_jax import pictures, published, scoring, training
from pose3d_jax.checkpoints import read_config, restore_network
from pose3d_jax.errors import UserError, naming
from pose3d_jax.inference import abstract_network
from pose3d_jax.input_pipeline import Chosen, open_domain, open_source
from pose3d_jax.measures import SUMMARY, measure, summarise
from pose3d_jax.scoring import Labels, Poses, Protocol
from pose3d_jax.stages import get_stage
from pose3d_jax.tables import Table, as_tables, tabulate
from pose3d_jax.training import TrainState
from tfds_builders.catalog import is_prepared, open_dataset
from tfds_builders.mpi_inf_3dhp.mpi_inf_3dhp_dataset_builder import SCENES

log = logging.getLogger(__name__)

#: The held-out split of every data set.
TEST_SPLITS = {
    "human36m": "test",
    "mpi_inf_3dhp": "test",
    "mpii": "validation",
    "synthetic": "test",
}

RESULTS_FILE = "results.json"
TABLES_FILE = "tables.md"
PREDICTIONS_FILE = "predictions.npz"

Results = dict[str, Any]


class Trained(NamedTuple):
    """A checkpoint, ready to predict.

    Attributes:
        config: that made it.
        state: parameters and statistics; nothing to train on with.
        predict: from `training.make_predict_step`.
        with_depth: whether its stage trains the depth module.
    """

    config: ml_collections.ConfigDict
    state: TrainState
    predict: Any
    with_depth: bool


class Split(NamedTuple):
    """A split of a prepared data set.

    Attributes:
        name: of the data set.
        source: its records.
        image_side: of its images, px.
        groups: the scene of every record where the data set has scenes, else its action.
        image_ids: of every record.
    """

    name: str
    source: Sequence
    image_side: int
    groups: np.ndarray
    image_ids: np.ndarray


def load(checkpoint: str | os.PathLike, *, flip: bool = False) -> Trained:
    """Loads the newest checkpoint of a stage.

    Args:
        checkpoint: a stage's directory, or a converted one.
        flip: average the predictions of each image and of its mirror image.

    Raises:
        UserError: there is no whole checkpoint, or it is not of its config's network.
    """
    config = read_config(checkpoint)
    network = abstract_network(config)
    params, stats = restore_network(checkpoint, network.params, network.stats)
    state = TrainState(jnp.zeros((), jnp.int32), params, stats, opt_state=())
    return Trained(
        config=config,
        state=training.replicate(state),
        predict=training.make_predict_step(config, network, flip=flip),
        with_depth=get_stage(config, len(config.stages)).with_depth,
    )


def open_split(name: str, data_dir: str | None, limit: int | None = None) -> Split:
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
    split = split or TEST_SPLITS[dataset.split("/")[0]]
    if not builder.info.splits.get(split):
        have = ", ".join(builder.info.splits) or "none"
        raise UserError(f"{dataset} has no records in the split {split!r}; it has {have}.")
    source = Chosen(open_source(builder, split), limit)
    records = [source[i] for i in range(len(source))]
    scenes = {subject: scene for scene, subjects in SCENES.items() for subject in subjects}
    groups = [
        scenes[record["subject"].decode()]
        if dataset == "mpi_inf_3dhp"
        else record["action"].decode()
        for record in records
    ]
    return Split(
        name=dataset,
        source=source,
        image_side=int(builder.info.metadata["image_side"]),
        groups=np.array(groups),
        image_ids=np.array([record["image_id"].decode() for record in records]),
    )


def directory_of(dataset: str) -> str:
    """A data set's name as a directory."""
    return dataset.replace("/", "-")


def lab_labels(config: ml_collections.ConfigDict, data_dir: str | None) -> Labels | None:
    """Labels of the lab's training records, for yardsticks; None where it is not prepared."""
    section = config.data.lab
    if not is_prepared(section.name, data_dir):
        return None
    domain = open_domain(section, data_dir or "")
    return scoring.training_labels(domain.train, config.model.input_side)


def evaluate(
    checkpoint: str | os.PathLike,
    out: Path,
    *,
    data: Sequence[str] = (),
    data_dir: str | None = None,
    limit: int | None = None,
    flip: bool = False,
    batch_size: int = 32,
    draw: bool = True,
) -> Results:
    """Evaluates a checkpoint on data sets, and keeps what it finds in a directory.

    Args:
        checkpoint: a stage's directory, or a converted one.
        out: receives the results, and for each data set predictions and pictures.
        data: names for `open_split`; those that the checkpoint's config tests on by default.
        data_dir: where data sets are prepared; TFDS's own place by default.
        limit: see `open_split`.
        flip: see `load`.
        batch_size: rounded up to a multiple of this host's devices; it changes no result.
        draw: whether to leave pictures too.

    Returns:
        By data set, what `score` returns; and what these depend on.

    Raises:
        UserError: the checkpoint or a data set is not as it should be.
    """
    trained = load(checkpoint, flip=flip)
    config = trained.config
    names = data or [config.data.lab.name, config.data.wild.name]
    splits = [open_split(name, data_dir, limit) for name in names]
    training_labels = lab_labels(config, data_dir)
    results = {
        "checkpoint": os.fspath(checkpoint), "method": config.method, "flip": flip, "data": {}
    }  # fmt: skip
    for split in splits:
        log.info("%s: %d images", split.name, len(split.source))
        place = out / directory_of(split.name)
        place.mkdir(parents=True, exist_ok=True)
        protocol = protocol_of(config, split.name, trained.with_depth)
        poses, labels = predict(trained, split, protocol, batch_size)
        results["data"][split.name] = score(poses, labels, protocol, split.groups, training_labels)
        save_predictions(place / PREDICTIONS_FILE, split, poses, labels)
        if draw:
            pictures.draw_examples(place, split.source, poses, labels, protocol)
            pictures.draw_curves(place, {config.method: poses}, labels, protocol)
    write_json(out / RESULTS_FILE, results)
    return results


def protocol_of(config: ml_collections.ConfigDict, dataset: str, with_depth: bool) -> Protocol:
    """How the predictions of a config's network are scored on a data set."""
    return Protocol(
        side=config.model.input_side,
        skeleton_size=config.data.bone_length_sum,
        dataset=dataset,
        with_depth=with_depth,
    )


def predict(
    trained: Trained, split: Split, protocol: Protocol, batch_size: int
) -> tuple[Poses, Labels]:
    """Predictions and labels of a split, in its order."""
    return scoring.predict_split(
        trained.predict,
        trained.state,
        split.source,
        side=protocol.side,
        skeleton_size=protocol.skeleton_size,
        batch_size=batch_size,
        image_side=split.image_side,
        threads=os.cpu_count() or 1,
    )


def score(
    poses: Poses,
    labels: Labels,
    protocol: Protocol,
    groups: np.ndarray,
    training_labels: Labels | None = None,
) -> Results:
    """What the tables say of a split's predictions.

    Returns:
        The number of "images"; a row of each of the "tables"; "intervals" of the summary's means;
        and the "yardsticks" beside it.
    """
    found = measure(poses, labels, protocol)
    others = scoring.yardsticks(training_labels, labels, protocol) if labels.has_3d.any() else {}
    return {
        "images": len(labels.joints),
        "tables": tabulate(found, groups),
        "intervals": {name: found[name].interval() for name in SUMMARY if name in found},
        "yardsticks": {name: summarise(other, labels, protocol) for name, other in others.items()},
    }


def tables_of(results: Results) -> list[Table]:
    """The tables of `evaluate`'s results."""
    tables = []
    for dataset, found in results["data"].items():
        ours = results["method"] + (" (ours)" if published.has(dataset) else "")
        low, high = (
            {name: interval[end] for name, interval in found["intervals"].items()} for end in (0, 1)
        )
        rows = {
            ours: found["tables"],
            "95 % interval, from": {"summary": low},
            "95 % interval, to": {"summary": high},
            **{name: {"summary": row} for name, row in found["yardsticks"].items()},
        }
        tables += as_tables(rows, dataset, found["images"])
    return tables


def save_predictions(path: Path, split: Split, poses: Poses, labels: Labels) -> None:
    """Keeps predictions and labels, for other measures than ours."""
    partial = path.with_suffix(".partial.npz")
    with naming(path):
        np.savez_compressed(
            partial,
            image_id=split.image_ids,
            group=split.groups,
            **{f"predicted_{name}": array for name, array in poses._asdict().items()},
            **{f"true_{name}": array for name, array in labels._asdict().items()},
        )
        partial.rename(path)


def read_predictions(path: Path) -> tuple[Poses, Labels]:
    """What `save_predictions` kept."""
    with np.load(path) as arrays:
        return (
            Poses(*(arrays[f"predicted_{name}"] for name in Poses._fields)),
            Labels(*(arrays[f"true_{name}"] for name in Labels._fields)),
        )


def write_json(path: Path, tree: Any) -> None:
    """Writes JSON, whole or not at all; numbers that are not finite become null."""
    partial = path.with_suffix(".partial")
    with naming(path):
        partial.write_text(json.dumps(_map_leaves(tree, _finite), indent=2) + "\n")
        partial.rename(path)


def read_json(path: Path) -> Any:
    """What `write_json` wrote; null is not a number."""
    return _map_leaves(json.loads(path.read_text()), lambda x: math.nan if x is None else x)


def _map_leaves(tree: Any, function: Callable[[Any], Any]) -> Any:
    if isinstance(tree, dict):
        return {name: _map_leaves(value, function) for name, value in tree.items()}
    if isinstance(tree, tuple | list):
        return [_map_leaves(value, function) for value in tree]
    return function(tree)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
