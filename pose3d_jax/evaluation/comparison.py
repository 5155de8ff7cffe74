"""Evaluations of several variants, each trained with several seeds, side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pose3d_jax.evaluation import charts
from pose3d_jax.evaluation.poses import Setting
from pose3d_jax.evaluation.predictions import PREDICTIONS_FILE, read_predictions
from pose3d_jax.evaluation.report import Results, directory_of, draw_curves
from pose3d_jax.evaluation.tables import Cell, Row, Table, as_tables
from pose3d_jax.stages import METHODS

#: Rows of differences, seed by seed: what the geometric loss does to otherwise equal trainings.
DIFFERENCES = {
    "3D: w − wo geo": (METHODS[1], METHODS[0]),
    "3D+2D: w − wo geo": (METHODS[3], METHODS[2]),
}


def tables_of(results: Mapping[str, Sequence[Results]]) -> list[Table]:
    """The tables of a comparison, mean and sample standard deviation over the seeds.

    Args:
        results: variant → its evaluations, one per seed.
    """
    first = next(iter(results.values()))[0]["data"]
    tables = []
    for dataset in first:
        of_seeds = {
            name: [found["data"][dataset]["tables"] for found in seeds]
            for name, seeds in results.items()
        }
        rows = {name: over_seeds(seeds) for name, seeds in of_seeds.items()}
        for name, (minuend, subtrahend) in DIFFERENCES.items():
            if minuend in of_seeds and subtrahend in of_seeds:
                pairs = zip(of_seeds[minuend], of_seeds[subtrahend], strict=True)
                rows[name] = over_seeds([_difference(*pair) for pair in pairs])
        baselines = first[dataset]["baselines"]
        rows |= {name: {"summary": row} for name, row in baselines.items()}
        tables += as_tables(rows, dataset, first[dataset]["images"])
    return tables


def over_seeds(seeds: Sequence[Mapping[str, Row]]) -> dict[str, dict[str, Cell]]:
    """Mean and standard deviation of every cell; one seed's numbers as they are."""

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


def draw(out: Path, evaluations: Mapping[str, Path], settings: Sequence[Setting]) -> None:
    """Draws the curves of several variants together, for every data set.

    Args:
        out: directory of the pictures, one below it for each data set.
        evaluations: variant → directory of one of its evaluations.
        settings: how each data set is scored.
    """
    for setting in settings:
        dataset = setting.dataset
        place = out / directory_of(dataset)
        place.mkdir(parents=True, exist_ok=True)
        predicted = {}
        for name, directory in evaluations.items():
            path = directory / directory_of(dataset) / PREDICTIONS_FILE
            predicted[name], labels, *_ = read_predictions(path)
        draw_curves(place, predicted, labels, setting)


#: What a sweep of λ_geo shows: symmetry may improve while poses get worse.
SWEEP_COLUMNS = (
    "symmetry true 2D",
    "bone sum true 2D",
    "MPJPE true 2D",
    "MPJPE",
    "depth spread",
    "depth correlation",
)


def draw_sweep(out: Path, results: Mapping[str, Sequence[Results]], weights: Sequence[float]):
    """Draws the summary over the weight of the geometric loss, for every data set.

    Args:
        out: see `draw`.
        results: see `tables_of`.
        weights: of the variants, in their order.
    """
    first = next(iter(results.values()))[0]["data"]
    for dataset in first:
        table = {}
        for weight, seeds in zip(weights, results.values(), strict=True):
            cells = over_seeds([found["data"][dataset]["tables"] for found in seeds])["summary"]
            table[weight] = {
                name: cell if isinstance(cell, tuple) else (cell, 0.0)
                for name, cell in cells.items()
            }
        figure = charts.sweep(table, SWEEP_COLUMNS, f"Weight of the geometric loss, {dataset}")
        charts.save(figure, out / directory_of(dataset) / "sweep.png")
