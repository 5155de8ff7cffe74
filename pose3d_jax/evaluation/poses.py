"""Labelled and predicted poses in the network's crop and in mm, which metrics compare."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped

from pose3d_jax import geometry
from pose3d_jax.images.crop import into_square


class Labels(NamedTuple):
    """The labels of a split's records, in the network's crop."""

    joints: Float[np.ndarray, "n 16 2"]  # crop px
    depth: Float[np.ndarray, "n 16"]  # normalised; zeros without `has_3d`
    valid: Bool[np.ndarray, "n 16"]  # annotated joints
    joints_3d: Float[np.ndarray, "n 16 3"]  # mm, camera frame
    has_3d: Bool[np.ndarray, "n"]  # which records have 3D labels
    head_size: Float[np.ndarray, "n"]  # crop px


class Poses(NamedTuple):
    """Predicted poses of a network or a baseline, with the joint definitions of the data set."""

    joints: Float[np.ndarray, "n 16 2"]  # crop px
    depth: Float[np.ndarray, "n 16"]  # normalised
    millimetres: Float[np.ndarray, "n 16 3"]  # root-relative


class Setting(NamedTuple):
    """How poses of a split are scored."""

    side: int  # of the network's crop, px
    bone_length_sum: float  # `AvgSumLen` to which predictions are scaled, mm (Sec. 4.1.2)
    dataset: str  # name of the split (`protocols.split_name`), which selects the protocol
    with_depth: bool = True  # False for a network without a trained depth module (stage 1)


#: The fields of a record that `to_labels` reads.
LABEL_FIELDS = ("joints_2d", "box", "joints_valid", "joints_3d", "has_3d", "head_size")


def to_labels(batch: dict[str, Shaped[np.ndarray, "n ..."]], side: int) -> Labels:
    """Labels of stacked records in the network's crop of `side` px."""
    joints = into_square(batch["joints_2d"], batch["box"], side)
    return Labels(
        joints=joints,
        depth=np.asarray(
            geometry.depth_target(joints, batch["joints_3d"], side, batch["joints_valid"])
        ),
        valid=batch["joints_valid"],
        joints_3d=batch["joints_3d"],
        has_3d=batch["has_3d"],
        head_size=batch["head_size"] * (side / batch["box"][:, 2]),
    )


def as_poses(
    joints: Float[np.ndarray, "n 16 2"],
    depth: Float[np.ndarray, "n 16"],
    setting: Setting,
    valid: Bool[np.ndarray, "n 16"] | None = None,
) -> Poses:
    """Poses from 2D joints (crop px) and normalised depths; see `geometry.to_millimetres`."""
    side, size = setting.side, setting.bone_length_sum
    millimetres = geometry.to_millimetres(joints, depth, side, size, valid)
    return Poses(joints, depth, np.asarray(millimetres))


def scale_to(
    poses: Float[np.ndarray, "n 16 3"], truth: Float[np.ndarray, "n 16 3"]
) -> Float[np.ndarray, "n 16 3"]:
    """Scales poses until their bones sum to the truth's: "global scale known" (Sec. 4.1.2)."""
    own, target = (np.asarray(geometry.bone_length_sum(pose)) for pose in (poses, truth))
    return poses * (target / np.where(own > 0, own, 1.0))[:, None, None]


def to_pixels(poses: Poses | Labels, side: int) -> Float[np.ndarray, "n 16 3"]:
    """2D joints and depths in crop px ("3D pixels" of Table 4)."""
    return np.concatenate([poses.joints, poses.depth[..., None] * side / 2], axis=-1)
