"""The programs that the faults hit, on a few records with a very small network."""

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from pose3d_jax.data.sources import open_source
from tests import programs

DATA = ("synthetic/lab_tiny", "synthetic/wild_tiny")
STAGES = {1: 6, 2: 8, 3: 4}
#: Seconds after which a program hangs, even on a busy machine.
PATIENCE = 900


def prepare_command(name: str, data_dir: Path) -> list[str]:
    """The command line that prepares a few records."""
    module = [sys.executable, "-m", "tfds_builders.prepare"]
    return [*module, name, "--limit", "16", "--workers", "1", "--data_dir", str(data_dir)]


def train_command(workdir: Path, data_dir: Path) -> list[str]:
    """The command line that trains all three stages."""
    return programs.command(workdir, data_dir)


def run(command: list[str], **environment: str) -> tuple[int, str]:
    """Runs a program to its end; returns its exit code and what it said."""
    done = subprocess.run(
        command,
        cwd=programs.ROOT,
        env=programs.environment() | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout


def run_well(command: list[str]) -> None:
    """Runs a program that must succeed."""
    code, output = run(command)
    if code:
        raise RuntimeError(f"{' '.join(command)} failed:\n{output}")


def prepare_data(folder: Path) -> Path:
    """Both data sets, in a new folder."""
    shutil.copytree(_prepared(), folder)
    return folder


@functools.cache
def _prepared() -> Path:
    """Both data sets, for all kinds of faults; removed at the end."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    for name in DATA:
        run_well(prepare_command(name, folder))
    return folder


def is_a_sentence(output: str) -> bool:
    """Whether a program ended with one sentence, as for a user's mistake."""
    lines = output.strip().splitlines()
    return bool(lines) and lines[-1].startswith("error: ") and "Traceback" not in output


def difference(one: Path, other: Path) -> str | None:
    """How two finished directories differ, apart from times; None where they do not.

    Checkpoints' arrays, scalars, pictures, results, configs and records must be the same bit for
    bit, and nothing unfinished may be left.
    """
    if found := unlike(kept(one), other):
        return found
    for stage, step in STAGES.items():
        if not (one / f"stage{stage}").exists():
            continue
        arrays = [programs.checkpoint(place, stage, step) for place in (one, other)]
        for name in arrays[0].keys() | arrays[1].keys():
            if not np.array_equal(*(found.get(name) for found in arrays)):
                return f"{name} of stage{stage} differs"
    return None


def unlike(expected: dict[str, bytes], place: Path) -> str | None:
    """What in a directory is unfinished, or differs from what was `kept` of another."""
    for path in place.rglob("*"):
        if path.name.startswith(".") or "partial" in path.name or "tmp" in path.name:
            return f"{path.relative_to(place)} is left"
    differ = set(expected.items()) ^ set(kept(place).items())
    return f"{min(differ)[0]} differs" if differ else None


def kept(place: Path) -> dict[str, bytes]:
    """What must be the same whenever a command has come to its end: files, and data sets' records.

    Records' files are not: the order in which they hold a record's fields is left to chance.
    """
    found = {
        str(path.relative_to(place)): path.read_bytes()
        for path in place.rglob("*")
        if path.suffix in (".json", ".jsonl", ".png", ".md", ".npz", ".jaxexport")
        and path.is_file()
        and "checkpoints" not in path.parts
    }
    for path in place.rglob("dataset_info.json"):
        builder = tfds.builder_from_directory(path.parent)
        for split in builder.info.splits:
            name = f"{path.parent.relative_to(place)}, records of {split}"
            found[name] = b"".join(map(_record, open_source(builder, split)))
    return found


def _record(record: dict) -> bytes:
    values = (record[name] for name in sorted(record))
    return b"".join(v if isinstance(v, bytes) else np.asarray(v).tobytes() for v in values)


def count_files(folder: Path) -> int:
    """How many files and directories there are below a folder that may change meanwhile."""
    return sum(len(names) + len(places) for _, places, names in os.walk(folder))
