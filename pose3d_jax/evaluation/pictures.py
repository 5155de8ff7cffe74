"""Files of an evaluation's pictures: example images, error curves and bone lengths."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pose3d_jax import metrics
from pose3d_jax.evaluation import charts, extremes, scores
from pose3d_jax.evaluation.poses import Labels, Poses, Setting, to_pixels


def draw_examples(
    place: Path, records: Sequence, poses: Poses, labels: Labels, setting: Setting
) -> None:
    """Draws the best, median and worst images, by MPJPE or, without 3D labels, by 2D error."""
    in_3d = setting.with_depth and labels.has_3d.any()
    errors = scores.errors_3d(poses, labels, setting) if in_3d else scores.errors_2d(poses, labels)
    counted = np.isfinite(errors).any(1)
    means = np.full(len(errors), np.nan)
    means[counted] = np.nanmean(errors[counted], axis=1)
    if counted.any():
        figure = extremes.draw_extremes(
            records,
            poses,
            labels,
            means,
            side=setting.side,
            unit="mm" if in_3d else "head sizes",
            with_depth=setting.with_depth,
        )
        charts.save(figure, place / "examples.png")


def draw_curves(
    place: Path, predicted: Mapping[str, Poses], labels: Labels, setting: Setting
) -> None:
    """Draws errors per joint, PCK curves, and the distributions of bone lengths.

    Args:
        place: directory of the pictures.
        predicted: poses by the name of the method that predicted them.
        labels: of the same images.
        setting: how they are scored.
    """

    def by_method(errors, *arguments):
        return {name: errors(poses, labels, *arguments) for name, poses in predicted.items()}

    heads = by_method(scores.errors_2d)
    if np.isfinite(next(iter(heads.values()))).any():
        title = f"2D: joints within a share of the head's size, {setting.dataset}"
        figure = charts.plot_pck(heads, limit=1.0, unit="head sizes", mark=0.5, title=title)
        charts.save(figure, place / "pckh.png")
    if not (setting.with_depth and labels.has_3d.any()):
        return
    errors = by_method(scores.errors_3d, setting)
    figure = charts.plot_joint_errors(errors, f"Error per joint, {setting.dataset}")
    charts.save(figure, place / "joints.png")
    errors = by_method(scores.errors_at_true_size, setting)
    title = f"3D, at the truth's size: joints within a distance of it, {setting.dataset}"
    figure = charts.plot_pck(errors, limit=300.0, unit="mm", mark=150.0, title=title)
    charts.save(figure, place / "pck.png")

    known = labels.has_3d & labels.valid.all(1)
    truth = to_pixels(labels, setting.side)[known]
    sums = {
        name: np.asarray(metrics.bone_sum_ratio(to_pixels(poses, setting.side)[known], truth))
        for name, poses in predicted.items()
    }
    poses = {name: poses.millimetres[known] for name, poses in predicted.items()}
    poses = {charts.TRUTH: labels.joints_3d[known]} | poses
    figure = charts.plot_bone_lengths(poses, sums, f"Bone lengths, {setting.dataset}")
    charts.save(figure, place / "bones.png")
