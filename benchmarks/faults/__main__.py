"""`python -m benchmarks.faults [--rounds N] [--seed N] [KIND …]`; see the package."""

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

from benchmarks.faults import kills, labels, storage, strangers
from benchmarks.faults.rows import table

#: Each kind of fault by name.
KINDS = {
    "kills": kills.rows,
    "storage": storage.rows,
    "labels": labels.rows,
    "strangers": strangers.rows,
}


def main() -> int:
    """The command line; returns the exit code: 1 if anything went wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults", description="Injects faults, and counts what comes."
    )
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"{', '.join(KINDS)}; all")
    parser.add_argument("--rounds", type=int, default=1, help="attempts a row")
    parser.add_argument("--seed", type=int, help="repeats a run; a new one by default")
    options = parser.parse_args()
    if unknown := set(options.kinds) - KINDS.keys():
        parser.error(f"there is no kind {min(unknown)!r}; there are {', '.join(KINDS)}")
    seed = secrets.randbelow(1 << 32) if options.seed is None else options.seed
    print(f"--seed {seed} --rounds {options.rounds}", flush=True)
    rows = []
    for kind in options.kinds or KINDS:
        with tempfile.TemporaryDirectory() as folder:
            for row in KINDS[kind](seed, options.rounds, Path(folder)):
                rows.append(row)
                print(f"{row.name}: {len(row.wrong)} wrong", file=sys.stderr, flush=True)
                for words in row.wrong:
                    print(f"  {words}", file=sys.stderr, flush=True)
    print(f"\n{table(rows)}")
    return int(any(row.wrong for row in rows))


if __name__ == "__main__":
    sys.exit(main())
