"""Tables 1–4 of the paper from scores, as numbers, as text and as Markdown."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from pose3d_jax.evaluation.protocols import protocol_of
from pose3d_jax.evaluation.scores import SUMMARY, Measure
from pose3d_jax.metrics import PCK_JOINTS, PCKH_JOINTS
from pose3d_jax.skeleton import SYMMETRIC_LIMBS

#: Column of the mean over all images.
ALL = "all"

Row = Mapping[str, float]
#: A table's number, or several trainings' mean and sample standard deviation.
Cell = float | tuple[float, float]


class Table(NamedTuple):
    """Rows of numbers under names.

    Attributes:
        title: what is measured, in which unit, on what.
        rows: name → column → cell; a row may lack columns.
        note: what a reader must know besides.
    """

    title: str
    rows: Mapping[str, Mapping[str, Cell]]
    note: str = ""

    @property
    def columns(self) -> list[str]:
        """All columns, in order of first appearance."""
        return list(dict.fromkeys(column for row in self.rows.values() for column in row))


def tabulate(measures: Mapping[str, Measure], groups: np.ndarray) -> dict[str, Row]:
    """One method's row in every table.

    Args:
        measures: from `scores.measure`.
        groups: the action or scene of every image.

    Returns:
        "summary", and "table1" … "table4" where there are labels for them; "table4 true 2D" has the
        predicted depths at the labelled joints; "pck" on Leeds Sports Pose.
    """
    names = sorted(set(groups.tolist()))

    def by_group(metric: str) -> dict[str, float]:
        measure = measures[metric]
        return {name: measure.mean(groups == name) for name in names} | {ALL: measure.mean()}

    tables = {"summary": {name: measures[name].mean() for name in SUMMARY if name in measures}}
    tables["table2"] = {name: measures[f"PCKh@0.5 {name}"].mean() for name in PCKH_JOINTS}
    if "PCK@0.2" in measures:
        tables["pck"] = {name: measures[f"PCK@0.2 {name}"].mean() for name in PCK_JOINTS}
    if "MPJPE" in measures:
        tables["table1"] = by_group("MPJPE")
        tables["table3"] = by_group("3DPCK") | {"AUC": measures["AUC"].mean()}
    if "symmetry" in measures:
        kinds = {"table4": "", "table4 true 2D": " true 2D"}
        kinds = kinds if "MPJPE" in measures else {"table4": " px"}
        for kind, suffix in kinds.items():
            tables[kind] = {
                limb: measures[f"symmetry {limb}{suffix}"].mean() for limb in SYMMETRIC_LIMBS
            }
    return dict(sorted(tables.items()))


def as_tables(
    rows: Mapping[str, Mapping[str, Mapping[str, Cell]]], dataset: str, images: int
) -> list[Table]:
    """Tables of a data set, the published rows first where there are some.

    Args:
        rows: name of a row → table → column → cell.
        dataset: the data set's name.
        images: how many it has.
    """
    kinds = sorted(set().union(*rows.values()))
    paper = protocol_of(dataset).published
    return [
        Table(
            title=f"{_titles(rows)[kind]} on {dataset} ({images} images)",
            rows={
                **{f"{name} (published)": row for name, row in paper.get(kind, {}).items()},
                **{name: tables[kind] for name, tables in rows.items() if kind in tables},
            },
        )
        for kind in kinds
    ]


def _titles(rows: Mapping[str, Mapping[str, Mapping[str, Cell]]]) -> dict[str, str]:
    has_truth = any("table1" in tables for tables in rows.values())
    unit = "mm" if has_truth else "px of a crop of 256"
    return {
        "summary": "Summary (mm; PCKh, 3DPCK and AUC in %; the last four are ratios)",
        "pck": "PCK@0.2 of the torso, %; mean over the limbs' joints,",
        "table1": "Table 1: MPJPE, mm,",
        "table2": "Table 2: PCKh@0.5, %,",
        "table3": "Table 3: 3DPCK at 150 mm and AUC, %,",
        "table4": f"Table 4: left-right difference of bones, {unit},",
        "table4 true 2D": "Table 4 with true 2D and predicted depths: the same, mm,",
    }


def as_text(table: Table) -> str:
    """A table aligned for a terminal; "–" where there is no number."""
    lines = [["", *table.columns]]
    lines += [[name, *_cells(table, row)] for name, row in table.rows.items()]
    widths = [max(map(len, column)) for column in zip(*lines)]
    body = [
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:]))])
        for line in lines
    ]
    return "\n".join([table.title, *body, *filter(None, [table.note])])


def as_markdown(table: Table) -> str:
    """A table in Markdown."""
    lines = ["", *table.columns], ["---", *["---:"] * len(table.columns)]
    rows = ([name, *_cells(table, row)] for name, row in table.rows.items())
    body = ["| " + " | ".join(cells) + " |" for cells in (*lines, *rows)]
    return "\n".join([f"**{table.title}**", "", *body, *(["", table.note] if table.note else [])])


def _cells(table: Table, row: Mapping[str, Cell]) -> list[str]:
    return [_cell(row.get(column, np.nan), _digits(column)) for column in table.columns]


def _digits(column: str) -> int:
    return 2 if column.startswith(("bone sum", "depth")) else 1


def _cell(cell: Cell, digits: int) -> str:
    value, spread = cell if isinstance(cell, tuple) else (cell, None)
    if not np.isfinite(value):
        return "–"
    return f"{value:.{digits}f}" + ("" if spread is None else f" ± {spread:.{digits}f}")
