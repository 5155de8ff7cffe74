"""Summary of a prepared data set: counts, what was left out, and a contact sheet."""

import collections
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pose3d_jax.drawing import skeletons
from tfds_builders import work
from tfds_builders.base import Plan, RecordBuilder

#: Files beside the records: the summary, and the complete list of remarks.
SUMMARY = "summary.txt"
REMARKS = "remarks.txt"
Outputs = Sequence[tuple[work.Item, work.CachedOutput]]


def write_summary(writer: RecordBuilder, plan: Plan, outputs: Outputs, *, title: str) -> None:
    """Writes the summary and the contact sheets beside the records of a data set.

    Also adds to its metadata what is missing and how many remarks there are of each kind.
    """
    directory = Path(writer.data_dir)
    missing = [*plan.missing, *(error for _, output in outputs for error in output.errors)]
    remarks = [*plan.remarks, *(r for _, output in outputs for r in output.remarks)]
    writer.info.metadata["missing"] = missing
    writer.info.metadata["remarks"] = collections.Counter(remark.why for remark in remarks)
    writer.info.metadata.save_metadata(directory)
    if remarks:
        lines = [f"{remark.what}: {remark.why}\n" for remark in remarks]
        (directory / REMARKS).write_text("".join(lines))
    splits = list(writer.info.splits)
    for split in splits:
        contact_sheet(list(_sample(outputs, split)), directory / f"{split}.png")
    lines = [title, ""]
    if limit := plan.metadata.get("limit"):
        lines += [f"A trial of at most {limit} records a split.", ""]
    lines += [*table(plan, outputs), "", *_grouped(remarks)]
    if missing:
        lines += ["Missing:", *(f"  {sentence}" for sentence in missing), ""]
    lines += ["Look at " + ", ".join(f"{split}.png" for split in splits) + " beside the records."]
    (directory / SUMMARY).write_text("\n".join(lines) + "\n")


def contact_sheet(records: Sequence[dict], path: Path) -> None:
    """Writes a picture of records with their joints drawn."""
    Image.fromarray(skeletons.contact_sheet(records)).save(path)


def _sample(outputs: Outputs, split: str, count: int = 24) -> Iterable[dict]:
    """Evenly spaced records of a split."""
    chosen = [output for item, output in outputs if item.split == split and output.records]
    picked = np.linspace(0, len(chosen) - 1, count).round().astype(int).tolist()
    for index, times in collections.Counter(picked).items():
        records = chosen[index].load()
        inner = np.linspace(0, len(records) - 1, times + 2)[1:-1].round().astype(int)
        yield from (records[k] for k in sorted(set(inner.tolist())))


def table(plan: Plan, outputs: Outputs) -> list[str]:
    """Counts by split and row, beside those of a complete release."""
    records: collections.Counter = collections.Counter()
    items: collections.Counter = collections.Counter()
    for item, output in outputs:
        row = (item.split, *item.row)
        records[row] += output.records
        items[row] += bool(output.records)
    counts = records if plan.unit == "records" else items
    cells = {
        row: f"{counts[row]:,}" + (f" of {plan.expected[row]:,}" if row in plan.expected else "")
        for row in dict.fromkeys([*plan.expected, *records])
    }
    if all(len(row) == 3 for row in cells):
        groups = list(dict.fromkeys(row[:2] for row in cells))
        actions = list(dict.fromkeys(row[2] for row in cells))
        lines = [[plan.unit, *(f"{split} {subject}" for split, subject in groups)]]
        for action in actions:
            lines.append([action, *(cells.get((*group, action), "") for group in groups)])
        totals = [sum(n for row, n in records.items() if row[:2] == group) for group in groups]
        lines.append(["all records", *(f"{total:,}" for total in totals)])
    else:
        lines = [[plan.unit, ""], *([" ".join(row), cell] for row, cell in cells.items())]
    return aligned(lines)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table as lines: first column left-aligned, the others right-aligned."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if k else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _grouped(remarks: Iterable[work.Remark]) -> list[str]:
    """Remarks as lines, grouped by their text."""
    groups: dict[str, list[str]] = {}
    for remark in remarks:
        groups.setdefault(remark.why, []).append(remark.what)
    if not groups:
        return []
    lines = ["Remarks:"]
    for why, names in groups.items():
        more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
        lines.append(f"  {why} ({len(names):,}): {', '.join(names[:5])}{more}")
    return [*lines, ""]
