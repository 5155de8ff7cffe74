"""The campaign itself, once; the full table stands in docs/reliability.md."""

import os
import signal
import subprocess
import sys

import pytest

from benchmarks.faults import attempts
from pose3d_jax.errors import UserError


def test_strangers_files_do_no_harm():
    """In a process of its own: the campaign forks, which goes ill with JAX's threads."""
    command = [sys.executable, "-m", "benchmarks.faults", "strangers", "--seed", "0"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("--seed 0 --rounds 1")
    assert process.stdout.count("| 1 |") > 25


def leave_a_file(path):
    (path.parent / "elsewhere").touch()


def say(path):
    os.write(2, b"a warning")


def refuse(path):
    raise UserError(f"{path} is damaged.")


@pytest.mark.parametrize(
    ("read", "outcome"),
    [
        (lambda path: os.system("true"), "os.system"),
        (leave_a_file, "elsewhere"),
        (lambda path: path.read_bytes(), "survived"),
        (say, "a warning"),
        (lambda path: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL"),
        (lambda path: [][0], "IndexError"),
        (refuse, "refused"),
        (lambda path: refuse("another"), "no sentence"),
    ],
)
def test_the_campaign_sees_what_happens(tmp_path, read, outcome):
    def make(rng, folder):
        (folder / "a").touch()
        return folder / "a"

    (tmp_path / "attempt").mkdir()
    row = attempts.attempt("row", make, read, 0, 2, tmp_path / "attempt")
    if outcome in ("survived", "refused"):
        assert getattr(row, outcome) == 2 and not row.wrong
    else:
        assert len(row.wrong) == 2 and all(outcome in words for words in row.wrong)
