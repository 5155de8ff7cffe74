"""Baseline poses, and a lower bound on the error."""

import os
from collections.abc import Sequence

import ml_collections
import numpy as np

from pose3d_jax import geometry
from pose3d_jax.data.catalog import is_prepared
from pose3d_jax.data.sources import open_domain, subset
from pose3d_jax.evaluation.poses import Labels, Poses, Setting, as_poses, to_labels
from pose3d_jax.evaluation.predictions import read_labels
from pose3d_jax.evaluation.protocols import redefine_poses

#: Number of training records of which baselines are made, at most.
TRAINING_RECORDS = 10_000


def lab_labels(
    config: ml_collections.ConfigDict, data_dir: str | os.PathLike | None
) -> Labels | None:
    """Labels of the lab's training records; None where the data set is not prepared."""
    section = config.data.lab
    if not is_prepared(section.name, data_dir):
        return None
    return training_labels(open_domain(section, data_dir).train, config.model.input_side)


def training_labels(source: Sequence, side: int) -> Labels:
    """Labels of training records, evenly spaced over the split; `side` is that of the crop, px."""
    return to_labels(read_labels(subset(source, TRAINING_RECORDS)), side)


def baselines(training: Labels | None, test: Labels, setting: Setting) -> dict[str, Poses]:
    """Baseline poses, and a lower bound on the error.

    Args:
        training: labels of lab training records; without them the first two baselines are left
            out.
        test: labels of the records to predict.
        setting: how the poses are scored.

    Returns:
        "mean pose" of the training records in px, depth and mm; "true 2D, mean depth"; and "true
        2D, true depth", whose error is the lower bound that weak perspective and the average size
        leave.
    """
    true_depth = as_poses(test.joints, test.depth, setting, test.valid)
    if training is None:
        return {"true 2D, true depth": true_depth}
    count = len(test.joints)
    mean_mm = np.asarray(geometry.relative_to_root(training.joints_3d)).mean(0)
    means = (training.joints.mean(0), training.depth.mean(0), mean_mm)
    # The lab's joint definitions, as those of a network that was trained there.
    mean_pose = redefine_poses(
        Poses(*(np.broadcast_to(mean, (count, *mean.shape)) for mean in means)), setting.dataset
    )
    return {
        "mean pose": mean_pose,
        "true 2D, mean depth": as_poses(test.joints, mean_pose.depth, setting, test.valid),
        "true 2D, true depth": true_depth,
    }
