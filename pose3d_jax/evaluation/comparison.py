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
    """Tables with mean and sample standard deviation over the seeds.

    Args:
        results: variant → its evaluations, one per seed.
    """
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
                pairs = zip(of_seeds[minuend], of_seeds[subtrahend], strict=True)
                rows[name] = over_seeds([_difference(*pair) for pair in pairs])
        baselines = first[dataset]["baselines"]
        rows |= {name: {"summary": row} for name, row in baselines.items()}
        tables += dataset_tables(rows, dataset, first[dataset]["images"])
    return tables


def over_seeds(seeds: Sequence[Mapping[str, Row]]) -> dict[str, dict[str, Cell]]:
    """Mean and standard deviation of every cell; of one seed, the number itself."""

    def cell(kind: str, column: str) -> Cell:
        values = np.array([tables[kind][column] for tables in seeds], float)
        if len(values) == 1:
            return float(values[0])
        return float(values.mean()), float(values.std(ddof=1))

    return {kind: {column: cell(kind, column) for column in row} for kind, row in seeds[0].items()}


def _difference(minuend: Mapping[str, Row], subtrahend: Mapping[str, Row]) -> dict[str, Row]:
    return {
        kind: {column: row[column] - subtrahend[kind][column] for column in row}
        for kind, row in minuend.items()
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
        dataset = setting.dataset
        place = out / split_directory(dataset)
        place.mkdir(parents=True, exist_ok=True)
        predicted = {}
        for name, directory in evaluations.items():
            path = directory / split_directory(dataset) / PREDICTIONS_FILE
            predictions = read_predictions(path)
            predicted[name], labels = predictions.poses, predictions.labels
        draw_curves(place, predicted, labels, setting)


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
    first = next(iter(results.values()))[0]["data"]
    for dataset in first:
        table = {}
        for weight, seeds in zip(weights, results.values(), strict=True):
            cells = over_seeds([r["data"][dataset]["tables"] for r in seeds])["summary"]
            table[weight] = {
                name: cell if isinstance(cell, tuple) else (cell, 0.0)
                for name, cell in cells.items()
            }
        figure = charts.plot_sweep(table, SWEEP_COLUMNS, f"Weight of the geometric loss, {dataset}")
        charts.save(figure, out / split_directory(dataset) / "sweep.png")
