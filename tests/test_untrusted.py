import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pose3d_jax import untrusted
from pose3d_jax.errors import OverloadError, UserError


def crash(path):
    os.abort()


def swell(path):
    return len(bytes(1 << 30))


def spin(path):
    while True:
        pass


def wait(path):
    time.sleep(60)


def killed(path):
    os.kill(os.getpid(), signal.SIGKILL)


def scribble(path):
    with open(path, "a") as file:
        file.write("more")


def mistake(path):
    raise KeyError("a bug")


def content(path):
    print("Output of a library.")
    with open(path) as file:
        return file.read()


pytestmark = pytest.mark.usefixtures("isolated")


def read(reader, path, **options):
    return untrusted.read_isolated(reader, path, **({"memory": 1 << 28, "seconds": 20} | options))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_text("content")
    return path


@pytest.mark.parametrize(
    ("reader", "message"),
    [
        (crash, r"crashes its reader \(SIGABRT\). Try another."),
        (swell, "takes more than 256 MiB"),
        (spin, "takes more than 1 s"),
    ],
)
def test_reader_that_crashes_or_exceeds_a_limit_is_user_error(file, reader, message):
    with pytest.raises(UserError, match=message):
        read(reader, file, advice="Try another.", **({"seconds": 1} if reader is spin else {}))
    assert read(content, file) == "content"


@pytest.mark.parametrize(
    ("reader", "message"), [(wait, "did not finish in 1 s"), (killed, "lack of memory")]
)
def test_reader_that_the_machine_stops_says_nothing_about_the_file(
    file, monkeypatch, reader, message
):
    if reader is wait:
        monkeypatch.setattr(untrusted, "_WALL_FACTOR", 1)
    with pytest.raises(OverloadError, match=message):
        read(reader, file, **({"seconds": 1} if reader is wait else {}))


@pytest.mark.parametrize(
    ("reader", "message"), [(scribble, "File too large"), (mistake, r"KeyError: 'a bug'")]
)
def test_bugs_of_a_reader_are_raised_and_it_cannot_write(file, reader, message):
    with pytest.raises(RuntimeError, match=message):
        read(reader, file)
    assert file.read_text() == "content"


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, message in (
        (tmp_path / "pipe", "a pipe, a socket or a device"),
        ("/dev/zero", "a pipe, a socket or a device"),
        (tmp_path, "is a directory"),
        (tmp_path / "absent", "no such file"),
        (tmp_path / ("x" * 300), "File name too long"),
        ("a\0b", "null"),
    ):
        with pytest.raises(UserError, match=message):
            untrusted.check_file(path)


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "I/O")])
def test_unreadable_file_gives_the_reason_of_the_system(file, monkeypatch, error):
    def refuse(*_):
        raise error

    monkeypatch.setattr("builtins.open", refuse)  # Root can read every file.
    with pytest.raises(UserError, match=rf"cannot be read: {error.strerror}\.$"):
        untrusted.check_file(file)


def test_reason_is_one_short_line():
    assert untrusted.reason(MemoryError()) == "MemoryError"
    assert untrusted.reason(ValueError("two\nlines.")) == "two lines"
    assert (
        untrusted.reason(OSError(28, "No space left on device", "x")) == "No space left on device"
    )
    assert len(untrusted.reason(ValueError("x" * 1000))) < 300


PROGRAM = """
import sys
from pose3d_jax.interop.torch_files import read_tensors
print(len(read_tensors(sys.argv[1], "a")))
"""


def test_modules_in_the_current_directory_are_not_imported(tmp_path):
    """A program may run in a directory of untrusted files."""
    (tmp_path / "program.py").write_text(PROGRAM)
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    for name in ("pickle", "numpy", "zipfile"):
        (uploads / f"{name}.py").write_text("open('witness', 'w')")
    weights = Path(__file__).parent / "data" / "torch_zip.pth"
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py", weights],
        cwd=uploads,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not (uploads / "witness").exists()
    assert done.stdout == "5\n", done.stderr


@pytest.mark.parametrize(
    ("positions", "plausible"),
    [([[-50.0, 4000.5]], True), ([], True), ([np.nan], False), ([-np.inf], False), ([1e6], False)],
)
def test_plausible_positions(positions, plausible):
    assert untrusted.are_plausible(positions) == plausible
