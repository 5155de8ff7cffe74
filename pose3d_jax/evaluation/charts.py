"""Matplotlib figures of errors and bone lengths.

The entries of a figure are methods or baselines, by name and in order; figures with the same
entries have the same colours. The entry "truth" is grey.
"""

import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Real
from matplotlib.figure import Figure

from pose3d_jax.evaluation.scores import RATIO, UNITS
from pose3d_jax.files import atomic_write
from pose3d_jax.skeleton import BONE_GROUP_WEIGHTS, BONE_GROUPS, JOINT_NAMES

TRUTH = "truth"

#: The colour-blind safe palette of Okabe and Ito, without yellow, which is faint on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
LINES = ("-", "--", "-.", ":")

#: Inches; text of 8 to 10 points is readable in a README at this width.
WIDTH = 10.0
DPI = 150

#: Joints in the order of the figures: from head to foot, left beside right.
SHOWN_JOINTS = (9, 8, 7, 13, 12, 14, 11, 15, 10, 3, 2, 4, 1, 5, 0)


def save(figure: Figure, path: str | os.PathLike) -> None:
    """Writes a figure as PNG, atomically."""
    with atomic_write(path) as file:
        # The constrained layout may cut the last pixels of a label at the edge.
        figure.savefig(file, dpi=DPI, format="png", bbox_inches="tight", pad_inches=0.08)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure; its size in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def _new_panels(width: float, height: float, rows: int = 1, columns: int = 1) -> np.ndarray:
    """The axes of a new figure: with a faint grid, and without a frame."""
    panels = new_figure(width, height).subplots(rows, columns, squeeze=False)
    for axes in panels.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="0.9", linewidth=0.6)
        axes.set_axisbelow(True)
    return panels


def plot_joint_errors(errors: Mapping[str, Float[np.ndarray, "n 16"]], title: str) -> Figure:
    """Mean error of each joint, one bar per entry.

    Errors are mm; NaN where a joint does not count. The root is left out: its error is 0, since
    poses are aligned there.
    """
    axes = _new_panels(WIDTH, 3.6)[0, 0]
    width, styles = 0.84 / len(errors), _styles(errors)
    for number, (name, values) in enumerate(errors.items()):
        places = np.arange(len(SHOWN_JOINTS)) - 0.42 + (number + 0.5) * width
        means = [_or_nan(np.mean, values[:, joint]) for joint in SHOWN_JOINTS]
        axes.bar(places, means, width, label=name, color=styles[name]["color"])
    names = [JOINT_NAMES[joint].replace("_", "\n") for joint in SHOWN_JOINTS]
    axes.set_xticks(np.arange(len(names)), names, fontsize=8)
    axes.tick_params("x", length=0)
    axes.margins(x=0.01)
    axes.set(ylabel="mean error (mm)")
    columns = len(errors) if len(errors) <= 4 else -(-len(errors) // 2)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, frameon=False)
    axes.figure.suptitle(title, x=0.01, ha="left")
    return axes.figure


def plot_pck(
    errors: Mapping[str, Float[np.ndarray, "n 16"]],
    *,
    limit: float,
    unit: str,
    mark: float,
    title: str,
) -> Figure:
    """Percentage of joints within a threshold, over the threshold.

    Args:
        errors: by entry; NaN where a joint does not count.
        limit: the largest threshold.
        unit: of the errors.
        mark: threshold whose percentage is in the legend.
        title: of the picture.
    """
    axes = _new_panels(WIDTH * 0.9, 3.8)[0, 0]
    axes.axvline(mark, color="0.6", linewidth=0.8)
    thresholds, styles = np.linspace(0.0, limit, 301), _styles(errors)
    for name, values in errors.items():
        label = f"{name}: {share_within(values, np.array([mark]))[0]:.1f} %"
        axes.plot(thresholds, share_within(values, thresholds), label=label, **styles[name])
    axes.set(xlim=(0, limit), ylim=(0, 100))
    axes.set(xlabel=f"threshold ({unit})", ylabel="joints within the threshold (%)")
    axes.legend(
        title=f"within {mark:g} {unit}",
        loc="center left",
        bbox_to_anchor=(1.02, 0.5),
        alignment="left",
        frameon=False,
    )
    axes.set_title(title, loc="left")
    return axes.figure


def share_within(
    errors: Float[np.ndarray, "n 16"], thresholds: Real[np.ndarray, "t"]
) -> Float[np.ndarray, "t"]:
    """Percentage of the joints that count whose error is at most each threshold."""
    counted = np.sort(errors[~np.isnan(errors)])
    if not len(counted):
        return np.full(len(thresholds), np.nan)
    return 100.0 * np.searchsorted(counted, thresholds, side="right") / len(counted)


def plot_bone_lengths(
    poses: Mapping[str, Float[np.ndarray, "n 16 3"]],
    sum_ratios: Mapping[str, Float[np.ndarray, "n"]],
    title: str,
) -> Figure:
    """Distributions of bone-length ratios, which the geometric loss equalises, and of their sum.

    Eq. 3 has a degenerate minimum: equal, large depth differences along every limb's bone make all
    ratios of a group agree and every bone too long. So the ratios are shown with the sum only.

    Args:
        poses: mm, by entry; an image with a NaN is left out.
        sum_ratios: sum of the 14 bones over the truth's, of the entries of `poses` without the
            truth; NaN where there is no truth.
        title: of the picture.
    """
    panels = _new_panels(WIDTH, 5.2, 2, 3)
    styles = _styles(poses)

    def outline(axes, values, bins, statistic, what, digits, title, along):
        """Densities of the entries, whose legend has a statistic; values beyond the bins count."""
        peaks = {}
        for name, own in values.items():
            density = np.histogram(own, bins)[0] / (max(own.size, 1) * np.diff(bins))
            label = f"{_or_nan(statistic, own):.{digits}f}"
            axes.stairs(density, bins, fill=name == TRUTH, label=label, **styles[name])
            peaks[name] = density.max()
        # The truth may be a narrow peak; it is cut off so that the others stay visible.
        shown = [peak for name, peak in peaks.items() if name != TRUTH] or list(peaks.values())
        axes.set(xlim=bins[[0, -1]], ylim=(0, 1.3 * max([*shown, 1e-9])), ylabel="density")
        axes.legend(title=what, fontsize=8, title_fontsize=8, frameon=False, loc="upper right")
        axes.set_title(title, loc="left")
        axes.set_xlabel(along, fontsize=9)

    bins = np.linspace(0.0, 2.0, 82)  # 1 is the middle of a bin.
    along = "length ÷ canonical length ÷ group's mean"
    for axes, group in zip(panels.flat, BONE_GROUPS):
        values = {name: bone_ratios(pose, group) for name, pose in poses.items()}
        outline(axes, values, bins, np.std, "standard deviation", 3, group, along)
    values = {name: ratio[np.isfinite(ratio)] for name, ratio in sum_ratios.items()}
    together = np.concatenate([[0.9, 1.1], *values.values()])
    bins = np.linspace(*np.quantile(together, [0.002, 0.998]), 81)
    panels[1, 1].axvline(1.0, color="0.6", linewidth=0.8)
    along = "sum of bone lengths ÷ the truth's"
    outline(panels[1, 1], values, bins, np.median, "median", 2, "all bones", along)
    panels[1, 2].set_axis_off()
    handles, _ = panels[0, 0].get_legend_handles_labels()
    panels[1, 2].legend(handles, poses.keys(), loc="center left", frameon=False)
    panels[0, 0].figure.suptitle(title, x=0.01, ha="left")
    return panels[0, 0].figure


def bone_ratios(pose: Float[np.ndarray, "n 16 3"], group: str) -> Float[np.ndarray, "m bones"]:
    """l_e / l̄_e of a group of Eq. 3, relative to the group's mean in the same image.

    Images with a NaN or a group of length 0 are left out.
    """
    ends = np.asarray(BONE_GROUPS[group])
    lengths = np.linalg.norm(pose[:, ends[:, 0]] - pose[:, ends[:, 1]], axis=-1)
    ratios = lengths * np.asarray(BONE_GROUP_WEIGHTS[group])
    means = ratios.mean(-1, keepdims=True)
    known = np.isfinite(means[:, 0]) & (means[:, 0] > 0)
    return ratios[known] / means[known]


def plot_sweep(
    table: Mapping[float, Mapping[str, tuple[float, float]]], columns: Sequence[str], title: str
) -> Figure:
    """Several columns of `scores.UNITS` over the weight of the geometric loss, one panel each.

    Args:
        table: by λ_geo, then by column: mean and standard deviation.
        columns: to show, of `scores.UNITS`.
        title: of the picture.
    """
    weights = sorted(table)
    positive = [weight for weight in weights if weight > 0]
    rows = -(-len(columns) // 2)
    panels = _new_panels(WIDTH * 0.85, 0.4 + 2.5 * rows, rows, 2).ravel()
    for column, axes in zip(columns, panels):
        if UNITS[column] == RATIO:
            axes.axhline(1.0, color="0.6", linewidth=0.8)
        means, deviations = zip(*(table[weight][column] for weight in weights))
        axes.errorbar(weights, means, deviations, color=COLOURS[0], marker="o", capsize=3)
        axes.set_xscale("symlog", linthresh=positive[0] if positive else 1.0, linscale=0.6)
        axes.set_xticks(weights, [f"{weight:g}" for weight in weights])
        axes.minorticks_off()
        axes.set(
            xlabel=r"weight of the geometric loss, $\lambda_{\mathrm{geo}}$",
            ylabel=f"{column} ({UNITS[column]})",
        )
    for axes in panels[len(columns) :]:
        axes.set_axis_off()
    panels[0].figure.suptitle(title, x=0.01, ha="left")
    return panels[0].figure


def _styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Line style of each entry; after the last colour, the dashes change."""
    kinds = itertools.cycle(itertools.product(LINES, COLOURS))
    styles = {}
    for name in names:
        if name == TRUTH:
            styles[name] = {"color": "0.8"}
        else:
            line, colour = next(kinds)
            styles[name] = {"color": colour, "linestyle": line, "linewidth": 1.6}
    return styles


def _or_nan(statistic: Callable, values: Float[np.ndarray, "*n"]) -> float:
    """A statistic of the values that are numbers, NaN of none."""
    known = values[~np.isnan(values)]
    return float(statistic(known)) if known.size else float("nan")
