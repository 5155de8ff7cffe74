"""Evaluation protocols of the data sets; everything specific to a data set is in this module.

A new data set needs a builder (`tfds_builders`) and, where the defaults of `Protocol` do not fit, a
row of `PROTOCOLS`.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import ml_collections
import numpy as np
from jaxtyping import Bool, Shaped

from pose3d_jax.evaluation.poses import Labels, Poses, Setting
from pose3d_jax.evaluation.published import HUMAN36M, LSP, MPI_INF_3DHP, MPII, Tables
from pose3d_jax.skeleton import (
    HUMAN36M_BONE_LENGTH_SUM,
    LEFT_HIP,
    NECK,
    NUM_JOINTS,
    PELVIS,
    RIGHT_HIP,
    THORAX,
)

NEITHER_PELVIS_NOR_THORAX = ~np.isin(np.arange(NUM_JOINTS), (PELVIS, THORAX))


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a split of a data set is evaluated."""

    test_split: str = "test"  # name of the held-out split
    #: The records have the spine in the thorax's place; the predicted thorax is replaced by the
    #: midpoint of pelvis and neck, as in the release.
    thorax_is_midway: bool = False
    #: The predicted pelvis and hips are moved by this share of the vector from pelvis to neck,
    #: because the data set has them higher (Sec. 4.1.2).
    hips_raised_by: float = 0.0
    #: `AvgSumLen` in mm to which predictions are scaled; None for that of the data on which the
    #: network was trained.
    bone_length_sum: float | None = None
    #: Predictions are scaled to the truth's size ("global scale known", Sec. 4.1.2).
    size_known: bool = False
    counts_pelvis_and_thorax: bool = True  # whether their 3D errors count
    #: Scene of each subject, for tables by scene; without scenes tables are by action.
    scenes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    #: PCK@0.2 is measured, too, the metric of Leeds Sports Pose (`metrics.pck`).
    torso_pck: bool = False
    #: Table → row → column → published number.
    published: Tables = dataclasses.field(default_factory=dict)


#: Protocol of the test split of each data set, for all its configurations.
PROTOCOLS = {
    "human36m": Protocol(
        thorax_is_midway=True,
        bone_length_sum=HUMAN36M_BONE_LENGTH_SUM,
        published=HUMAN36M,
    ),
    "mpi_inf_3dhp": Protocol(
        thorax_is_midway=True,
        hips_raised_by=0.2,
        size_known=True,
        counts_pelvis_and_thorax=False,
        scenes={
            "TS1": "Studio GS", "TS2": "Studio GS", "TS3": "Studio no GS", "TS4": "Studio no GS",
            "TS5": "Outdoor", "TS6": "Outdoor",
        },
        published=MPI_INF_3DHP,
    ),
    "lsp": Protocol(torso_pck=True, published=LSP),
    "mpii": Protocol(test_split="validation", published=MPII),
}  # fmt: skip


def protocol_of(dataset: str) -> Protocol:
    """Protocol of a split, by its name (`split_name`).

    Published numbers and changes of joint definitions belong to the test split: other splits have
    the joints of training labels, which networks predict.
    """
    name, _, split = dataset.partition(":")
    protocol = PROTOCOLS.get(name.split("/")[0], Protocol())
    if not split:
        return protocol
    protocol = dataclasses.replace(protocol, published={})
    if split.partition("[")[0] == protocol.test_split:
        return protocol
    return dataclasses.replace(protocol, thorax_is_midway=False, hips_raised_by=0.0)


def make_setting(config: ml_collections.ConfigDict, dataset: str, *, with_depth: bool) -> Setting:
    """The setting in which a network's predictions of a split are scored.

    Args:
        config: of the network.
        dataset: name of the split.
        with_depth: whether the depth module is trained.
    """
    own_size = protocol_of(dataset).bone_length_sum
    return Setting(
        side=config.model.input_side,
        bone_length_sum=own_size or config.data.bone_length_sum,
        dataset=dataset,
        with_depth=with_depth,
    )


def split_name(dataset: str, split: str = "") -> str:
    """Name of a split in results: the data set's name, with `:SPLIT` unless it is the test split.

    The split may be a slice, and the data set a configuration such as `human36m/every_64`.
    """
    return f"{dataset}:{split}" if split not in ("", protocol_of(dataset).test_split) else dataset


def split_directory(name: str) -> str:
    """A split's name as the name of a directory."""
    return name.replace("/", "-").replace(":", "-")


def redefine_poses(poses: Poses, dataset: str) -> Poses:
    """A network's poses with a data set's joint definitions (Sec. 4.1.2); mm stay root-relative.

    Not for labels, which have these definitions already.
    """
    protocol = protocol_of(dataset)

    def redefine(points):
        points = points.copy()
        raised = protocol.hips_raised_by * (points[:, NECK] - points[:, PELVIS])
        points[:, [PELVIS, RIGHT_HIP, LEFT_HIP]] += raised[:, None]
        if protocol.thorax_is_midway:
            points[:, THORAX] = (points[:, PELVIS] + points[:, NECK]) / 2
        return points

    joints, depth, millimetres = map(redefine, poses)
    return Poses(joints, depth, millimetres - millimetres[:, [PELVIS]])


def counted_joints(labels: Labels, dataset: str) -> Bool[np.ndarray, "n 16"]:
    """Joints whose 3D errors count."""
    counted = labels.valid & labels.has_3d[:, None]
    if protocol_of(dataset).counts_pelvis_and_thorax:
        return counted
    return counted & NEITHER_PELVIS_NOR_THORAX


def record_groups(
    subjects: Sequence[str], actions: Sequence[str], dataset: str
) -> Shaped[np.ndarray, "n"]:
    """Group of every record in tables: its scene where the data set has scenes, else its action."""
    scenes = protocol_of(dataset).scenes
    return np.array([scenes[subject] for subject in subjects] if scenes else list(actions))
