"""`python -m benchmarks.faults [--rounds N] [--seed N] [KIND …]`; see the package."""

import argparse
import functools
import secrets
import sys
import tempfile
from pathlib import Path

from benchmarks.faults import kills, labels, load, storage, strangers
from benchmarks.faults.rows import table

#: Each kind of fault by name. Strangers' files come first: they are read in forked processes, which
#: goes ill with the threads that JAX has started for the others.
KINDS = {
    "strangers": strangers.rows,
    "kills": kills.rows,
    "storage": storage.rows,
    "labels": labels.rows,
    "load": load.rows,
}


def main() -> int:
    """The command line; returns the exit code: 1 if anything went wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults", description="Injects faults, and counts what comes."
    )
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"{', '.join(KINDS)}; all")
    parser.add_argument("--rounds", type=int, default=1, help="attempts a row")
    parser.add_argument("--seed", type=int, help="repeats a run; a new one by default")
    parser.add_argument("--minutes", type=float, default=0.1, help="of load, which grows with them")
    options = parser.parse_args()
    if unknown := set(options.kinds) - KINDS.keys():
        parser.error(f"there is no kind {min(unknown)!r}; there are {', '.join(KINDS)}")
    if options.rounds < 1 or not options.minutes > 0:
        parser.error("--rounds must be at least 1, and --minutes more than 0")
    seed = secrets.randbelow(1 << 32) if options.seed is None else options.seed
    print(f"--seed {seed} --rounds {options.rounds}", flush=True)
    kinds = KINDS | {"load": functools.partial(load.rows, minutes=options.minutes)}
    rows = []
    for kind in [kind for kind in kinds if not options.kinds or kind in options.kinds]:
        with tempfile.TemporaryDirectory() as folder:
            for row in kinds[kind](seed, options.rounds, Path(folder)):
                rows.append(row)
                print(f"{row.name}: {len(row.wrong)} wrong", file=sys.stderr, flush=True)
                for words in row.wrong:
                    print(f"  {words}", file=sys.stderr, flush=True)
    print(f"\n{table(rows)}")
    return int(any(row.wrong for row in rows))


if __name__ == "__main__":
    sys.exit(main())
