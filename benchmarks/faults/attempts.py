"""Reads hostile files in a forked process, which is watched from within and from without."""

import json
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.rows import Row
from pose3d_jax import untrusted
from pose3d_jax.errors import UserError

#: What a file may take, besides what is read apart, which has its own limits.
SECONDS, MEMORY = 30, 3 << 30
#: Where a reader puts what it makes; it may write nowhere else.
OUT = "out"
_FOREIGN = ("os.system", "os.exec", "os.posix_spawn", "os.startfile", "pty.spawn", "socket.connect")
_CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod")

Make = Callable[[np.random.Generator, Path], Path]


def attempt(
    name: str, make: Make, read: Callable[[Path], Any], seed: int, rounds: int, folder: Path
) -> Row:
    """Makes and reads files, one after another.

    Args:
        name: of the row.
        make: writes a file into an empty folder, and returns its path.
        read: reads it; what it makes goes to the folder's `OUT`.
        seed: of the files.
        rounds: how many.
        folder: an empty one.
    """
    row, done = Row(name), 0
    while done < rounds:
        receiving, sending = os.pipe()
        process = os.fork()
        if not process:
            try:  # Whatever happens, this process does not go on with the caller's work.
                os.close(receiving)
                with os.fdopen(sending, "w", buffering=1) as told:
                    _work(make, read, seed, range(done, rounds), folder, told)
                os._exit(0)
            finally:
                traceback.print_exc()
                os._exit(1)
        os.close(sending)
        with os.fdopen(receiving) as told:
            for line in told:
                outcome, words, seconds = json.loads(line)
                row.seconds = max(row.seconds, seconds)
                _count(row, outcome, f"attempt {done}: {words}")
                done += 1
        _, status, usage = os.wait4(process, 0)
        row.mib = max(row.mib, usage.ru_maxrss / 1024)
        if os.WIFSIGNALED(status):  # Of the attempt that had not been told of.
            _count(row, "wrong", f"attempt {done}: {signal.Signals(os.WTERMSIG(status)).name}")
            done += 1
        elif status:
            terminal = folder.with_name("terminal").read_text()
            raise RuntimeError(f"The campaign itself failed:\n{terminal}")
    return row


def _count(row: Row, outcome: str, words: str) -> None:
    if outcome == "wrong":
        row.wrong.append(words)
    else:
        setattr(row, outcome, getattr(row, outcome) + 1)


def _work(make: Make, read: Callable, seed: int, rounds: range, folder: Path, told: Any) -> None:
    """The forked process: a line of JSON for each file."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    terminal = os.open(folder.with_name("terminal"), os.O_RDWR | os.O_CREAT | os.O_APPEND)
    os.dup2(terminal, 2)
    forbidden: list[str] = []
    sys.addaudithook(lambda event, arguments: _watch(event, arguments, folder, forbidden))
    for number in rounds:
        _clear(folder)
        path = make(np.random.default_rng((seed, number)), folder)
        spent = _seconds()
        resource.setrlimit(
            resource.RLIMIT_CPU, (int(spent) + SECONDS, resource.getrlimit(resource.RLIMIT_CPU)[1])
        )
        signal.alarm(20 * SECONDS)
        forbidden.clear()
        os.ftruncate(2, 0)
        start = time.monotonic()
        outcome, words = _outcome(read, path)
        seconds = time.monotonic() - start
        written = {p for p in folder.iterdir() if p not in (path, folder / OUT)}
        if forbidden or written:
            outcome, words = "wrong", f"it touched {[*forbidden, *map(str, written)]}"
        elif printed := os.pread(2, 200, 0):
            outcome, words = "wrong", f"it printed {printed!r}"
        told.write(json.dumps([outcome, words, seconds]) + "\n")


def _seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _outcome(read: Callable[[Path], Any], path: Path) -> tuple[str, str]:
    try:
        read(path)
    except UserError as error:
        words = str(error)
        if str(path) not in words or "\n" in words or "MemoryError" in words or len(words) > 800:
            return "wrong", f"no sentence: {words[:200]!r}"
        return "refused", words
    except BaseException as error:
        return "wrong", f"{type(error).__name__}: {untrusted.reason(error)}"
    return "survived", ""


def _watch(event: str, arguments: tuple, folder: Path, forbidden: list[str]) -> None:
    """Notes what no reader has to do: programs, connections, and writing outside its folder."""
    ours = event == "subprocess.Popen" and untrusted.__name__ in arguments[1]
    if event in _FOREIGN or (event == "subprocess.Popen" and not ours):
        forbidden.append(f"{event} {arguments!r}"[:200])
    writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if not (writes or event in _CHANGES):
        return
    base = os.getcwd()
    if event in _CHANGES and arguments[-1] >= 0:  # Relative to an opened directory.
        base = os.readlink(f"/proc/self/fd/{arguments[-1]}")
    for path in arguments[:1] if writes else arguments:  # An opened file's mode is text, too.
        if isinstance(path, str | bytes | os.PathLike):
            where = os.path.normpath(os.path.join(base, os.fsdecode(path)))
            if where != os.devnull and not where.startswith(f"{folder}{os.sep}"):
                forbidden.append(f"{event} {where}")


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
