"""The paper's metrics and related ones.

3D poses are in mm with any origin: every 3D metric aligns the roots (joint 6). `valid` selects the
joints that count; by default all do. Functions return a value per pose, or a percentage over all
joints of all poses.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from pose3d_jax import geometry
from pose3d_jax.arrays import AnyArray
from pose3d_jax.skeleton import (
    HEAD_TOP,
    LEFT_SHOULDER,
    NECK,
    NUM_JOINTS,
    PCKH_GROUPS,
    PELVIS,
    RIGHT_HIP,
    SYMMETRIC_LIMBS,
    THORAX,
)

#: Thresholds of AUC: 0, 5, …, 150 mm.
AUC_THRESHOLDS = tuple(range(0, 151, 5))

#: The joints of each column of Table 2; "mean" is over all except pelvis and thorax.
PCKH_JOINTS = PCKH_GROUPS | {
    "mean": tuple(joint for joint in range(NUM_JOINTS) if joint not in (PELVIS, THORAX))
}

_LIMB_JOINTS = tuple(
    joint for name, joints in PCKH_GROUPS.items() if name != "head" for joint in joints
)
#: The joints of PCK's columns. "mean" is over the twelve joints of the limbs; "mean with head" is
#: over the fourteen of Leeds Sports Pose, as published: its head is neck and head top.
PCK_JOINTS = PCKH_GROUPS | {
    "head": (NECK, HEAD_TOP),
    "mean": _LIMB_JOINTS,
    "mean with head": (NECK, HEAD_TOP, *_LIMB_JOINTS),
}


def joint_errors(
    pred: Float[AnyArray, "n 16 3"], target: Float[AnyArray, "n 16 3"]
) -> Float[Array, "n 16"]:
    """Distance of each joint after aligning the roots, mm.

    >>> truth = np.zeros((1, 16, 3))
    >>> joint_errors(truth + 5.0, truth).max()  # The position of the whole pose does not count.
    Array(0., dtype=float32)
    """
    difference = geometry.relative_to_root(pred) - geometry.relative_to_root(target)
    return jnp.linalg.norm(difference, axis=-1)


def masked_mean(
    values: Float[AnyArray, "*b"], valid: Bool[AnyArray, "*b"] | None, axis=None
) -> Array:
    """Mean over the valid entries; NaN where none is valid.

    >>> masked_mean(np.array([1.0, 2.0, 9.0]), np.array([True, True, False]))
    Array(1.5, dtype=float32)
    """
    if valid is None:
        return jnp.mean(values, axis=axis)
    count = jnp.sum(valid, axis=axis)
    total = jnp.sum(jnp.where(valid, values, 0.0), axis=axis)
    return jnp.where(count > 0, total / jnp.maximum(count, 1), jnp.nan)


def mpjpe(
    pred: Float[AnyArray, "n 16 3"],
    target: Float[AnyArray, "n 16 3"],
    valid: Bool[AnyArray, "n 16"] | None = None,
) -> Float[Array, "n"]:
    """MPJPE, "Protocol #1": mean joint error after aligning the roots, mm, per pose (Sec. 4.1.2).

    >>> truth = np.zeros((1, 16, 3))
    >>> pred = truth + 100.0
    >>> pred[0, 9] += [0.0, 32.0, 0.0]  # The head, 32 mm too low.
    >>> mpjpe(pred, truth)
    Array([2.], dtype=float32)
    """
    return masked_mean(joint_errors(pred, target), valid, axis=-1)


def _all_valid(pred, valid):
    return np.ones(pred.shape[:-1], bool) if valid is None else valid


def pa_mpjpe(
    pred: Float[AnyArray, "n 16 3"],
    target: Float[AnyArray, "n 16 3"],
    valid: Bool[AnyArray, "n 16"] | None = None,
) -> Float[Array, "n"]:
    """PA-MPJPE, "Protocol #2": mean joint error after a Procrustes alignment, mm, per pose.

    The best rotation, translation and scale; never a reflection.

    >>> truth = np.random.default_rng(0).normal(0.0, 300.0, (1, 16, 3))
    >>> turned = 1.1 * truth[..., [2, 1, 0]] * [1.0, 1.0, -1.0]
    >>> bool(mpjpe(turned, truth)[0] > 100.0), bool(pa_mpjpe(turned, truth)[0] < 0.1)
    (True, True)
    """
    target = geometry.relative_to_root(target)
    aligned = geometry.similarity_align(
        geometry.relative_to_root(pred), target, _all_valid(pred, valid)
    )
    return masked_mean(jnp.linalg.norm(aligned - target, axis=-1), valid, axis=-1)


def n_mpjpe(
    pred: Float[AnyArray, "n 16 3"],
    target: Float[AnyArray, "n 16 3"],
    valid: Bool[AnyArray, "n 16"] | None = None,
) -> Float[Array, "n"]:
    """N-MPJPE, "Protocol #3": mean joint error after aligning roots and scale, mm, per pose.

    >>> truth = np.random.default_rng(0).normal(0.0, 300.0, (1, 16, 3))
    >>> bool(mpjpe(1.1 * truth, truth)[0] > 10.0), bool(n_mpjpe(1.1 * truth, truth)[0] < 0.1)
    (True, True)
    """
    target = geometry.relative_to_root(target)
    scaled = geometry.scale_align(geometry.relative_to_root(pred), target, _all_valid(pred, valid))
    return masked_mean(jnp.linalg.norm(scaled - target, axis=-1), valid, axis=-1)


def pck_3d(
    pred: Float[AnyArray, "n 16 3"],
    target: Float[AnyArray, "n 16 3"],
    threshold: float = 150.0,
    valid: Bool[AnyArray, "n 16"] | None = None,
) -> Float[Array, ""]:
    """3DPCK: percentage of joints with an error below `threshold` mm after aligning the roots.

    >>> truth = np.zeros((1, 16, 3))
    >>> pred = truth.copy()
    >>> pred[0, :4] += 200.0
    >>> pck_3d(pred, truth)
    Array(75., dtype=float32)
    """
    return 100.0 * masked_mean((joint_errors(pred, target) < threshold) * 1.0, valid)


def auc_3d(
    pred: Float[AnyArray, "n 16 3"],
    target: Float[AnyArray, "n 16 3"],
    valid: Bool[AnyArray, "n 16"] | None = None,
) -> Float[Array, ""]:
    """Area under the 3DPCK curve: its mean at 0, 5, …, 150 mm, percent.

    A joint is correct where its error is *below* the threshold, as in MMPose. The root's error of
    0 is not below the threshold 0.

    >>> truth = np.zeros((1, 16, 3))
    >>> f"{auc_3d(truth, truth):.2f}"  # 30 of 31 thresholds.
    '96.77'
    """
    return 100.0 * masked_mean(auc_shares(joint_errors(pred, target)), valid)


def auc_shares(errors: Float[AnyArray, "n 16"]) -> Float[Array, "n 16"]:
    """Share of `AUC_THRESHOLDS` that exceed each joint's error in mm.

    >>> auc_shares(np.full((1, 16), 150.0)).max()
    Array(0., dtype=float32)
    """
    return jnp.mean((errors[..., None] < jnp.asarray(AUC_THRESHOLDS)) * 1.0, axis=-1)


def correct_joints(
    pred: Float[AnyArray, "n 16 2"],
    target: Float[AnyArray, "n 16 2"],
    reference: Float[AnyArray, "n"],
    valid: Bool[AnyArray, "n 16"],
    threshold: float,
) -> tuple[Bool[Array, "n 16"], Bool[Array, "n 16"]]:
    """Joints within `threshold` reference lengths of the truth, and joints that count.

    Args:
        pred: predicted joints, px.
        target: annotated joints, px.
        reference: length of each person in which distances are measured, px; people with a length
            of 0 do not count.
        valid: annotated joints.
        threshold: in reference lengths, inclusive.

    >>> truth, valid = np.zeros((1, 16, 2)), np.ones((1, 16), bool)
    >>> correct, counted = correct_joints(truth + 9.0, truth, np.array([30.0]), valid, 0.5)
    >>> bool(correct.all()), bool(counted.all())
    (True, True)
    """
    distance = jnp.linalg.norm(pred - target, axis=-1)
    reference = jnp.asarray(reference)[:, None]
    return distance <= threshold * reference, valid & (reference > 0)


def torso_length(
    joints: Float[AnyArray, "n 16 2"], valid: Bool[AnyArray, "n 16"]
) -> Float[Array, "n"]:
    """PCK's reference length: from left shoulder to right hip, px; 0 where not annotated.

    >>> joints = np.zeros((1, 16, 2))
    >>> joints[0, LEFT_SHOULDER] = 30, 40
    >>> float(torso_length(joints, np.ones((1, 16), bool))[0])
    50.0
    """
    annotated = valid[:, LEFT_SHOULDER] & valid[:, RIGHT_HIP]
    length = jnp.linalg.norm(joints[:, LEFT_SHOULDER] - joints[:, RIGHT_HIP], axis=-1)
    return jnp.where(annotated, length, 0.0)


def pckh(
    pred: Float[AnyArray, "n 16 2"],
    target: Float[AnyArray, "n 16 2"],
    head_size: Float[AnyArray, "n"],
    valid: Bool[AnyArray, "n 16"],
    threshold: float = 0.5,
) -> dict[str, Float[Array, ""]]:
    """PCKh: percentage of joints within `threshold` head sizes of the truth (Table 2).

    Args:
        pred: predicted joints, px.
        target: annotated joints, px.
        head_size: reference length of each person, px; people with a size of 0 do not count.
        valid: annotated joints.
        threshold: in head sizes.

    Returns:
        A percentage for each entry of `PCKH_JOINTS`; NaN where no joint counts.

    >>> truth, valid = np.zeros((1, 16, 2)), np.ones((1, 16), bool)
    >>> pred = truth.copy()
    >>> pred[0, 9] = 50.0  # The head top.
    >>> result = pckh(pred, truth, np.array([30.0]), valid)
    >>> float(result["head"]), float(result["wrist"])
    (0.0, 100.0)
    """
    return _percentages(correct_joints(pred, target, head_size, valid, threshold), PCKH_JOINTS)


def pck(
    pred: Float[AnyArray, "n 16 2"],
    target: Float[AnyArray, "n 16 2"],
    valid: Bool[AnyArray, "n 16"],
    threshold: float = 0.2,
) -> dict[str, Float[Array, ""]]:
    """PCK: percentage of joints within `threshold` torsos of the truth, the metric of LSP.

    The torso is the annotated distance from left shoulder to right hip (Yang and Ramanan, PAMI
    2013, with the reference length that evaluations on LSP use).

    Args:
        pred: predicted joints, px.
        target: annotated joints, px.
        valid: annotated joints; people without an annotated torso do not count.
        threshold: in torsos.

    Returns:
        A percentage for each entry of `PCK_JOINTS`; NaN where no joint counts.

    >>> truth, valid = np.zeros((1, 16, 2)), np.ones((1, 16), bool)
    >>> truth[0, 13] = [0.0, 100.0]
    >>> float(pck(truth + 15.0, truth, valid)["mean"])
    0.0
    """
    torso = torso_length(target, valid)
    return _percentages(correct_joints(pred, target, torso, valid, threshold), PCK_JOINTS)


def _percentages(flags, groups):
    """Percentage of correct joints in each group, from the flags of `correct_joints`."""
    correct, counted = flags

    def score(joints):
        index = jnp.asarray(joints)
        return 100.0 * masked_mean(correct[:, index] * 1.0, counted[:, index])

    return {name: score(joints) for name, joints in groups.items()}


def symmetry(pose: Float[AnyArray, "n 16 3"]) -> dict[str, Float[Array, "n"]]:
    """Left-right difference of each limb's bone (Table 4), in the pose's unit, per pose.

    A flat pose and the degenerate minimum of Eq. 3 score well, too: report it together with
    `bone_sum_ratio` and the error.

    >>> pose = np.zeros((1, 16, 3))
    >>> pose[0, 0] = [0.0, 50.0, 0.0]  # The right ankle: that shin is 50 mm long, the other 0.
    >>> float(symmetry(pose)["lower leg"][0])
    50.0
    """
    return {
        limb: jnp.abs(
            jnp.linalg.norm(pose[:, right[0]] - pose[:, right[1]], axis=-1)
            - jnp.linalg.norm(pose[:, left[0]] - pose[:, left[1]], axis=-1)
        )
        for limb, (right, left) in SYMMETRIC_LIMBS.items()
    }


def bone_sum_ratio(
    pred: Float[AnyArray, "n 16 3"],
    target: Float[AnyArray, "n 16 3"],
    valid: Bool[AnyArray, "n 16"] | None = None,
) -> Float[Array, "n"]:
    """Sum of the bones between valid joints over the truth's, per pose.

    Both poses are in the same unit, before scaling to mm. Above 1, depths are exaggerated (as when
    Eq. 3 collapses); below 1, they are flattened. NaN where no bone is valid.

    >>> truth = np.random.default_rng(0).normal(size=(1, 16, 3))
    >>> f"{bone_sum_ratio(2.0 * truth, truth)[0]:.3f}"
    '2.000'
    """
    return geometry.bone_length_sum(pred, valid) / geometry.bone_length_sum(target, valid)
