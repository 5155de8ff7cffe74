"""What comes of a fault: a row of the table."""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass
class Row:
    """What came of one kind of harm.

    Attributes:
        name: of the thing that was harmed.
        survived: how often it made no difference, or the harmed thing was read as a valid one.
        refused: how often a sentence said what is wrong.
        wrong: whatever else happened, in words.
        seconds: of the slowest attempt, waiting included.
        mib: of memory at its highest, without what is read apart.
    """

    name: str
    survived: int = 0
    refused: int = 0
    wrong: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    mib: float = 0.0


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| | tried | survived | refused | wrong | slowest, s | memory, MiB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        counts = (row.survived, row.refused, len(row.wrong))
        cells = (row.name, sum(counts), *counts, f"{row.seconds:.1f}", f"{row.mib:.0f}")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)
