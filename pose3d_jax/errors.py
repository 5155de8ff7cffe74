"""Errors that a user can fix; `programs.run` prints them as one sentence."""

import contextlib
import difflib
import errno
import os
from collections.abc import Iterable, Iterator


class UserError(Exception):
    """A mistake that the user can fix: one sentence with what is wrong, where, and the remedy."""


class OverloadError(UserError):
    """The machine lacks time or memory for a file, which may be fine."""


@contextlib.contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """Adds a file's name to system errors without one, such as those of writing."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = os.fspath(path)
        raise


class Interrupted(Exception):
    """A program stopped after a signal, and saved its state.

    Attributes:
        exit_code: 128 + the signal's number, as in shells.
    """

    def __init__(self, signal_number: int, message: str):
        super().__init__(message)
        self.exit_code = 128 + signal_number


def system_error(error: OSError) -> str:
    """The system's error as a sentence that names the file."""
    file = error.filename2 or error.filename
    if error.errno == errno.ENOSPC:
        return f"No space left on the device of {file or 'an output file'}."
    return f"{file}: {error.strerror}." if file else f"{error.strerror or error}."


def suggestion(name: str, known: Iterable[str]) -> str:
    """A question with the known name that is closest to a misspelt one; empty if none is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]}?" if close else ""
