"""Tables 1–4 of the paper from scores, as numbers, text and Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pose3d_jax.evaluation.protocols import protocol_of
from pose3d_jax.evaluation.published import KNOWN_DIFFERENCES
from pose3d_jax.evaluation.scores import RATIO, UNITS, Measure
from pose3d_jax.metrics import PCK_JOINTS, PCKH_JOINTS
from pose3d_jax.skeleton import SYMMETRIC_LIMBS

#: Column of the mean over all images.
ALL = "all"

Row = Mapping[str, float]
#: A number, or the mean and the sample standard deviation over several trainings.
Cell = float | tuple[float, float]
#: A kind of table ("summary", "table1", …) → column → cell.
Rows = Mapping[str, Mapping[str, Cell]]
#: What `report.evaluate` returns.
Results = dict[str, Any]


class Table(NamedTuple):
    """Named rows of numbers."""

    title: str  # metric, unit and data set
    #: Name → column → cell; a row may lack columns. The unit of a column named as in `scores.UNITS`
    #: is shown with it.
    rows: Mapping[str, Mapping[str, Cell]]
    note: str = ""  # a text below the table

    @property
    def columns(self) -> list[str]:
        """All columns, in order of first appearance."""
        return list(dict.fromkeys(column for row in self.rows.values() for column in row))


def tabulate(measures: Mapping[str, Measure], groups: np.ndarray) -> dict[str, Row]:
    """One method's row of every table.

    Args:
        measures: from `scores.compute_measures`.
        groups: the action or scene of every image.

    Returns:
        "summary", and "table1" … "table4" where there are labels for them; "table4 true 2D" has the
        predicted depths at the labelled joints; "pck" on Leeds Sports Pose.
    """
    names = sorted(set(groups.tolist()))

    def means(prefix: str, keys: Iterable[str], suffix: str = "") -> dict[str, float]:
        return {key: measures[f"{prefix}{key}{suffix}"].mean() for key in keys}

    def by_group(metric: str) -> dict[str, float]:
        measure = measures[metric]
        return {name: measure.mean(groups == name) for name in names} | {ALL: measure.mean()}

    tables = {"summary": means("", [name for name in UNITS if name in measures])}
    tables["table2"] = means("PCKh@0.5 ", PCKH_JOINTS)
    if "PCK@0.2" in measures:
        tables["pck"] = means("PCK@0.2 ", PCK_JOINTS)
    if "MPJPE" in measures:
        tables["table1"] = by_group("MPJPE")
        tables["table3"] = by_group("3DPCK") | {"AUC": measures["AUC"].mean()}
        tables["table4"] = means("symmetry ", SYMMETRIC_LIMBS)
        tables["table4 true 2D"] = means("symmetry ", SYMMETRIC_LIMBS, " true 2D")
    elif "symmetry" in measures:
        tables["table4"] = means("symmetry ", SYMMETRIC_LIMBS, " px")
    return dict(sorted(tables.items()))


def result_tables(results: Results, kinds: Sequence[str] | None = None) -> list[Table]:
    """The tables of an evaluation.

    Args:
        results: from `report.evaluate`.
        kinds: of tables ("summary", "table1", …); all by default.
    """
    tables = []
    for dataset, result in results["data"].items():
        ours = results["method"] + (" (ours)" if protocol_of(dataset).published else "")
        summaries = {
            f"95 % interval, {word}": {name: ends[i] for name, ends in result["intervals"].items()}
            for i, word in enumerate(("from", "to"))
        } | result["baselines"]
        rows = {ours: result["tables"]}
        rows |= {name: {"summary": row} for name, row in summaries.items()}
        if kinds is not None:
            rows = {name: {k: row[k] for k in kinds if k in row} for name, row in rows.items()}
        tables += dataset_tables(rows, dataset, result["images"])
    return tables


def dataset_tables(rows: Mapping[str, Rows], dataset: str, images: int) -> list[Table]:
    """The tables of a data set; published rows come first.

    Args:
        rows: name of a row → its cells in every kind of table.
        dataset: name of the split.
        images: their number.
    """
    kinds = sorted(set().union(*rows.values()))
    paper = protocol_of(dataset).published
    has_truth = any("table1" in tables for tables in rows.values())
    titles = {
        "summary": "Summary",
        "pck": "PCK@0.2 of the torso, %; mean over the limbs' joints,",
        "table1": "Table 1: MPJPE, mm,",
        "table2": "Table 2: PCKh@0.5, %,",
        "table3": "Table 3: 3DPCK at 150 mm and AUC, %,",
        "table4": "Table 4: left-right difference of bones, "
        f"{'mm' if has_truth else 'px of a crop of 256'},",
        "table4 true 2D": "Table 4 with true 2D and predicted depths: the same, mm,",
    }
    return [
        Table(
            title=f"{titles[kind]} on {dataset} ({images} images)",
            rows={
                **{f"{name} (published)": row for name, row in paper.get(kind, {}).items()},
                **{name: tables[kind] for name, tables in rows.items() if kind in tables},
            },
        )
        for kind in kinds
    ]


def tables_beside_paper(results: Results) -> list[Table]:
    """The 3D errors beside the paper's of the same method, and the known differences.

    A table for each data set on which both have 3D errors in mm.
    """
    tables = []
    method = results["method"]
    for dataset, result in results["data"].items():
        paper, summary = protocol_of(dataset).published, result["tables"]["summary"]
        if method not in paper.get("table1", {}) or "MPJPE" not in summary:
            continue
        theirs = {
            "MPJPE": paper["table1"][method][ALL],
            "PCKh@0.5": paper["table2"][method]["mean"],
        }
        columns = (*theirs, "PCKh@0.5 weak perspective")
        tables.append(
            Table(
                title=f"Beside the paper on {dataset}",
                rows={
                    f"{method} (published)": theirs,
                    f"{method} (ours)": {name: summary.get(name, np.nan) for name in columns},
                },
                note="The paper does not define the 2D positions of its PCKh. Known differences "
                "between the preset `paper` and the release (docs/paper-preset.md has all):\n"
                + "\n".join(f"- {sentence}" for sentence in KNOWN_DIFFERENCES),
            )
        )
    return tables


def as_text(table: Table) -> str:
    """A table aligned for a terminal; "–" where there is no number."""
    lines = _lines(table)
    widths = [max(map(len, column)) for column in zip(*lines)]
    body = [
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:]))])
        for line in lines
    ]
    return "\n".join([table.title, *body, *filter(None, [table.note])])


def as_markdown(table: Table) -> str:
    """A table in Markdown."""
    header, *rows = _lines(table)
    lines = [header, ["---", *["---:"] * len(table.columns)], *rows]
    body = ["| " + " | ".join(cells) + " |" for cells in lines]
    return "\n".join([f"**{table.title}**", "", *body, *(["", table.note] if table.note else [])])


def _lines(table: Table) -> list[list[str]]:
    """The header and the rows as text."""
    header = [f"{name} ({UNITS[name]})" if name in UNITS else name for name in table.columns]
    rows = (
        [name, *(_cell(row.get(column, np.nan), column) for column in table.columns)]
        for name, row in table.rows.items()
    )
    return [["", *header], *rows]


def _cell(cell: Cell, column: str) -> str:
    value, deviation = cell if isinstance(cell, tuple) else (cell, None)
    if not np.isfinite(value):
        return "–"
    digits = 2 if UNITS.get(column) == RATIO else 1
    return f"{value:.{digits}f}" + ("" if deviation is None else f" ± {deviation:.{digits}f}")
