"""How each data set is evaluated: everything specific to a data set is in this module.

A new data set is one builder (`tfds_builders`) and, where the defaults of `Protocol` do not fit,
one row of `PROTOCOLS`.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Shaped

from pose3d_jax.evaluation.poses import Labels, Poses, at_size_of
from pose3d_jax.evaluation.published import HUMAN36M, LSP, MPI_INF_3DHP, MPII, Tables
from pose3d_jax.skeleton import NECK, NUM_JOINTS, PELVIS, THORAX

HIPS = (2, 3)
NEITHER_PELVIS_NOR_THORAX = ~np.isin(np.arange(NUM_JOINTS), (PELVIS, THORAX))


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How one data set is evaluated.

    Attributes:
        test_split: the held-out split.
        thorax_is_midway: its records hold another joint in the thorax's place; predictions are
            scored with the midpoint of pelvis and neck there, as in the release.
        hips_raised_by: the predicted pelvis and hips are moved towards the neck by this share of
            the way from pelvis to neck, because the data set has them higher (Sec. 4.1.2).
        size_known: predictions are compared at the truth's size ("global scale known", Sec. 4.1.2).
        counts_pelvis_and_thorax: whether their 3D errors count.
        scenes: scene of each subject, for tables by scene; without scenes tables are by action.
        torso_pck: PCK@0.2 is measured as well, the metric of Leeds Sports Pose (`metrics.pck`).
        published: table → row → column → number to stand beside ours.
    """

    test_split: str = "test"
    thorax_is_midway: bool = False
    hips_raised_by: float = 0.0
    size_known: bool = False
    counts_pelvis_and_thorax: bool = True
    scenes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    torso_pck: bool = False
    published: Tables = dataclasses.field(default_factory=dict)


#: By data set, whatever its configuration.
PROTOCOLS = {
    # Its test records hold the spine joint in the thorax's place.
    "human36m": Protocol(thorax_is_midway=True, published=HUMAN36M),
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
    """The protocol of a data set, by the name of a split of it (`split_name`).

    Published numbers are of the protocol's own split alone.
    """
    name, _, other_split = dataset.partition(":")
    protocol = PROTOCOLS.get(name.split("/")[0], Protocol())
    return dataclasses.replace(protocol, published={}) if other_split else protocol


def split_name(dataset: str, split: str = "") -> str:
    """A split's name in results: the data set's, and of another split than the protocol's its own.

    Args:
        dataset: `mpii`, or a configuration, `human36m/every_64`.
        split: of the data set; the protocol's by default.
    """
    return f"{dataset}:{split}" if split not in ("", protocol_of(dataset).test_split) else dataset


def redefined(points: Float[np.ndarray, "n 16 *d"], dataset: str) -> Float[np.ndarray, "n 16 *d"]:
    """A network's joints, in 2D or 3D, or their depths, where a data set has them (Sec. 4.1.2).

    Not for what stands at the data set's own joints already.
    """
    protocol = protocol_of(dataset)
    points = points.copy()
    raised = protocol.hips_raised_by * (points[:, NECK] - points[:, PELVIS])
    points[:, [PELVIS, *HIPS]] += raised[:, None]
    if protocol.thorax_is_midway:
        points[:, THORAX] = (points[:, PELVIS] + points[:, NECK]) / 2
    return points


def redefined_poses(poses: Poses, dataset: str) -> Poses:
    """A network's poses with the joints of a data set; mm stay root-relative."""
    joints, depth, millimetres = (redefined(field, dataset) for field in poses)
    return Poses(joints, depth, millimetres - millimetres[:, [PELVIS]])


def as_scored(
    poses: Float[np.ndarray, "n 16 3"], truth: Float[np.ndarray, "n 16 3"], dataset: str
) -> Float[np.ndarray, "n 16 3"]:
    """Poses at the size at which a data set's protocol compares them with the truth.

    Args:
        poses: mm, with the data set's joints.
        truth: mm.
        dataset: the data set's name.
    """
    return at_size_of(poses, truth) if protocol_of(dataset).size_known else poses


def joints_that_count(labels: Labels, dataset: str) -> Bool[np.ndarray, "n 16"]:
    """The joints whose 3D errors count."""
    counted = labels.valid & labels.has_3d[:, None]
    if protocol_of(dataset).counts_pelvis_and_thorax:
        return counted
    return counted & NEITHER_PELVIS_NOR_THORAX


def groups_of(subjects: list[str], actions: list[str], dataset: str) -> Shaped[np.ndarray, "n"]:
    """The row of every record in tables by group: its scene where there are scenes, its action."""
    scenes = protocol_of(dataset).scenes
    return np.array([scenes[subject] for subject in subjects] if scenes else actions)
