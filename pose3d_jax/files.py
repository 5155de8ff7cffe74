"""Atomic writes, JSON with checksums, and locks."""

import contextlib
import fcntl
import json
import logging
import math
import os
import re
import signal
import socket
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from pose3d_jax.errors import UserError, naming

log = logging.getLogger(__name__)

#: Key of the checksum in a JSON file.
CHECKSUM = "checksum"


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, mode: str = "wb") -> Iterator[IO]:
    """Opens a file ("wb", or "w" for UTF-8) that is written atomically.

    The content goes to a hidden temporary file in the same directory, is flushed to the disk, and
    is then renamed, replacing an existing file. An exception or a kill leaves the existing file
    unchanged.
    """
    path = Path(path)
    # Processes and threads that write the same file have temporary files of their own.
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
    """Delays Ctrl-C to the end of the block, in which related files are changed together."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Only the main thread receives Ctrl-C.
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
    """Removes temporary files of killed processes of this computer below a directory."""
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
        pass  # A process of another user.
    return True


@contextlib.contextmanager
def locked(path: Path, refusal: Callable[[str], str]) -> Iterator[None]:
    """Holds a lock: a file with the description of this process.

    The system releases the lock at the end of the process, however it ends. On file systems without
    locks there is a warning. `refusal` returns the error message, given the description of the
    lock's holder.

    Raises:
        UserError: another process holds the lock.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("a+")
        except FileNotFoundError:
            continue  # The previous holder has just removed the directory.
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read() or "another process"
            file.close()
            raise UserError(refusal(owner)) from None
        except OSError as error:
            log.warning("%s cannot be locked (%s): start no second run", path, error.strerror)
        # The previous holder may have removed the file that was opened here.
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


def check_can_write(directory: str | os.PathLike) -> None:
    """Checks that a directory can be written, or made; changes nothing.

    Raises:
        UserError: it cannot.
    """
    existing = Path(directory)
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise UserError(f"{directory} cannot be written: {existing}: {error.strerror}.") from error


def local_path(path: str | os.PathLike, flag: str) -> Path:
    """An absolute path of the local file system, `~` expanded.

    `flag` is the option or variable that the path comes from, for the error message.

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
    with atomic_write(path, "w") as file:
        file.write(text)


def write_json(path: str | os.PathLike, tree: Any, *, checksummed: bool = False) -> None:
    """Writes JSON atomically; numbers that are not finite become null.

    Args:
        path: of the file.
        tree: of dictionaries, sequences and plain values.
        checksummed: add a checksum of the content, which must be a dictionary.
    """
    tree = _map_leaves(tree, _finite)
    if checksummed:
        tree[CHECKSUM] = _checksum(tree)
    write_text(path, json.dumps(tree, indent=2) + "\n")


def read_json(path: str | os.PathLike, *, checksummed: bool = False, null: Any = math.nan) -> Any:
    """Reads what `write_json` wrote.

    Args:
        path: of the file.
        checksummed: refuse a file without checksum. One that is there must be right in any case.
        null: value of null, which stands for numbers that are not finite.

    Raises:
        ValueError: it is not JSON, or not what was written.
    """
    try:
        tree = json.loads(Path(path).read_text("utf-8"))
        checksum = tree.pop(CHECKSUM, None) if isinstance(tree, dict) else None
        if checksum is None and checksummed:
            raise ValueError("it has no checksum")
        if checksum is not None and checksum != _checksum(tree):
            raise ValueError("its checksum differs: it was changed after it was written")
        return _map_leaves(tree, lambda x: null if x is None else x)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _checksum(tree: Any) -> str:
    """CRC-32 of the values, independent of the layout of the file."""
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
    """Describes the differences between two trees of JSON values."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted(there.keys() | here.keys()):
            yield from differences(
                there.get(key, "absent"), here.get(key, "absent"), f"{name}.{key}" if name else key
            )
    elif there != here:
        yield f"{name} is {there!r} there, {here!r} here"
