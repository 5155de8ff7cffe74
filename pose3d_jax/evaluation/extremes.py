"""The best, median and worst images of a split, in 2D and 3D, with the truth."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from pose3d_jax.drawing.axes import plot_beside_truth, plot_bones, plot_crop
from pose3d_jax.evaluation.charts import WIDTH, new_figure
from pose3d_jax.evaluation.poses import Labels, Poses
from pose3d_jax.skeleton import ROOT

if TYPE_CHECKING:
    import matplotlib.figure

#: Style of the true 2D skeleton: white with a dark outline.
TRUE_2D = {"color": "white", "linewidth": 1.2, "edge": 2.4}

#: Titles and horizontal axes of the panels of `axes.plot_beside_truth`.
VIEWS = (
    ("predicted\nfrom the camera", "right (mm)"),
    ("true\nfrom the camera", "right (mm)"),
    ("predicted\nfrom the side", "away from the camera (mm)"),
    ("true\nfrom the side", "away from the camera (mm)"),
)


def best_median_worst(errors: Float[np.ndarray, "n"], count: int) -> list[tuple[str, int]]:
    """Indices of the best, median and worst images, at most `count` of each.

    Args:
        errors: one per image; NaN where it does not count.
        count: of each kind.

    Returns:
        (kind, index), from the smallest error to the largest.

    Raises:
        ValueError: no image counts.
    """
    order = np.argsort(errors, kind="stable")[: np.count_nonzero(~np.isnan(errors))]
    if not len(order):
        raise ValueError("There is no image with an error.")
    count = min(count, len(order))
    middle = (len(order) - count) // 2
    kinds = {
        "best": order[:count],
        "median": order[middle : middle + count],
        "worst": order[len(order) - count :],
    }
    return [(kind, int(index)) for kind, chosen in kinds.items() for index in chosen]


def draw_extremes(
    records: Sequence[Mapping[str, Any]],
    poses: Poses,
    labels: Labels,
    errors: Float[np.ndarray, "n"],
    *,
    side: int,
    unit: str,
    count: int = 1,
    with_depth: bool = True,
) -> "matplotlib.figure.Figure":
    """Draws the predictions of the best, median and worst images in 2D and 3D, with the truth.

    The true 2D skeleton is white. The views of a row have the same limits.

    Args:
        records: of the split, in the order of the poses, with JPEG images.
        poses: the predictions.
        labels: of the records.
        errors: one per image; NaN where it does not count.
        side: of the network's crop, px.
        unit: of the errors.
        count: of each kind.
        with_depth: False leaves out 3D, for a network without a trained depth module.
    """
    chosen = best_median_worst(errors, count)
    if with_depth:
        figure = new_figure((WIDTH, 0.3 + 2.3 * len(chosen)))
        grid = figure.subplots(len(chosen), 5, squeeze=False)
    else:
        kinds, each = 3, len(chosen) // 3
        figure = new_figure((2.6 * kinds, 3.0 * each))
        grid = figure.subplots(each, kinds, squeeze=False).T.reshape(-1, 1)
    for (kind, index), row in zip(chosen, grid):
        record, valid = records[index], labels.valid[index]
        plot_crop(row[0], record, side)
        plot_bones(row[0], labels.joints[index], valid, **TRUE_2D)
        plot_bones(row[0], poses.joints[index], linewidth=2)
        row[0].set_title(f"{kind}: {_rounded(errors[index])} {unit}\n", loc="left", fontsize=10)
        name = record["image_id"].decode()
        row[0].text(0, 1.03, name, transform=row[0].transAxes, fontsize=8, va="bottom")
        if with_depth:
            truth = labels.joints_3d[index] - labels.joints_3d[index, ROOT]
            known = valid & labels.has_3d[index]
            plot_beside_truth(row[1:], poses.millimetres[index], truth, known)
    if with_depth:
        for column, (title, along) in enumerate(VIEWS, 1):
            grid[0, column].set_title(title, fontsize=9)
            grid[-1, column].set_xlabel(along, fontsize=8)
    return figure


def _rounded(error: float) -> str:
    return f"{error:.0f}" if error >= 10 else f"{error:.2g}"
