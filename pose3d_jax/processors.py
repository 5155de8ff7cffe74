"""The number of processors of this process."""

import os


def usable() -> int:
    """The number of processors that this process may use, which Slurm and `taskset` limit."""
    if hasattr(os, "sched_getaffinity"):  # Not on macOS.
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
