"""Baseline poses, and a lower bound on the error."""

import os
from collections.abc import Sequence

import ml_collections
import numpy as np

from pose3d_jax import geometry
from pose3d_jax.data.catalog import is_prepared
from pose3d_jax.data.sources import Chosen, open_domain
from pose3d_jax.evaluation.poses import (
    LABEL_FIELDS,
    Labels,
    Poses,
    Setting,
    as_poses,
    to_labels,
)
from pose3d_jax.evaluation.protocols import redefined_poses

#: How many training records baselines are made of, at most.
TRAINING_RECORDS = 10_000


def lab_labels(
    config: ml_collections.ConfigDict, data_dir: str | os.PathLike | None
) -> Labels | None:
    """Labels of the lab's training records, for baselines; None where it is not prepared."""
    section = config.data.lab
    if not is_prepared(section.name, data_dir):
        return None
    return training_labels(open_domain(section, data_dir).train, config.model.input_side)


def training_labels(source: Sequence, side: int) -> Labels:
    """The labels of training records that baselines are made of, evenly spaced over the split.

    Args:
        source: from `sources.open_source`.
        side: of the network's crop, px.
    """
    # A record goes as soon as its labels are read: images would fill the memory.
    rows = [[record[name] for name in LABEL_FIELDS] for record in Chosen(source, TRAINING_RECORDS)]
    return to_labels(
        {name: np.asarray(column) for name, column in zip(LABEL_FIELDS, zip(*rows))}, side
    )


def baselines(training: Labels | None, test: Labels, setting: Setting) -> dict[str, Poses]:
    """Baseline poses, and a lower bound on the error.

    Args:
        training: labels of lab training records; None where they are not there, and with them the
            first two baselines.
        test: labels of the records to predict.
        setting: the crop's side and `AvgSumLen`.

    Returns:
        "mean pose" of the training records in px, depth and mm; "true 2D, mean depth"; and "true
        2D, true depth", whose error is what weak perspective and the average size leave: a lower
        bound.
    """
    true_depth = as_poses(test.joints, test.depth, *setting[:2], test.valid)
    if training is None:
        return {"true 2D, true depth": true_depth}
    count = len(test.joints)
    mean_mm = np.asarray(geometry.relative_to_root(training.joints_3d)).mean(0)
    means = (training.joints.mean(0), training.depth.mean(0), mean_mm)
    # The lab's joints, as a network that was trained on them would have them.
    mean_pose = redefined_poses(
        Poses(*(np.broadcast_to(mean, (count, *mean.shape)) for mean in means)), setting.dataset
    )
    return {
        "mean pose": mean_pose,
        "true 2D, mean depth": as_poses(test.joints, mean_pose.depth, *setting[:2], test.valid),
        "true 2D, true depth": true_depth,
    }
