"""The paper's metrics over a split: numerators and denominators per image.

A table's cell is a mean over images of a split: those of an action, of a scene, all, or a bootstrap
sample. `compute_measures` computes once what each image adds to the sum and to the divisor.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from pose3d_jax import geometry, metrics
from pose3d_jax.arrays import AnyArray
from pose3d_jax.evaluation.poses import Labels, Poses, Setting, as_poses, scale_to, to_pixels
from pose3d_jax.evaluation.protocols import NEITHER_PELVIS_NOR_THORAX, counted_joints, protocol_of
from pose3d_jax.skeleton import ROOT, SYMMETRIC_LIMBS

PERCENT, MM = "%", "mm"
#: Unit of quantities of which the truth has 1.
RATIO = "truth = 1"
#: Metrics of a split's summary, in the order of its table, and their units.
UNITS = {
    "PCK@0.2": PERCENT,
    "PCKh@0.5": PERCENT,
    "PCKh@0.5 weak perspective": PERCENT,
    "MPJPE": MM,
    "MPJPE true 2D": MM,
    "PA-MPJPE": MM,
    "N-MPJPE": MM,
    "3DPCK": PERCENT,
    "AUC": PERCENT,
    "symmetry": MM,
    "symmetry true 2D": MM,
    "bone sum": RATIO,
    "bone sum true 2D": RATIO,
    "depth range": RATIO,
    "depth correlation": RATIO,
}

#: Side of the square in which Table 4 measures "3D pixels".
PIXEL_SIDE = 256

_LIMB_JOINTS = sorted({j for bones in SYMMETRIC_LIMBS.values() for bone in bones for j in bone})


class Measure(NamedTuple):
    """Numerator and denominator of a metric for each image."""

    total: Float[np.ndarray, "n"]  # addend of the sum
    count: Float[np.ndarray, "n"]  # addend of the divisor

    def mean(self, images: Int[np.ndarray, "m"] | Bool[np.ndarray, "n"] | None = None) -> float:
        """The mean over selected images, by default all; NaN where nothing counts."""
        total, count = self if images is None else (self.total[images], self.count[images])
        return float(total.sum(dtype=np.float64) / count.sum()) if count.any() else float("nan")

    def interval(self, resamples: int = 1_000, seed: int = 0) -> tuple[float, float]:
        """The 95 % interval of the mean, by resampling images (percentile bootstrap).

        It covers the choice of images, not the randomness of training. Frames of one video resemble
        each other and make it too narrow.
        """
        if not self.count.any():
            return float("nan"), float("nan")
        rng = np.random.default_rng(seed)
        size, means = len(self.total), []
        for _ in range(resamples):
            drawn = np.bincount(rng.integers(0, size, size), minlength=size)
            count = drawn @ self.count
            means.append(drawn @ self.total / count if count else np.nan)
        low, high = np.nanpercentile(means, [2.5, 97.5])
        return float(low), float(high)


def mean_over_images(values: Float[AnyArray, "n"], counted: Bool[np.ndarray, "n"]) -> Measure:
    """The mean of one value per image, over the images that count."""
    return Measure(np.where(counted, np.asarray(values, np.float64), 0.0), counted.astype(float))


def mean_over_joints(values: Float[np.ndarray, "n j"], counted: Bool[np.ndarray, "n j"]) -> Measure:
    """The mean over the joints that count, of all images together."""
    values = np.where(counted, np.asarray(values, np.float64), 0.0)
    return Measure(values.sum(-1), counted.sum(-1).astype(float))


def compute_measures(poses: Poses, labels: Labels, setting: Setting) -> dict[str, Measure]:
    """All metrics of a split's predictions; metrics without labels are left out.

    Returns:
        The metrics of `UNITS`, and:
        "PCKh@0.5 GROUP": percent, for the groups of Table 2. PCKh compares with the joints' true
        projections in the image, whatever the training targets were; "PCKh@0.5 weak perspective"
        with the weak-perspective positions of the true pose (`examples.make_examples`).
        "PCK@0.2 GROUP": percent, on LSP only (`metrics.pck`).
        "symmetry LIMB", "symmetry LIMB true 2D", "symmetry LIMB px", for the limbs of Table 4: mm;
        mm with the predicted depths at the labelled joints; px of a crop of 256.
        3DPCK and AUC follow MPI-INF-3DHP's protocol on every data set: poses at the truth's size,
        without pelvis and thorax. "bone sum" is the predicted bones' summed length over the
        truth's, in the crop, and "depth range" the standard deviation of the predicted depths over
        the truth's: above 1, depths are exaggerated; below 1, flattened. "depth correlation", over
        the joints of an image, is invariant to that factor.
    """
    measures = _by_group("PCKh@0.5", metrics.PCKH_JOINTS, poses, labels, labels.head_size, 0.5)
    if protocol_of(setting.dataset).torso_pck:
        torso = metrics.torso_length(labels.joints, labels.valid)
        measures |= _by_group("PCK@0.2", metrics.PCK_JOINTS, poses, labels, torso, 0.2)
    if setting.with_depth:
        measures |= _symmetry_measures(poses, labels, setting)
        if labels.has_3d.any():
            measures |= _measures_3d(poses, labels, setting)
    return measures


def _by_group(
    name: str,
    groups: Mapping[str, Sequence[int]],
    poses: Poses,
    labels: Labels,
    reference: Float[AnyArray, "n"],
    threshold: float,
) -> dict[str, Measure]:
    """Percentages of correct joints in each group, and of the group "mean" as `name`."""
    flags = metrics.correct_joints(poses.joints, labels.joints, reference, labels.valid, threshold)
    correct, counted = map(np.asarray, flags)
    measures = {
        f"{name} {group}": mean_over_joints(
            100.0 * correct[:, list(joints)], counted[:, list(joints)]
        )
        for group, joints in groups.items()
    }
    return measures | {name: measures[f"{name} mean"]}


def _symmetry_measures(poses: Poses, labels: Labels, setting: Setting) -> dict[str, Measure]:
    every_image = np.ones(len(poses.joints), bool)
    # Where poses are compared at the truth's size, images without truth have no size in mm
    known = labels.has_3d if labels.has_3d.any() else every_image
    in_crop = to_pixels(poses, setting.side) * (PIXEL_SIDE / setting.side)
    with_true_2d = _scored(_with_true_2d(poses, labels, setting), labels, setting)
    labelled = labels.valid[:, _LIMB_JOINTS].all(1)
    measures = {}
    for suffix, points, counted in (
        ("", _scored(poses, labels, setting), known),
        (" px", in_crop, every_image),
        (" true 2D", with_true_2d, known & labelled),
    ):
        differences = metrics.symmetry(points)
        for limb, difference in differences.items():
            measures[f"symmetry {limb}{suffix}"] = mean_over_images(difference, counted)
        mean = sum(differences.values()) / len(differences)
        measures[f"symmetry{suffix}"] = mean_over_images(mean, counted)
    return measures


def _scored(poses: Poses, labels: Labels, setting: Setting) -> Float[np.ndarray, "n 16 3"]:
    """Poses in mm at the size at which the protocol compares them with the truth."""
    if protocol_of(setting.dataset).size_known:
        return scale_to(poses.millimetres, labels.joints_3d)
    return poses.millimetres


def _with_true_2d(poses: Poses, labels: Labels, setting: Setting) -> Poses:
    """The predicted depths at the labelled joints: the error of the depth module alone."""
    return as_poses(labels.joints, poses.depth, setting, labels.valid)


def _measures_3d(poses: Poses, labels: Labels, setting: Setting) -> dict[str, Measure]:
    side, truth = setting.side, labels.joints_3d
    counted = counted_joints(labels, setting.dataset)
    known = labels.has_3d & counted.any(1)
    ours = _scored(poses, labels, setting)
    with_true_2d = _with_true_2d(poses, labels, setting)
    at_true_2d = _scored(with_true_2d, labels, setting)
    errors = errors_at_true_size(poses, labels, setting)
    pck_joints = counted & NEITHER_PELVIS_NOR_THORAX
    has_bones = known & np.asarray(geometry.annotated_bones(labels.valid)).any(1)

    def bone_sum(poses):
        return metrics.bone_sum_ratio(to_pixels(poses, side), to_pixels(labels, side), labels.valid)

    return {
        "PCKh@0.5 weak perspective": _weak_perspective_pckh(poses, labels),
        "MPJPE": mean_over_images(metrics.mpjpe(ours, truth, counted), known),
        "MPJPE true 2D": mean_over_images(metrics.mpjpe(at_true_2d, truth, counted), known),
        "PA-MPJPE": mean_over_images(metrics.pa_mpjpe(ours, truth, counted), known),
        "N-MPJPE": mean_over_images(metrics.n_mpjpe(ours, truth, counted), known),
        # A prediction that is not finite is wrong: NaN < 150 is False.
        "3DPCK": mean_over_joints(100.0 * (errors < 150.0), pck_joints),
        "AUC": mean_over_joints(100.0 * np.asarray(metrics.auc_shares(errors)), pck_joints),
        "bone sum": mean_over_images(bone_sum(poses), has_bones),
        "bone sum true 2D": mean_over_images(bone_sum(with_true_2d), has_bones),
        "depth range": Measure(poses.depth.std(1) * known, labels.depth.std(1) * known),
        "depth correlation": mean_over_images(_correlation(poses.depth, labels.depth), known),
    }


def _weak_perspective_pckh(poses: Poses, labels: Labels) -> Measure:
    target = geometry.weak_perspective(labels.joints, labels.joints_3d, labels.valid)
    known = labels.valid & (labels.has_3d & labels.valid[:, ROOT])[:, None]
    labels = labels._replace(joints=np.asarray(target), valid=known)
    mean = {"mean": metrics.PCKH_JOINTS["mean"]}
    return _by_group("PCKh@0.5", mean, poses, labels, labels.head_size, 0.5)["PCKh@0.5"]


def _correlation(
    one: Float[np.ndarray, "n 16"], other: Float[np.ndarray, "n 16"]
) -> Float[np.ndarray, "n"]:
    """Correlation over the joints of each image; 0 where either is constant."""
    one, other = (x - x.mean(1, keepdims=True) for x in (one, other))
    norms = np.sqrt((one**2).sum(1) * (other**2).sum(1))
    return (one * other).sum(1) / np.where(norms > 0, norms, 1.0)


def summarise(poses: Poses, labels: Labels, setting: Setting) -> dict[str, float]:
    """The means over a split of the metrics of `UNITS` that it has labels for."""
    measures = compute_measures(poses, labels, setting)
    return {name: measures[name].mean() for name in UNITS if name in measures}


def errors_3d(poses: Poses, labels: Labels, setting: Setting) -> Float[np.ndarray, "n 16"]:
    """Error of every joint after aligning the roots, mm; NaN where it does not count."""
    errors = np.asarray(metrics.joint_errors(_scored(poses, labels, setting), labels.joints_3d))
    return np.where(counted_joints(labels, setting.dataset), errors, np.nan)


def errors_at_true_size(
    poses: Poses, labels: Labels, setting: Setting
) -> Float[np.ndarray, "n 16"]:
    """The errors of 3DPCK, mm: at the truth's size; NaN for pelvis and thorax."""
    scored = scale_to(_scored(poses, labels, setting), labels.joints_3d)
    errors = np.asarray(metrics.joint_errors(scored, labels.joints_3d))
    counted = counted_joints(labels, setting.dataset) & NEITHER_PELVIS_NOR_THORAX
    return np.where(counted, errors, np.nan)


def errors_2d(poses: Poses, labels: Labels) -> Float[np.ndarray, "n 16"]:
    """2D error of every joint in head sizes; NaN where it does not count."""
    counted = labels.valid & (labels.head_size > 0)[:, None]
    distances = np.linalg.norm(poses.joints - labels.joints, axis=-1)
    heads = np.where(labels.head_size > 0, labels.head_size, 1.0)
    return np.where(counted, distances / heads[:, None], np.nan)
