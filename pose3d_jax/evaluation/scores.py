"""The paper's metrics over a split: per-image numerators and denominators of each.

A table's cell is a mean over some of a split's images: those of an action, of a scene, all, or a
bootstrap sample. `measure` computes once what each image adds to the sum and to the divisor.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from pose3d_jax import geometry, metrics
from pose3d_jax.arrays import AnyArray
from pose3d_jax.evaluation.poses import Labels, Poses, Setting, as_poses, at_size_of, in_pixels
from pose3d_jax.evaluation.protocols import (
    NEITHER_PELVIS_NOR_THORAX,
    as_scored,
    joints_that_count,
    protocol_of,
)
from pose3d_jax.skeleton import ROOT, SYMMETRIC_LIMBS

#: One line about a split. mm but for percentages (PCK, 3DPCK, AUC) and ratios (the last four).
SUMMARY = (
    "PCK@0.2",
    "PCKh@0.5",
    "PCKh@0.5 weak perspective",
    "MPJPE",
    "MPJPE true 2D",
    "PA-MPJPE",
    "N-MPJPE",
    "3DPCK",
    "AUC",
    "symmetry",
    "symmetry true 2D",
    "bone sum",
    "bone sum true 2D",
    "depth spread",
    "depth correlation",
)

#: Side of the square in which Table 4 measures "3D pixels".
PIXEL_SIDE = 256

#: The joints at the limbs' ends.
LIMB_JOINTS = sorted({j for bones in SYMMETRIC_LIMBS.values() for bone in bones for j in bone})


class Measure(NamedTuple):
    """A metric's numerator and denominator for each image.

    Attributes:
        total: what each image adds to the sum.
        count: what it adds to the divisor.
    """

    total: Float[np.ndarray, "n"]
    count: Float[np.ndarray, "n"]

    def mean(self, images: Int[np.ndarray, "m"] | Bool[np.ndarray, "n"] | None = None) -> float:
        """The mean over some images, or all; NaN where nothing counts."""
        total, count = self if images is None else (self.total[images], self.count[images])
        return float(total.sum(dtype=np.float64) / count.sum()) if count.any() else float("nan")

    def interval(self, resamples: int = 1_000, seed: int = 0) -> tuple[float, float]:
        """The 95 % interval of the mean, by resampling images (percentile bootstrap).

        It covers the choice of images, not the randomness of training; frames of one video resemble
        each other and make it too narrow.
        """
        rng = np.random.default_rng(seed)
        size = len(self.total)
        # By the number of times that each image is drawn, a chunk at a time: a data set may have
        # a hundred thousand images.
        means = []
        for _ in range(resamples):
            drawn = np.bincount(rng.integers(0, size, size), minlength=size)
            count = drawn @ self.count
            means.append(drawn @ self.total / count if count else np.nan)
        low, high = np.nanpercentile(means, [2.5, 97.5]) if self.count.any() else (np.nan, np.nan)
        return float(low), float(high)


def per_image(values: Float[AnyArray, "n"], counted: Bool[np.ndarray, "n"]) -> Measure:
    """The mean of one value per image, over those that count."""
    return Measure(np.where(counted, np.asarray(values, np.float64), 0.0), counted.astype(float))


def per_joint(values: Float[np.ndarray, "n j"], counted: Bool[np.ndarray, "n j"]) -> Measure:
    """The mean over all joints that count, of all images together."""
    values = np.where(counted, np.asarray(values, np.float64), 0.0)
    return Measure(values.sum(-1), counted.sum(-1).astype(float))


def measure(poses: Poses, labels: Labels, setting: Setting) -> dict[str, Measure]:
    """All metrics of a split's predictions; metrics without labels are left out.

    Returns:
        The names of `SUMMARY`, and besides
        "PCKh@0.5 GROUP": percent, for the groups of Table 2, against where the joints are in the
        image (the true projection), whatever the network was trained towards. "PCKh@0.5 weak
        perspective" is the mean against where weak perspective draws the true pose, the other
        positions that a network may be trained towards (`examples.make_examples`);
        "PCK@0.2 GROUP": percent, on LSP alone, for the same groups (`metrics.pck`);
        "symmetry LIMB", and the same with " true 2D" or " px": mm, mm with the predicted depths at
        the labelled joints, and px of a crop of 256, for the limbs of Table 4.
        3DPCK and AUC follow MPI-INF-3DHP's protocol on every data set: poses at the truth's size,
        pelvis and thorax not counted. "bone sum" is the predicted bones' summed length over the
        truth's, in the crop, and "depth spread" the predicted depths' deviation over the truth's;
        both are 1 where depths are neither flattened nor exaggerated. "depth correlation", over
        the joints of an image, does not care.
    """
    found = _measure_2d(poses, labels)
    if protocol_of(setting.dataset).torso_pck:
        found |= _measure_torso(poses, labels)
    if setting.with_depth:
        found |= _measure_symmetry(poses, labels, setting)
        if labels.has_3d.any():
            found |= _measure_3d(poses, labels, setting)
    return found


def _measure_2d(poses: Poses, labels: Labels) -> dict[str, Measure]:
    flags = metrics.within_head(poses.joints, labels.joints, labels.head_size, labels.valid)
    return _by_group("PCKh@0.5", flags, metrics.PCKH_JOINTS)


def _measure_torso(poses: Poses, labels: Labels) -> dict[str, Measure]:
    """PCK@0.2, the metric of LSP."""
    flags = metrics.within_torso(poses.joints, labels.joints, labels.valid)
    return _by_group("PCK@0.2", flags, metrics.PCK_JOINTS)


def _by_group(
    name: str,
    flags: tuple[Bool[AnyArray, "n 16"], Bool[AnyArray, "n 16"]],
    groups: Mapping[str, Sequence[int]],
) -> dict[str, Measure]:
    """Measures of each group of joints, from which are correct and which count; and "mean"'s."""
    correct, counted = map(np.asarray, flags)
    found = {
        f"{name} {group}": per_joint(100.0 * correct[:, list(joints)], counted[:, list(joints)])
        for group, joints in groups.items()
    }
    return found | {name: found[f"{name} mean"]}


def _measure_symmetry(poses: Poses, labels: Labels, setting: Setting) -> dict[str, Measure]:
    everybody = np.ones(len(poses.joints), bool)
    # A data set whose poses are compared at the truth's size has none where there is no truth.
    known = labels.has_3d if labels.has_3d.any() else everybody
    in_crop = in_pixels(poses, setting.side) * (PIXEL_SIDE / setting.side)
    found = _limbs(metrics.symmetry(_scored(poses, labels, setting)), "", known)
    found |= _limbs(metrics.symmetry(in_crop), " px", everybody)
    with_true_2d = _scored(_with_true_2d(poses, labels, setting), labels, setting)
    labelled = labels.valid[:, LIMB_JOINTS].all(1)
    return found | _limbs(metrics.symmetry(with_true_2d), " true 2D", known & labelled)


def _limbs(
    differences: dict[str, Float[AnyArray, "n"]], suffix: str, counted: Bool[np.ndarray, "n"]
) -> dict[str, Measure]:
    """Measures of each limb's symmetry, and of their mean."""
    found = {
        f"symmetry {limb}{suffix}": per_image(difference, counted)
        for limb, difference in differences.items()
    }
    return found | {f"symmetry{suffix}": per_image(sum(differences.values()) / 4, counted)}


def _scored(poses: Poses, labels: Labels, setting: Setting) -> Float[np.ndarray, "n 16 3"]:
    return as_scored(poses.millimetres, labels.joints_3d, setting.dataset)


def _with_true_2d(poses: Poses, labels: Labels, setting: Setting) -> Poses:
    """The predicted depths at the labelled joints: the error of the depth module alone."""
    side, size = setting.side, setting.skeleton_size
    return as_poses(labels.joints, poses.depth, side, size, labels.valid)


def _measure_3d(poses: Poses, labels: Labels, setting: Setting) -> dict[str, Measure]:
    side, truth = setting.side, labels.joints_3d
    counted = joints_that_count(labels, setting.dataset)
    known = labels.has_3d & counted.any(1)  # One image without a joint leaves the means alone.
    ours = _scored(poses, labels, setting)
    with_true_2d = _with_true_2d(poses, labels, setting)
    at_true_2d = _scored(with_true_2d, labels, setting)
    errors = errors_of_pck(poses, labels, setting)
    of_pck = counted & NEITHER_PELVIS_NOR_THORAX  # Where nothing was predicted, too.

    has_bones = known & np.asarray(geometry.annotated_bones(labels.valid)).any(1)

    def bone_sum(poses):
        return metrics.bone_sum_ratio(in_pixels(poses, side), in_pixels(labels, side), labels.valid)

    return {
        "PCKh@0.5 weak perspective": _weak_perspective_pckh(poses, labels),
        "MPJPE": per_image(metrics.mpjpe(ours, truth, counted), known),
        "MPJPE true 2D": per_image(metrics.mpjpe(at_true_2d, truth, counted), known),
        "PA-MPJPE": per_image(metrics.pa_mpjpe(ours, truth, counted), known),
        "N-MPJPE": per_image(metrics.n_mpjpe(ours, truth, counted), known),
        "3DPCK": per_joint(100.0 * (errors < 150.0), of_pck),
        "AUC": per_joint(100.0 * np.asarray(metrics.under_curve(errors)), of_pck),
        "bone sum": per_image(bone_sum(poses), has_bones),
        "bone sum true 2D": per_image(bone_sum(with_true_2d), has_bones),
        "depth spread": Measure(poses.depth.std(1) * known, labels.depth.std(1) * known),
        "depth correlation": per_image(_correlation(poses.depth, labels.depth), known),
    }


def _weak_perspective_pckh(poses: Poses, labels: Labels) -> Measure:
    drawn = geometry.weak_perspective(labels.joints, labels.joints_3d, labels.valid)
    known = labels.has_3d & labels.valid[:, ROOT]
    correct, counted = metrics.within_head(
        poses.joints, drawn, labels.head_size, labels.valid & known[:, None]
    )
    joints = list(metrics.PCKH_JOINTS["mean"])
    return per_joint(100.0 * np.asarray(correct)[:, joints], np.asarray(counted)[:, joints])


def _correlation(
    one: Float[np.ndarray, "n 16"], other: Float[np.ndarray, "n 16"]
) -> Float[np.ndarray, "n"]:
    """Correlation over the joints of each image; 0 where either has no spread."""
    one, other = (x - x.mean(1, keepdims=True) for x in (one, other))
    spreads = np.sqrt((one**2).sum(1) * (other**2).sum(1))
    return (one * other).sum(1) / np.where(spreads > 0, spreads, 1.0)


def summarise(poses: Poses, labels: Labels, setting: Setting) -> dict[str, float]:
    """The means over a split, by the names of `SUMMARY`."""
    found = measure(poses, labels, setting)
    return {name: found[name].mean() for name in SUMMARY if name in found}


def errors_3d(poses: Poses, labels: Labels, setting: Setting) -> Float[np.ndarray, "n 16"]:
    """Every joint's error after aligning the roots, mm; NaN where it does not count."""
    scored = as_scored(poses.millimetres, labels.joints_3d, setting.dataset)
    errors = np.asarray(metrics.joint_errors(scored, labels.joints_3d))
    return np.where(joints_that_count(labels, setting.dataset), errors, np.nan)


def errors_of_pck(poses: Poses, labels: Labels, setting: Setting) -> Float[np.ndarray, "n 16"]:
    """The errors that 3DPCK counts: at the truth's size, without pelvis and thorax."""
    scored = as_scored(poses.millimetres, labels.joints_3d, setting.dataset)
    scored = at_size_of(scored, labels.joints_3d)
    errors = np.asarray(metrics.joint_errors(scored, labels.joints_3d))
    counted = joints_that_count(labels, setting.dataset) & NEITHER_PELVIS_NOR_THORAX
    return np.where(counted, errors, np.nan)


def errors_2d(poses: Poses, labels: Labels) -> Float[np.ndarray, "n 16"]:
    """Every joint's 2D error in head sizes; NaN where it does not count."""
    counted = labels.valid & (labels.head_size > 0)[:, None]
    distances = np.linalg.norm(poses.joints - labels.joints, axis=-1)
    heads = np.where(labels.head_size > 0, labels.head_size, 1.0)
    return np.where(counted, distances / heads[:, None], np.nan)
