import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pose3d_jax import untrusted
from pose3d_jax.errors import UserError


def crash(path):
    os.abort()


def swell(path):
    return len(bytes(1 << 30))


def spin(path):
    while True:
        pass


def scribble(path):
    with open(path, "a") as file:
        file.write("more")


def mistake(path):
    raise KeyError("our own bug")


def content(path):
    print("A library's own words.")
    with open(path) as file:
        return file.read()


def read(reader, path, **options):
    return untrusted.read_apart(reader, path, **({"memory": 1 << 28, "seconds": 20} | options))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_text("content")
    return path


@pytest.mark.parametrize(
    ("reader", "message"),
    [
        (crash, r"crashes what reads it \(SIGABRT\). Try another."),
        (swell, "takes more than 256 MiB"),
    ],
)
def test_a_file_that_breaks_its_reader_is_a_sentence(file, reader, message):
    with pytest.raises(UserError, match=message):
        read(reader, file, advice="Try another.")
    assert read(content, file) == "content"


def test_a_file_that_takes_too_long_is_a_sentence(file):
    with pytest.raises(UserError, match="takes more than 1 s"):
        read(spin, file, seconds=1)


def test_a_reader_writes_nothing(file):
    with pytest.raises(RuntimeError, match="File too large"):
        read(scribble, file)
    assert file.read_text() == "content"


def test_our_own_bugs_stay_visible(file):
    with pytest.raises(RuntimeError, match=r"KeyError: 'our own bug'"):
        read(mistake, file)


def test_a_killed_server_is_a_sentence_and_the_next_file_gets_another(file):
    read(content, file)
    untrusted._servers[os.getpid()].kill()
    with pytest.raises(UserError, match="want of memory"):
        read(content, file)
    assert read(content, file) == "content"


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    start = time.monotonic()
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
    assert time.monotonic() - start < 60


def test_a_reason_is_a_part_of_a_sentence():
    assert untrusted.reason(MemoryError()) == "MemoryError"
    assert untrusted.reason(ValueError("two\nlines.")) == "two lines"
    assert (
        untrusted.reason(OSError(28, "No space left on device", "x")) == "No space left on device"
    )
    assert len(untrusted.reason(ValueError("x" * 1000))) < 300


PROGRAM = """
import sys
from pose3d_jax.interop.torch_files import read_tensors
print(len(read_tensors(sys.argv[1])))
"""


def test_modules_in_the_current_directory_stay_closed(tmp_path):
    """A program may run where strangers' files are."""
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
    ("positions", "possible"),
    [([[-50.0, 4000.5]], True), ([], True), ([np.nan], False), ([-np.inf], False), ([1e6], False)],
)
def test_positions_that_can_be(positions, possible):
    assert untrusted.are_possible(positions) == possible
