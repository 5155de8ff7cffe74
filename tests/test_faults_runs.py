"""The campaign's faults in what a run keeps, in labels and in system calls, once each."""

import json
import shutil
import sys

import pytest
import small_checkpoint

from benchmarks.faults import kills, labels, load, runs, storage
from pose3d_jax.errors import UserError
from pose3d_jax.images.files import read_image
from pose3d_jax.prediction.outputs import OVERLAY, POSES, VIDEO


def test_changed_bytes_give_the_same_network_or_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_errors", lambda *_: iter(()))
    rows = list(storage.rows(seed=0, rounds=3, folder=tmp_path))
    assert len(rows) == 5
    assert not [row.wrong for row in rows if row.wrong]


def test_odd_labels_are_trained_or_named(tmp_path, monkeypatch, data_dir, compile_quickly):
    monkeypatch.setattr(runs, "prepare_data", lambda _: data_dir)
    rows = {row.name: row for row in labels.rows(seed=0, rounds=1, folder=tmp_path)}
    assert not [row.wrong for row in rows.values() if row.wrong]
    assert rows["all joints unlabelled"].survived == rows["one record"].survived == 1


def test_threads_get_what_one_gets_alone(compile_quickly):
    row = load._share(small_checkpoint.directory(), seed=0, minutes=0.02)
    assert row.survived and not row.wrong


def test_bad_pictures_are_as_many_as_said(tmp_path):
    bad = load._write_pictures(tmp_path / "pictures", 40, seed=0)
    assert len(bad) == 2 and len(list((tmp_path / "pictures").iterdir())) == 40
    for path in (tmp_path / "pictures").iterdir():
        if path in bad:
            with pytest.raises(UserError):
                read_image(path)
        else:
            read_image(path)


@pytest.mark.parametrize("names", [[POSES], [OVERLAY], [POSES, OVERLAY, "overlay.png.partial"]])
def test_results_that_are_not_whole_are_seen(tmp_path, names):
    place = tmp_path / "a.png"
    place.mkdir()
    for name in names:
        (place / name).touch()
    assert load._unfinished(tmp_path) == f"{place} has {', '.join(sorted(names))}"


def test_memory_that_grows_with_a_video_is_seen(tmp_path):
    place = tmp_path / "long.mp4"
    place.mkdir()
    (place / POSES).write_text(json.dumps({"frames": [{"frame": 0}, {"frame": 1}]}))
    load._write_video(place / VIDEO, 2)
    memory = [(0, 1 << 20), (40, 100 << 20), (60, (100 << 20) + load.MARGIN), (100, 90 << 20)]
    assert not load._wrong_video(load.Ended(0, "", 1.0, memory), tmp_path, 2)
    memory.append((99, 150 << 20))
    (wrong,) = load._wrong_video(load.Ended(0, "", 1.0, memory), tmp_path, 2)
    assert wrong == "150 MiB in its second half, 100 in its first"


WRITES = """
import sys
from pose3d_jax.files import write_json
from pose3d_jax.programs.run import run_program
place = sys.argv.pop()
run_program(lambda _: write_json(place, {"a": 1}))
"""


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
@pytest.mark.parametrize("stays", [False, True])
def test_each_call_that_fails_leaves_the_file_that_was_there(tmp_path, stays):
    library, path, count = tmp_path / "failing.so", tmp_path / "below" / "a.json", tmp_path / "n"
    storage.build(library)
    path.parent.mkdir()
    fault = {"LD_PRELOAD": str(library), "FAULT_BELOW": str(path.parent), "FAULT_WRITES": "1"}
    command = [sys.executable, "-c", WRITES, str(path)]
    code, output = runs.run(command, **fault, FAULT_COUNT=str(count))
    assert code == 0, output
    calls = int(count.read_text().split()[1])
    assert calls >= 4  # open, write, fsync, rename
    before = path.read_text()
    for call in range(1, calls + 1):
        fails = fault | {"FAULT_AT": str(call), "FAULT_ERROR": "28", "FAULT_STAYS": f"{stays:d}"}
        code, output = runs.run(command, **fails)
        assert code == 1 and runs.is_a_sentence(output), output
        assert "No space left" in output
        assert [file.name for file in path.parent.iterdir()] == ["a.json"]
        assert path.read_text() == before and json.loads(before) == {"a": 1}


LOGS = """
import sys
from pathlib import Path
from pose3d_jax.programs.run import run_program
from pose3d_jax.training.progress import MetricsLog
place = Path(sys.argv.pop())
def main(_):
    with MetricsLog(place, 0) as metrics:
        metrics.write(1, {"loss": 1.0})
        metrics.write(2, {"loss": 0.5})
run_program(main)
"""


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
def test_tensorboards_file_that_cannot_be_written_is_a_sentence(tmp_path):
    library, place, count = tmp_path / "failing.so", tmp_path / "stage1", tmp_path / "n"
    storage.build(library)
    place.mkdir()
    fault = {"LD_PRELOAD": str(library), "FAULT_BELOW": str(place / "tensorboard")}
    fault |= {"FAULT_WRITES": "1", "FAULT_ERROR": "5", "FAULT_STAYS": "1"}
    command = [sys.executable, "-c", LOGS, str(place)]
    code, output = runs.run(command, **fault, FAULT_COUNT=str(count))
    assert code == 0, output
    calls = int(count.read_text().split()[1])
    for call in (1, calls // 2, calls - 1):  # The last is of closing.
        code, output = runs.run(command, **fault, FAULT_AT=str(call))
        assert code == 1 and runs.is_a_sentence(output), output
        assert "tensorboard" in output and "Input/output error" in output


def test_a_program_is_killed_as_often_as_asked(tmp_path):
    """With a program that makes three files, one after another, where they are not there yet."""
    script = (
        "import pathlib, sys, time\n"
        "place = pathlib.Path(sys.argv[1])\n"
        "place.mkdir(exist_ok=True)\n"
        "for name in 'abc':\n"
        "    time.sleep(0.2)\n"
        "    (place / f'{name}.json').write_text('x')\n"
    )
    row = kills._kill(
        "slow", lambda place: [sys.executable, "-c", script, str(place)], runs.difference,
        seed=0, rounds=2, folder=tmp_path,
    )  # fmt: skip
    assert not row.wrong
    assert row.survived == 2


LATE = """
import asyncio
import time
import tensorstore
from pose3d_jax.programs.run import run_program

async def begin(future):
    asyncio.ensure_future(future)
    await asyncio.sleep(0)

def main(_):
    promise, future = tensorstore.Promise.new()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin(future))
    loop.close()
    promise.set_result(1)
    time.sleep(0.5)
run_program(main)
"""


def test_a_write_that_ends_after_another_has_failed_prints_no_stack_trace():
    """Orbax closes the loop at the first that fails."""
    code, output = runs.run([sys.executable, "-c", LATE])
    assert code == 0 and "Traceback" not in output, output
