"""Checks of downloaded files, and error messages for files that cannot be read."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pose3d_jax.errors import UserError
from pose3d_jax.untrusted import check_file, reason

#: First bytes of the formats, by the end of the file name.
SIGNATURES = {".tgz": b"\x1f\x8b", ".gz": b"\x1f\x8b", ".zip": b"PK", ".h5": b"\x89HDF"}


def check_download(path: str | Path) -> None:
    """Checks the first bytes of a downloaded file; costs nothing, so it comes before any work.

    Raises:
        UserError: it cannot be opened, is an HTML page (of a login or an error), or another format
            than its name says.
    """
    check_file(path)
    with open(path, "rb") as file:
        start = file.read(512)
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise UserError(
            f"{path} is an HTML page: the server sent a login or error page instead of the file. "
            "Download it again, logged in, in a browser."
        )
    signature = SIGNATURES.get(Path(path).suffix, b"")
    if not start.startswith(signature):
        raise UserError(f"{path} is not a {Path(path).suffix} file. Download it again.")


@contextlib.contextmanager
def reading(path: str | Path, expected: str, advice: str = "") -> Iterator[None]:
    """Turns the errors of a library that reads a file into `UserError`.

    Args:
        path: the file.
        expected: what it should be, as in "not {expected}".
        advice: added to the message for damaged files.

    Raises:
        UserError: a library is missing, the system refuses to read the file, or it is damaged.
    """
    try:
        yield
    except (MemoryError, UserError):
        raise
    except ImportError as error:
        raise UserError(
            f"Reading {path} needs {error.name}: pip install 'pose3d_jax[prepare]'"
        ) from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise UserError(f"{path} cannot be read: {reason(error)}.") from error
        message = f"{path} is damaged or not {expected} ({reason(error)}). {advice}"
        raise UserError(message.rstrip()) from error
