"""Files that are written atomically, completely or not at all; and locks."""

import contextlib
import fcntl
import json
import logging
import math
import os
import re
import signal
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from pose3d_jax.errors import UserError, naming

log = logging.getLogger(__name__)

#: The key under which a sealed JSON file has its checksum.
CHECKSUM = "checksum"


@contextlib.contextmanager
def written_whole(path: str | os.PathLike, mode: str = "wb") -> Iterator[IO]:
    """Opens a file that appears under its name when it is finished, and not before.

    What is written goes to a hidden file beside it, to the disk itself, and then takes the name,
    and with it the place of a file that has it already. An exception, or a kill, leaves what was
    there before.

    Args:
        path: of the file.
        mode: "wb" or "w" (UTF-8).
    """
    path = Path(path)
    # Two processes, or threads, that write the same file do not share the unfinished one.
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
    try:
        with naming(path):
            with partial.open(mode, encoding=None if "b" in mode else "utf-8") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Lets Ctrl-C wait, so that files which belong together come and go together."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Ctrl-C is the main thread's.
        return
    came = []
    previous = signal.signal(signal.SIGINT, lambda *_: came.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if came:
            signal.raise_signal(signal.SIGINT)


def remove_leftovers(directory: str | os.PathLike) -> None:
    """Removes unfinished files that killed processes of this computer left below a directory."""
    for path in Path(directory).rglob(".*.partial"):
        process = re.fullmatch(r"\..+\.(\d+)-\d+\.partial", path.name)
        if process and not _runs(int(process[1])):
            path.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # It is another user's.
    return True


@contextlib.contextmanager
def locked(path: Path, refusal: Callable[[str], str]) -> Iterator[None]:
    """Holds a lock: a file that names the process, and goes when it does.

    The system releases it however the process ends. Where files cannot be locked, there is a
    warning.

    Args:
        path: of the file.
        refusal: what to say when the process of this description holds it.

    Raises:
        UserError: another process holds it.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("a+")
        except FileNotFoundError:
            continue  # Whoever had the lock has removed the directory meanwhile.
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read() or "another process"
            file.close()
            raise UserError(refusal(owner)) from None
        except OSError as error:
            log.warning("%s cannot be locked (%s): let no second run use it", path, error.strerror)
        # Or has removed the file: then this is another than the name's.
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            break
        file.close()
    with file:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def local_path(path: str | os.PathLike, flag: str) -> Path:
    """An absolute path of the local file system, `~` expanded.

    Args:
        path: as the user wrote it.
        flag: the option or variable that it comes from, for the error message.

    Raises:
        UserError: the path is remote (`gs://…`), or `~` has no home directory.
    """
    text = os.fspath(path)
    if scheme := re.match(r"([a-zA-Z][a-zA-Z0-9+.-]*)://", text):
        raise UserError(
            f"{flag} {text}: {scheme[1]}:// paths are not supported. Copy the files to a local "
            "disk, or mount the storage (gcsfuse, s3fs, …) and give its local path."
        )
    expanded = os.path.expanduser(text)
    if expanded.startswith("~"):
        raise UserError(
            f"{flag} {text}: the home directory is unknown. Set HOME, or give an absolute path."
        )
    return Path(os.path.abspath(expanded))


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text file atomically."""
    with written_whole(path, "w") as file:
        file.write(text)


def write_json(path: str | os.PathLike, tree: Any, *, sealed: bool = False) -> None:
    """Writes JSON atomically; numbers that are not finite become null.

    Args:
        path: of the file.
        tree: of dictionaries, sequences and plain values.
        sealed: add a checksum of the content, which must be a dictionary.
    """
    tree = _map_leaves(tree, _finite)
    if sealed:
        tree[CHECKSUM] = _checksum(tree)
    write_text(path, json.dumps(tree, indent=2) + "\n")


def read_json(path: str | os.PathLike, *, sealed: bool = False) -> Any:
    """Reads what `write_json` wrote; null becomes NaN.

    Args:
        path: of the file.
        sealed: refuse a file without checksum. One that is there must be right in any case.

    Raises:
        ValueError: it is not JSON, or not what was written.
    """
    try:
        tree = json.loads(Path(path).read_text("utf-8"))
        checksum = tree.pop(CHECKSUM, None) if isinstance(tree, dict) else None
        if checksum is None and sealed:
            raise ValueError("it has no checksum")
        if checksum is not None and checksum != _checksum(tree):
            raise ValueError("its checksum differs: it was changed after it was written")
        return _map_leaves(tree, lambda x: math.nan if x is None else x)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _checksum(tree: Any) -> str:
    """Of the values, not of how they are set."""
    return f"{zlib.crc32(json.dumps(tree, sort_keys=True).encode()):08x}"


def _map_leaves(tree: Any, function: Callable[[Any], Any]) -> Any:
    if isinstance(tree, dict):
        return {name: _map_leaves(value, function) for name, value in tree.items()}
    if isinstance(tree, tuple | list):
        return [_map_leaves(value, function) for value in tree]
    return function(tree)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def differences(there: Any, here: Any, name: str = "") -> Iterator[str]:
    """What differs between two trees of plain JSON values, in words."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted(there.keys() | here.keys()):
            yield from differences(
                there.get(key, "absent"), here.get(key, "absent"), f"{name}.{key}" if name else key
            )
    elif there != here:
        yield f"{name} is {there!r} there, {here!r} here"
