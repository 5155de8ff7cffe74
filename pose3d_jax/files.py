"""Files that are written atomically: completely, or not at all."""

import contextlib
import json
import math
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any


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
        with partial.open(mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text file atomically."""
    with written_whole(path, "w") as file:
        file.write(text)


def write_json(path: str | os.PathLike, tree: Any) -> None:
    """Writes JSON atomically; numbers that are not finite become null."""
    write_text(path, json.dumps(_map_leaves(tree, _finite), indent=2) + "\n")


def read_json(path: str | os.PathLike) -> Any:
    """Reads what `write_json` wrote; null becomes NaN."""
    text = Path(path).read_text("utf-8")
    return _map_leaves(json.loads(text), lambda x: math.nan if x is None else x)


def _map_leaves(tree: Any, function: Callable[[Any], Any]) -> Any:
    if isinstance(tree, dict):
        return {name: _map_leaves(value, function) for name, value in tree.items()}
    if isinstance(tree, tuple | list):
        return [_map_leaves(value, function) for value in tree]
    return function(tree)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
