"""Untrusted files: checks before one is opened, and readers that run in a limited process.

C libraries crash on damaged files, and some formats can request any amount of memory and time.
`read_isolated` runs such a reader in a process of its own. The process is a plain subprocess: the
workers of `concurrent.futures` import the caller's main module again, which fails for scripts
without a main guard, and they import modules from the current directory.
"""

import os
import pickle
import signal
import stat
import subprocess
import sys
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

from pose3d_jax.errors import OverloadError, UserError

#: The largest plausible coordinate, px in an image or mm in a room.
MAX_COORDINATE = 1e5
#: Wall-clock limit of a reader, in units of its CPU limit: ten other processes may share its core.
_WALL_FACTOR = 60
_MAX_REASON = 200


def check_file(path: str | os.PathLike) -> None:
    """Checks that a path is a readable regular file; reading a pipe or a device may never end.

    Raises:
        UserError: the path does not exist, cannot be opened, or is not a regular file.
    """
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISREG(mode):
            with open(path, "rb") as file:
                file.read(1)
            return
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file.") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name.
        raise UserError(f"{path} cannot be read: {reason(error)}.") from error
    kind = "a directory" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
    raise UserError(f"{path} cannot be read: it is {kind}.")


def are_plausible(positions: Any) -> bool:
    """Whether coordinates can be positions in an image (px) or in a room (mm).

    A corrupted byte can produce any coordinate, and a crop around it would need any amount of
    memory. NaN is not plausible.
    """
    return bool((np.abs(positions) <= MAX_COORDINATE).all())


def reason(error: BaseException) -> str:
    """The message of an exception as part of a sentence; its class name if it has no message."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    text = "".join(c if c.isprintable() else " " for c in text)
    text = " ".join(text.split()).rstrip(".")
    return text if len(text) <= _MAX_REASON else text[:_MAX_REASON] + "…"


def read_isolated(
    reader: Callable[[str], Any],
    path: str | os.PathLike,
    *,
    memory: int,
    seconds: int,
    advice: str = "",
) -> Any:
    """Calls a function on a file in a process with resource limits, which cannot write files.

    Args:
        reader: a module's function of the path; it raises `UserError` for invalid content.
        path: the file.
        memory: limit in bytes, on Linux.
        seconds: limit of CPU time.
        advice: a sentence that is appended if a limit is exceeded or the process crashes.

    Returns:
        What the function returns, by pickle.

    Raises:
        UserError: from the reader; or it exceeds a limit, or crashes.
        OverloadError: the system killed the reader, or gave it too little CPU time.
    """
    check_file(path)
    absolute = os.path.abspath(path)
    # One thread per library: the stacks and buffers of threads count as memory.
    environment = os.environ | {
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path),
    }
    try:
        process = subprocess.run(
            # -P: the current directory may contain untrusted modules.
            [sys.executable, "-P", "-m", __name__, str(memory), str(seconds)],
            input=pickle.dumps((reader, absolute)),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=_WALL_FACTOR * seconds,
            check=False,
        )
        ended_by = -process.returncode
    except subprocess.TimeoutExpired as error:
        raise OverloadError(
            f"{path}: its reader did not finish in {_WALL_FACTOR * seconds} s. "
            "The machine is busy; run the same command again later."
        ) from error
    if ended_by == signal.SIGKILL:
        raise OverloadError(f"{path}: its reader was killed, probably for lack of memory.")
    outcome = None if ended_by else pickle.loads(process.stdout)
    if isinstance(outcome, UserError):
        raise UserError(str(outcome).replace(absolute, str(path)))
    if isinstance(outcome, RuntimeError):
        raise RuntimeError(f"Reading {path} failed:\n{outcome}")
    if isinstance(outcome, MemoryError):
        why = f"takes more than {memory >> 20:,} MiB to read"
    elif not ended_by:
        return outcome
    elif ended_by == signal.SIGXCPU:
        why = f"takes more than {seconds} s to read"
    else:
        names = {int(number): number.name for number in signal.Signals}
        why = f"crashes its reader ({names.get(ended_by, f'exit code {-ended_by}')})"
    raise UserError(f"{path} is damaged or hostile: it {why}. {advice}".rstrip())


def _main(memory: int, seconds: int) -> None:
    """The isolated process: limits itself, reads, and writes the pickled outcome to stdout."""
    import resource  # Not available on every platform that imports this module.

    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # Output of libraries is not part of the answer.
    limits = {
        "RLIMIT_DATA": memory, "RLIMIT_CPU": seconds, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0,
    }  # fmt: skip
    for name, limit in limits.items():
        _, hard = resource.getrlimit(getattr(resource, name))
        # The hard limit stays: exceeding the soft limit of time is SIGXCPU.
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(getattr(resource, name), (limit, hard))
    try:
        reader, path = pickle.load(sys.stdin.buffer)
        outcome = reader(path)
    except (UserError, MemoryError) as error:
        outcome = error
    except Exception:
        outcome = RuntimeError(traceback.format_exc())
    pickle.dump(outcome, answer, protocol=pickle.HIGHEST_PROTOCOL)
    answer.flush()
    os._exit(0)  # Skips destructors of what a damaged file left behind.


if __name__ == "__main__":
    _main(*map(int, sys.argv[1:]))
