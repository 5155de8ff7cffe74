"""Scores of a network during training, and its final evaluation."""

import logging
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from pose3d_jax.checkpoints import TrainedNetwork
from pose3d_jax.checkpoints.stage import restore_variables
from pose3d_jax.data.sources import evenly_spaced, subset
from pose3d_jax.drawing.skeletons import contact_sheet
from pose3d_jax.evaluation import report, scores
from pose3d_jax.evaluation.baselines import training_labels
from pose3d_jax.evaluation.poses import Poses
from pose3d_jax.evaluation.predictions import Split, predict_split
from pose3d_jax.evaluation.protocols import make_setting, split_name
from pose3d_jax.evaluation.tables import Results
from pose3d_jax.files import atomic_write
from pose3d_jax.images.crop import out_of_square
from pose3d_jax.models.variables import Variables
from pose3d_jax.skeleton import NUM_JOINTS
from pose3d_jax.stages import Stage
from pose3d_jax.training.loop import Run
from pose3d_jax.training.progress import MetricsLog
from pose3d_jax.training.state import TrainState

log = logging.getLogger(__name__)

#: Images predicted at once, at least: prediction needs less memory than training.
BATCH_SIZE = 32


def validate(run: Run, stage: Stage, state: TrainState, step: int, metrics: MetricsLog) -> None:
    """Scores test records of both domains and draws a few, unless `metrics` has the scores."""
    trained = _trained(run, stage, state.variables)
    for name, split in _splits(run, run.config.run.evaluate_images).items():
        path = run.workdir / stage.name / "pictures" / f"{name}-{step:06d}.png"
        scored = metrics.has(step, f"{name}-test ")
        if scored and path.exists():
            continue
        predicted = predict_split(trained, split, _batch_size(run))
        setting = make_setting(run.config, split.name, with_depth=stage.with_depth)
        row = scores.summarise(predicted.poses, predicted.labels, setting)
        text = ", ".join(f"{key} {value:.4g}" for key, value in row.items())
        images = len(split.source)
        log.info("%s %d · %s-test (%d images): %s", stage.name, step, name, images, text)
        if jax.process_index() == 0:
            path.parent.mkdir(exist_ok=True)
            sheet = prediction_sheet(split.source, predicted.poses, run.config.model.input_side)
            with atomic_write(path) as file:
                Image.fromarray(sheet).save(file, format="PNG")
        if not scored:
            metrics.write(step, {f"{name}-test {key}": value for key, value in row.items()})


def final_results(run: Run, stage: Stage) -> Results:
    """The evaluation of a finished stage on all test records; computed unless it is on disk."""
    variables = restore_variables(run.workdir / stage.name, run.variables)
    trained = _trained(run, stage, variables)
    splits = list(_splits(run).values())
    out = run.workdir / stage.name / report.FINAL_DIRECTORY
    source = report.source_of(trained)
    return report.read_results(out, splits, source) or report.evaluate(
        trained,
        splits,
        out if jax.process_index() == 0 else None,
        source=source,
        training_labels=training_labels(run.domains["lab"].train, run.config.model.input_side),
        batch_size=_batch_size(run),
    )


def _trained(run: Run, stage: Stage, variables: Variables) -> TrainedNetwork:
    return TrainedNetwork(run.config, run.graphdef, variables, stage.with_depth)


def _splits(run: Run, limit: int | None = None) -> dict[str, Split]:
    # Images of one size for both: prediction is compiled once.
    return {
        name: Split(
            split_name(domain.name, run.config.data[name].test),
            subset(domain.test, limit),
            run.image_side,
        )
        for name, domain in run.domains.items()
    }


def _batch_size(run: Run) -> int:
    return max(run.config.data.batch_size, BATCH_SIZE)


def prediction_sheet(
    source: Sequence, poses: Poses, side: int, count: int = 8
) -> UInt8[np.ndarray, "h w 3"]:
    """A picture of records with labelled joints in the upper row, predicted ones in the lower.

    Args:
        source: the records, in the order of the poses.
        poses: their predictions.
        side: of the network's input, px.
        count: number of records, evenly spaced.
    """
    places = evenly_spaced(len(source), count)
    records = [source[int(i)] for i in places]
    boxes = np.stack([record["box"] for record in records])
    joints = out_of_square(poses.joints[places], boxes, side)
    predicted = [
        dict(record, joints_2d=points, joints_valid=np.ones(NUM_JOINTS, bool))
        for record, points in zip(records, joints)
    ]
    return contact_sheet([*records, *predicted], columns=len(records))
