"""Files of an evaluation's pictures: example images, error curves and bone lengths."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from pose3d_jax import metrics
from pose3d_jax.drawing.axes import plot_beside_truth, plot_bones, plot_crop
from pose3d_jax.evaluation import charts, scores
from pose3d_jax.evaluation.poses import Labels, Poses, Setting, to_pixels
from pose3d_jax.skeleton import ROOT

#: Titles and horizontal axes of the panels of `axes.plot_beside_truth`.
VIEWS = (
    ("predicted\nfrom the camera", "right (mm)"),
    ("true\nfrom the camera", "right (mm)"),
    ("predicted\nfrom the side", "away from the camera (mm)"),
    ("true\nfrom the side", "away from the camera (mm)"),
)


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
        unit = "mm" if in_3d else "head sizes"
        figure = plot_examples(records, poses, labels, means, setting, unit)
        charts.save(figure, place / "examples.png")


def plot_examples(
    records: Sequence[Mapping[str, Any]],
    poses: Poses,
    labels: Labels,
    errors: Float[np.ndarray, "n"],
    setting: Setting,
    unit: str,
) -> Figure:
    """Draws the predictions of the best, median and worst image in 2D and 3D, with the truth.

    The true 2D skeleton is white. The views of a row have the same limits. A network without a
    trained depth module is shown in 2D alone.

    Args:
        records: of the split, in the order of the poses, with JPEG images.
        poses: the predictions.
        labels: of the records.
        errors: one per image; NaN where it does not count. At least one counts.
        setting: of the split.
        unit: of the errors.
    """
    order = np.argsort(errors, kind="stable")[: np.count_nonzero(~np.isnan(errors))]
    chosen = {"best": order[0], "median": order[(len(order) - 1) // 2], "worst": order[-1]}
    if setting.with_depth:
        grid = charts.new_figure(charts.WIDTH, 7.2).subplots(3, 5)
        for column, (title, along) in enumerate(VIEWS, 1):
            grid[0, column].set_title(title, fontsize=9)
            grid[-1, column].set_xlabel(along, fontsize=8)
    else:
        grid = charts.new_figure(7.8, 3.0).subplots(1, 3).reshape(3, 1)
    for (kind, index), (crop, *views) in zip(chosen.items(), grid):
        record, valid = records[int(index)], labels.valid[index]
        plot_crop(crop, record, setting.side)
        plot_bones(crop, labels.joints[index], valid, color="white", linewidth=1.2, edge=2.4)
        plot_bones(crop, poses.joints[index], linewidth=2)
        error = f"{errors[index]:.0f}" if errors[index] >= 10 else f"{errors[index]:.2g}"
        crop.set_title(f"{kind}: {error} {unit}\n", loc="left", fontsize=10)
        name = record["image_id"].decode()
        crop.text(0, 1.03, name, transform=crop.transAxes, fontsize=8, va="bottom")
        if views:
            truth = labels.joints_3d[index] - labels.joints_3d[index, ROOT]
            known = valid & labels.has_3d[index]
            plot_beside_truth(views, poses.millimetres[index], truth, known)
    return grid[0, 0].figure


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
