"""How many processors there are to use."""

import os


def usable() -> int:
    """The processors that this process may use: under Slurm or `taskset`, fewer than there are."""
    if hasattr(os, "sched_getaffinity"):  # Not on macOS.
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
