"""SIGKILL at random moments of training three stages, and of preparing a data set.

The killed command is rerun, and killed again, until it ends by itself. What it leaves must be what
an undisturbed run leaves, bit for bit; every scalar, picture and result once, nothing unfinished.
"""

import functools
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.faults import runs
from benchmarks.faults.rows import Row
from tests import programs


def rows(seed: int, rounds: int, folder: Path) -> Iterator[Row]:
    """A row for each program; see the package."""
    data_dir = runs.prepare_data(folder / "data")
    train = functools.partial(runs.train_command, data_dir=data_dir)
    yield _kill("kills while training", train, runs.difference, seed, rounds, folder / "train")
    prepare = functools.partial(runs.prepare_command, runs.DATA[0])
    yield _kill("kills while preparing", prepare, runs.difference, seed, rounds, folder / "prepare")


def _kill(
    name: str,
    command: Callable[[Path], list[str]],
    difference: Callable[[Path, Path], str | None],
    seed: int,
    rounds: int,
    folder: Path,
) -> Row:
    row, rng = Row(name), np.random.default_rng(seed)
    undisturbed, place = folder / "undisturbed", folder / "killed"
    began = time.monotonic()
    runs.run_well(command(undisturbed))
    row.seconds = time.monotonic() - began
    files = runs.count_files(undisturbed)
    killed, latest = 0, row.seconds
    while killed < rounds:
        shutil.rmtree(place, ignore_errors=True)
        tried = killed
        while killed < rounds and _killed(command(place), place, latest, files, rng):
            killed += 1
        code, output = runs.run(command(place))
        found = f"ends with {output[-300:]!r}" if code else difference(undisturbed, place)
        if found:
            row.wrong.append(f"after kills {tried + 1} to {killed}: {found}")
        row.survived += killed - tried - bool(found)
        if killed == tried:
            latest /= 2  # The machine is quicker now: it ended before the moment drawn.
    return row


def _killed(
    command: list[str], place: Path, seconds: float, files: int, rng: np.random.Generator
) -> bool:
    """Starts a program and kills it at a random moment; False where it ended before.

    Half of the moments are even in time, half in the files that come to be: saves are short.
    """
    at, many = rng.uniform(0, seconds), runs.count_files(place) + rng.integers(1, max(files, 2))
    by_time = rng.integers(2) == 0
    began = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=programs.ROOT,
        env=programs.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None:
        if by_time and time.monotonic() - began > at:
            break
        if not by_time and runs.count_files(place) >= many:
            break
        time.sleep(0.005)
    ended = process.poll() is not None
    process.kill()
    process.wait()
    return not ended
