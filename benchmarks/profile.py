"""Which operations a program on a CPU spends its time on, by JAX's profiler."""

import collections
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax

from benchmarks import hlo


def profile(work: Callable[[], object], text: str, calls: int = 3) -> dict[str, dict[str, float]]:
    """The time of a call by kind of operation, the longest first.

    Operations may run side by side, so that their times may add up to more than the call's; an
    operation may keep several cores busy.

    Args:
        work: calls the program, and waits for it.
        text: of the compiled program.
        calls: to average over.

    Returns:
        Rows of a table.
    """
    for _ in range(calls):  # Memory is still growing.
        work()
    start, start_of_cores = time.perf_counter(), time.process_time()
    for _ in range(calls):
        work()
    whole, cores = time.perf_counter() - start, time.process_time() - start_of_cores
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(calls):
                work()
        spent = _milliseconds(folder, text)
    rows = {
        f"{operation}, {part}": {"ms": time / calls, "% of all": 100 * time / spent.total()}
        for (operation, part), time in spent.most_common()
    }
    call = {"ms": 1e3 * whole / calls, "cores busy": cores / whole}
    return {"the call, not profiled": call} | rows


def _milliseconds(folder: str, text: str) -> collections.Counter:
    """Of each kind of operation, from a trace."""
    kinds = hlo.kinds(text)
    spent = collections.Counter()
    for path in Path(folder).rglob("*.xplane.pb"):
        trace = jax.profiler.ProfileData.from_file(str(path))
        for event in (e for plane in trace.planes for line in plane.lines for e in line.events):
            label = dict(event.stats).get("hlo_op")
            # XLA marks the ends of operations that run on other threads.
            if label in kinds and not event.name.startswith("end: "):
                spent[kinds[label]] += 1e-6 * event.duration_ns
    return spent
