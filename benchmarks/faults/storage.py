"""A disk that fails: changed bytes in what a run keeps, and errors of the system.

Bytes are changed in every kind of file that is read again. Errors come from `failing.c`, which lets
one call of a program fail, or all from one on: full, read-only or broken disks and servers that do
not answer. The program must do without or end with a sentence, and succeed when it is rerun.
"""

import errno
import functools
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np

from benchmarks.faults import runs
from benchmarks.faults.rows import Row
from pose3d_jax import trained
from pose3d_jax.errors import UserError
from pose3d_jax.evaluation import predictions, report
from pose3d_jax.files import differences, write_json
from pose3d_jax.models.variables import Network
from pose3d_jax.training.directory import CONFIG_FILE, read_config
from pose3d_jax.training.progress import METRICS_FILE, MetricsLog
from tests import small_checkpoint

#: What calls that read, and calls that write, can fail with.
READING = (errno.EMFILE, errno.EIO, errno.ESTALE, errno.EACCES)
WRITING = (errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT, errno.ESTALE)

SPLIT = predictions.Split("synthetic/lab_tiny", source=range(2), image_side=64)
RESULTS = {"network": "af01", "flip": False, "data": {SPLIT.name: {"images": 2, "MPJPE": 61.25}}}


def rows(seed: int, rounds: int, folder: Path) -> Iterator[Row]:
    """A row for each kind of file, and for reading and writing of each program."""
    stage = folder / "stage3"
    small_checkpoint.write(stage)
    write_json(stage / report.RESULTS_FILE, RESULTS, sealed=True)
    with MetricsLog(stage, 0) as metrics:
        for step in range(1, 9):
            metrics.write(step, {"loss": 1 / step})
    packed = stage / "network.safetensors"
    trained.pack(stage, packed)
    weights = _arrays(trained.load(packed).network)
    for name, files, read in (
        ("changed bytes, checkpoints", "checkpoints/*/**/*", _same_network),
        ("changed bytes, weights", packed.name, functools.partial(_same_weights, weights)),
        ("changed bytes, configs", CONFIG_FILE, _same_config),
        ("changed bytes, scalars", METRICS_FILE, _some_scalars),
        ("changed bytes, results", report.RESULTS_FILE, _same_results),
    ):
        yield _change(name, stage, files, read, seed, rounds, folder / "changed")
    yield from _errors(seed, rounds, folder)


def _change(
    name: str,
    stage: Path,
    files: str,
    read: Callable[[Path], None],
    seed: int,
    rounds: int,
    place: Path,
) -> Row:
    """Flips a bit, or cuts a file off, and reads the stage."""
    row = Row(name)
    for number in range(rounds):
        rng = np.random.default_rng((seed, number))
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(stage, place)
        found = sorted(path for path in place.glob(files) if path.is_file() and path.stat().st_size)
        path = rng.choice(found)
        content = bytearray(path.read_bytes())
        position = int(rng.integers(len(content)))
        if rng.integers(2):
            content[position] ^= 1 << int(rng.integers(8))
        else:
            del content[position:]
        path.write_bytes(content)
        began = time.monotonic()
        try:
            read(place)
            row.survived += 1
        except UserError as error:
            one = "\n" not in str(error)
            row.refused += one
            row.wrong += [] if one else [f"attempt {number}: {error}"]
        except Exception as error:
            row.wrong.append(f"attempt {number}, {path.relative_to(place)}: {error!r}"[:300])
        row.seconds = max(row.seconds, time.monotonic() - began)
    return row


@functools.cache
def _network() -> list[np.ndarray]:
    state = small_checkpoint.state()
    return [np.asarray(leaf) for leaf in jax.tree.leaves((state.params, state.stats))]


def _same_network(stage: Path) -> None:
    state = predictions.load(stage).state
    for one, other in zip(jax.tree.leaves((state.params, state.stats)), _network(), strict=True):
        np.testing.assert_array_equal(one, other)


def _arrays(network: Network) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves((network.params, network.stats))]


def _same_weights(expected: list[np.ndarray], place: Path) -> None:
    found = _arrays(trained.load(place / "network.safetensors").network)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def _same_records(expected: dict[str, bytes], place: Path) -> None:
    if found := runs.unlike(expected, place):
        raise AssertionError(found)


def _same_config(stage: Path) -> None:
    there, ours = read_config(stage).model, small_checkpoint.config().model
    if found := list(differences(there.to_dict(), json.loads(ours.to_json_best_effort()))):
        raise AssertionError(f"another network: {found}")


def _some_scalars(stage: Path) -> None:
    with MetricsLog(stage, 8) as metrics:
        metrics.write(9, {"loss": 0.1})
    if not (stage / METRICS_FILE).read_text().endswith('{"step": 9, "loss": 0.1}\n'):
        raise AssertionError("not written")


def _same_results(stage: Path) -> None:
    found = report.kept(stage, [SPLIT], {"network": "af01", "flip": False})
    if found not in (None, RESULTS):  # None: they are computed anew.
        raise AssertionError(f"other results: {found}")


def build(library: Path) -> None:
    """Compiles `failing.c`."""
    source = Path(__file__).with_name("failing.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)


def _errors(seed: int, rounds: int, folder: Path) -> Iterator[Row]:
    library = folder / "failing.so"
    build(library)
    data_dir = runs.prepare_data(folder / "data")
    records, place = data_dir / runs.DATA[0], folder / "changed"
    same = functools.partial(_same_records, runs.kept(records))
    yield _change("changed bytes, records", records, "*/*record*", same, seed, rounds, place)
    workdir = folder / "trained"
    runs.run_well(runs.train_command(workdir, data_dir))
    common = {"LD_PRELOAD": str(library), "FAULT_BELOW": str(folder)}
    place, count = folder / "attempt", folder / "count"
    for number, (name, command) in enumerate(_programs(workdir, data_dir)):
        for _ in range(2):  # What the first run compiles, all later ones read.
            _empty(place)
            code, output = runs.run(command(place), **common, FAULT_COUNT=str(count))
            if code:
                raise RuntimeError(output)
        expected = runs.kept(place)
        for writes, calls in enumerate(map(int, count.read_text().split())):
            row = Row(f"errors while {('reading', 'writing')[writes]}: {name}")
            kind = common | {"FAULT_WRITES": str(writes)}
            for attempt in range(rounds):
                rng = np.random.default_rng((seed, number, attempt))
                _fail(row, command, place, expected, kind, calls, rng)
            yield row


def _programs(workdir: Path, data_dir: Path) -> Iterator[tuple[str, Callable[[Path], list[str]]]]:
    """Command lines that work in a directory, by name."""

    def train(place: Path) -> list[str]:
        # Everything but the last stage is there already.
        for name in ("stage1", "stage2"):
            if not (place / name).exists():
                shutil.copytree(workdir / name, place / name)
        return runs.train_command(place, data_dir)

    def program(name: str, *words: str) -> Callable[[Path], list[str]]:
        flags = (f"--checkpoint={workdir / 'stage3'}", f"--compilation_cache={data_dir}/compiled")
        module = [sys.executable, "-m", f"pose3d_jax.{name}", *flags]
        return lambda place: [*module, f"--out={place / 'out'}", *words]

    def export(place: Path) -> list[str]:
        module = [sys.executable, "-m", "pose3d_jax.export"]
        return [*module, str(workdir / "stage3"), str(place / "a.jaxexport")]

    picture = min(workdir.rglob("*.png"))
    yield "train", train
    yield "prepare", functools.partial(runs.prepare_command, runs.DATA[0])
    yield "evaluate", program("evaluate", f"--data_dir={data_dir}", f"--data={runs.DATA[1]}")
    yield "predict", program("predict", str(picture))
    yield "export", export


def _fail(
    row: Row,
    command: Callable[[Path], list[str]],
    place: Path,
    expected: dict[str, bytes],
    environment: dict[str, str],
    calls: int,
    rng: np.random.Generator,
) -> None:
    """Runs a program of which a random call fails, and reruns it where it ended early."""
    writes = environment["FAULT_WRITES"] == "1"
    error = int(rng.choice(WRITING if writes else READING))
    at, stays = int(rng.integers(calls)) + 1, int(rng.integers(2))
    what = f"{errno.errorcode[error]} at call {at} of {calls}{' and all after' * stays}"
    fault = {"FAULT_AT": str(at), "FAULT_ERROR": str(error), "FAULT_STAYS": str(stays)}
    _empty(place)
    began = time.monotonic()
    code, output = runs.run(command(place), **environment, **fault)
    row.seconds = max(row.seconds, time.monotonic() - began)
    refused = code != 0
    if refused and not runs.is_a_sentence(output):
        row.wrong.append(f"{what}: exit code {code}, {output[-600:]!r}")
        return
    if refused:
        code, again = runs.run(command(place))
        if code:
            row.wrong.append(f"{what}, {output[-300:]!r}, rerun: {again[-600:]!r}")
            return
    if found := runs.unlike(expected, place):
        row.wrong.append(f"{what}{', rerun' * refused}: {found}")
        return
    row.refused += refused
    row.survived += not refused


def _empty(place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
