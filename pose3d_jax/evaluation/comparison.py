"""Comparison of variants, each trained with several seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pose3d_jax.evaluation import charts
from pose3d_jax.evaluation.pictures import draw_curves
from pose3d_jax.evaluation.poses import Setting
from pose3d_jax.evaluation.predictions import PREDICTIONS_FILE, read_predictions
from pose3d_jax.evaluation.protocols import split_directory
from pose3d_jax.evaluation.tables import Cell, Results, Row, Table, dataset_tables
from pose3d_jax.stages import METHODS

#: Rows of paired differences over the seeds: the effect of the geometric loss.
DIFFERENCES = {
    "3D: w − wo geo": (METHODS[1], METHODS[0]),
    "3D+2D: w − wo geo": (METHODS[3], METHODS[2]),
}


def comparison_tables(results: Mapping[str, Sequence[Results]]) -> list[Table]:
    """Tables with mean and sample standard deviation over each variant's evaluations by seed."""
    first = next(iter(results.values()))[0]["data"]
    tables = []
    for dataset in first:
        of_seeds = {
            name: [result["data"][dataset]["tables"] for result in seeds]
            for name, seeds in results.items()
        }
        rows = {name: over_seeds(seeds) for name, seeds in of_seeds.items()}
        for name, (minuend, subtrahend) in DIFFERENCES.items():
            if minuend in of_seeds and subtrahend in of_seeds:
                rows[name] = over_seeds([
                    {kind: {c: row[c] - theirs[kind][c] for c in row} for kind, row in ours.items()}
                    for ours, theirs in zip(of_seeds[minuend], of_seeds[subtrahend], strict=True)
                ])  # fmt: skip
        baselines = first[dataset]["baselines"]
        rows |= {name: {"summary": row} for name, row in baselines.items()}
        tables += dataset_tables(rows, dataset, first[dataset]["images"])
    return tables


def over_seeds(seeds: Sequence[Mapping[str, Row]]) -> dict[str, dict[str, Cell]]:
    """Mean and standard deviation of every cell; of one seed, the number itself."""

    def cell(*values: float) -> Cell:
        if len(values) == 1:
            return float(values[0])
        return float(np.mean(values)), float(np.std(values, ddof=1))

    return {
        kind: {column: cell(*(tables[kind][column] for tables in seeds)) for column in row}
        for kind, row in seeds[0].items()
    }


def draw_comparison(
    out: Path, evaluations: Mapping[str, Path], settings: Sequence[Setting]
) -> None:
    """Draws the curves of several variants in one figure, for every data set.

    Args:
        out: directory of the pictures, one below it for each data set.
        evaluations: variant → directory of one of its evaluations.
        settings: how each data set is scored.
    """
    for setting in settings:
        name = split_directory(setting.dataset)
        (out / name).mkdir(parents=True, exist_ok=True)
        predictions = {
            variant: read_predictions(directory / name / PREDICTIONS_FILE)
            for variant, directory in evaluations.items()
        }
        poses = {variant: found.poses for variant, found in predictions.items()}
        labels = next(iter(predictions.values())).labels
        draw_curves(out / name, poses, labels, setting)


#: Columns of a sweep of λ_geo: symmetry may improve while poses get worse.
SWEEP_COLUMNS = (
    "symmetry true 2D",
    "bone sum true 2D",
    "MPJPE true 2D",
    "MPJPE",
    "depth range",
    "depth correlation",
)


def draw_sweep(out: Path, results: Mapping[str, Sequence[Results]], weights: Sequence[float]):
    """Draws the summary over the weight of the geometric loss, for every data set.

    Args:
        out: see `draw_comparison`.
        results: see `comparison_tables`.
        weights: of the variants, in their order.
    """
    for dataset, first in next(iter(results.values()))[0]["data"].items():
        # A data set without 3D labels lacks some.
        columns = [name for name in SWEEP_COLUMNS if name in first["tables"]["summary"]]
        table = {}
        for weight, seeds in zip(weights, results.values(), strict=True):
            cells = over_seeds([result["data"][dataset]["tables"] for result in seeds])["summary"]
            table[weight] = {n: c if isinstance(c, tuple) else (c, 0.0) for n, c in cells.items()}
        figure = charts.plot_sweep(table, columns, f"Weight of the geometric loss, {dataset}")
        charts.save(figure, out / split_directory(dataset) / "sweep.png")
