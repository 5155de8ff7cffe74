"""What is compared: labelled and predicted poses in the network's crop, and in mm."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped

from pose3d_jax import geometry
from pose3d_jax.images.crop import into_square


class Labels(NamedTuple):
    """The labels of a split's records, in the network's crop.

    Attributes:
        joints: crop px.
        depth: normalised; zeros without `has_3d`.
        valid: annotated joints.
        joints_3d: mm, camera frame.
        has_3d: which have depth.
        head_size: crop px.
    """

    joints: Float[np.ndarray, "n 16 2"]
    depth: Float[np.ndarray, "n 16"]
    valid: Bool[np.ndarray, "n 16"]
    joints_3d: Float[np.ndarray, "n 16 3"]
    has_3d: Bool[np.ndarray, "n"]
    head_size: Float[np.ndarray, "n"]


class Poses(NamedTuple):
    """Predicted poses, of the network or of a baseline; joints are where the data set has them.

    Attributes:
        joints: crop px.
        depth: normalised.
        millimetres: root-relative.
    """

    joints: Float[np.ndarray, "n 16 2"]
    depth: Float[np.ndarray, "n 16"]
    millimetres: Float[np.ndarray, "n 16 3"]


class Setting(NamedTuple):
    """What scores depend on besides poses and labels.

    Attributes:
        side: of the network's crop, px.
        skeleton_size: `AvgSumLen`, mm.
        dataset: name of the split (`protocols.split_name`), which decides the protocol.
        with_depth: False for a network whose depth module is not trained (stage 1).
    """

    side: int
    skeleton_size: float
    dataset: str
    with_depth: bool = True


#: The fields of a record that `to_labels` reads.
LABEL_FIELDS = ("joints_2d", "box", "joints_valid", "joints_3d", "has_3d", "head_size")


def to_labels(batch: dict[str, Shaped[np.ndarray, "n ..."]], side: int) -> Labels:
    """The labels of stacked records, in the network's crop of `side` px."""
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
    side: int,
    skeleton_size: float,
    valid: Bool[np.ndarray, "n 16"] | None = None,
) -> Poses:
    """Poses from 2D joints and depths; `geometry.to_millimetres` has the arguments."""
    millimetres = geometry.to_millimetres(joints, depth, side, skeleton_size, valid)
    return Poses(joints, depth, np.asarray(millimetres))


def at_size_of(
    poses: Float[np.ndarray, "n 16 3"], truth: Float[np.ndarray, "n 16 3"]
) -> Float[np.ndarray, "n 16 3"]:
    """Poses scaled until their bones sum to the truth's: "global scale known" (Sec. 4.1.2)."""
    sizes, wanted = (np.asarray(geometry.bone_length_sum(pose)) for pose in (poses, truth))
    return poses * (wanted / np.where(sizes > 0, sizes, 1.0))[:, None, None]


def in_pixels(poses: Poses | Labels, side: int) -> Float[np.ndarray, "n 16 3"]:
    """2D joints and depths in one unit, crop px ("3D pixels" of Table 4)."""
    return np.concatenate([poses.joints, poses.depth[..., None] * side / 2], axis=-1)
