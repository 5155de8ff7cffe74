"""Files that strangers wrote: what is checked before one is opened, and reading one apart.

Libraries in C can crash on a damaged file, and some formats can ask for any amount of memory and
time. `read_apart` reads such a file in a process of its own, so that neither reaches the caller's.
"""

import contextlib
import importlib
import os
import pickle
import signal
import stat
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

from pose3d_jax.errors import UserError

#: No picture is so large, px, and nobody in one so far away, mm.
FARTHEST = 1e5
#: A machine may be this many times as busy as one on which reading takes all of its seconds.
_PATIENCE = 10
_LONGEST_REASON = 200


def check_file(path: str | os.PathLike) -> None:
    """Makes sure that a path is a regular file: a pipe's reader waits, a device may never end.

    Raises:
        UserError: it is something else, or not there.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file.") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name.
        raise UserError(f"{path} cannot be read: {reason(error)}.") from error
    if stat.S_ISDIR(mode):
        raise UserError(f"{path} cannot be read: it is a directory.")
    if not stat.S_ISREG(mode):
        raise UserError(f"{path} cannot be read: it is a pipe, a socket or a device.")


def are_possible(positions: Any) -> bool:
    """Whether numbers can be positions in a picture, px, or in a room, mm.

    A changed byte makes any number of one, and squares around such ask for any amount of memory.
    """
    return bool((np.abs(positions) <= FARTHEST).all())  # False for NaN.


def reason(error: BaseException) -> str:
    """What an exception says, as a part of a sentence; its kind where it says nothing."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    text = "".join(c if c.isprintable() else " " for c in text)
    text = " ".join(text.split()).rstrip(".")
    return text if len(text) <= _LONGEST_REASON else text[:_LONGEST_REASON] + "…"


def read_apart(
    reader: Callable[[str], Any],
    path: str | os.PathLike,
    *,
    memory: int,
    seconds: int,
    needs: str = "",
    advice: str = "",
) -> Any:
    """Calls a function on a file in a process of its own, which can write no files.

    Args:
        reader: a function of a module, of the path; it raises `UserError` for what it finds wrong.
        path: the file.
        memory: bytes that the process may take, on Linux.
        seconds: of computing that it may take.
        needs: a module that the function imports, to be imported once for all files.
        advice: a further sentence for when it takes more, or crashes.

    Returns:
        What the function returns, by pickle.

    Raises:
        UserError: the function's own, or the file takes more, or crashes the process.
    """
    check_file(path)
    absolute = os.path.abspath(path)
    request = (needs, reader.__module__, reader.__qualname__, absolute, memory, seconds)
    ended_by, answer = _ask(request)
    kind, value = pickle.loads(answer) if not ended_by else ("killed", None)
    if kind == "value":
        return value
    if kind == "error":
        raise UserError(value.replace(absolute, str(path)))
    if kind == "bug":
        raise RuntimeError(f"Reading {path} apart:\n{value}")
    if kind == "memory":
        why = f"takes more than {memory >> 20:,} MiB to read"
    elif ended_by in (signal.SIGXCPU, signal.SIGALRM):
        why = f"takes more than {seconds} s to read"
    elif ended_by == signal.SIGKILL:
        why = "was being read when something killed the reader, most likely for want of memory"
    else:
        why = f"crashes what reads it ({signal.Signals(ended_by).name})"
    raise UserError(f"{path} is damaged or hostile: it {why}. {advice}".rstrip())


#: Keeps one request from another's answer.
_lock = threading.Lock()
#: This process's server, by its own number: a forked process needs another.
_servers: dict[int, subprocess.Popen] = {}


def _ask(request: tuple) -> tuple[int, bytes]:
    """Has the server read a file; returns the signal that ended the reader, or 0, and its answer.

    Starting Python and importing a library takes longer than reading most files, so a server does
    it once, and forks a reader for each.
    """
    with _lock:
        if os.getpid() not in _servers:
            # -P: the directory that the program happens to run in may be full of strangers' files.
            # One thread each: their stacks and buffers count as memory.
            environment = os.environ | {
                "OPENBLAS_NUM_THREADS": "1",
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
            }
            _servers[os.getpid()] = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
        server = _servers[os.getpid()]
        try:
            pickle.dump(request, server.stdin)
            server.stdin.flush()
            return pickle.load(server.stdout)
        except BaseException as error:
            # Interrupted, the answer would be taken for the next request's.
            server.kill()
            del _servers[os.getpid()]
            if isinstance(error, EOFError | BrokenPipeError):
                return signal.SIGKILL, b""
            raise


def _serve() -> None:
    """The server: forks a reader for each request, until there is nobody who asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, whose end is ours.
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # What libraries print is no answer.
    while requests.peek(1):
        needs, module, function, path, memory, seconds = pickle.load(requests)
        for name in filter(None, (needs, module)):
            with contextlib.suppress(Exception):  # Again in the reader, which can tell.
                importlib.import_module(name)
        receiving, sending = os.pipe()
        reader = os.fork()
        if not reader:
            os.close(receiving)
            with os.fdopen(sending, "wb") as answer:
                answer.write(_read(module, function, path, memory, seconds))
            os._exit(0)  # Without the destructors of what a damaged file left behind.
        os.close(sending)
        with os.fdopen(receiving, "rb") as answer:
            content = answer.read()
        _, status = os.waitpid(reader, 0)
        pickle.dump((os.WTERMSIG(status), content), answers)
        answers.flush()


def _read(module: str, function: str, path: str, memory: int, seconds: int) -> bytes:
    """The reader: limits itself, reads, and returns the outcome as a pickle."""
    import resource  # Not everywhere that this module is imported.

    def dump(*outcome: Any) -> bytes:
        return pickle.dumps(outcome, protocol=pickle.HIGHEST_PROTOCOL)

    limits = {
        "RLIMIT_DATA": memory, "RLIMIT_CPU": seconds, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0,
    }  # fmt: skip
    for name, limit in limits.items():
        _, hard = resource.getrlimit(getattr(resource, name))
        # The user may have set less. The hard limit stays: the first of time's is SIGXCPU.
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(getattr(resource, name), (limit, hard))
    signal.alarm(_PATIENCE * seconds)  # For what waits without computing.
    try:
        return dump("value", getattr(importlib.import_module(module), function)(path))
    except UserError as error:
        return dump("error", str(error))
    except MemoryError:
        return dump("memory", None)
    except Exception:
        return dump("bug", traceback.format_exc())


if __name__ == "__main__":
    _serve()
