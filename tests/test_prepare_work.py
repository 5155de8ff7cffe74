import dataclasses
import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from pose3d_jax.errors import UserError
from tfds_builders import base, work


def make_marked(item):
    """Leaves a mark in a file each time it runs."""
    marks, count = item.task
    with open(marks, "a") as file:
        file.write(f"{item.name}\n")
    if count == "bad":
        raise UserError("repair me")
    return work.Output([{"x": np.arange(k)} for k in range(count)])


def make_items(tasks, split="train", inputs=()):
    return [work.Item(split, f"{split}{k}", (), inputs, task) for k, task in enumerate(tasks)]


def make_plain(item):
    return work.Output([{"image_id": item.name}] * item.task)


def make_slowly(item):
    time.sleep(0.3)
    return work.Output([{"image_id": item.name}])


@pytest.mark.parametrize("threads", [False, True])
def test_receipts_come_in_order_whoever_works(tmp_path, threads):
    items = make_items(range(10))
    receipts = work.run_all(make_plain, items, tmp_path / "cache", 2, threads=threads)
    assert [(item.name, receipt.records) for item, receipt in receipts] == [
        (f"train{k}", k) for k in range(10)
    ]


def test_a_finished_item_is_never_made_again_and_keeps_its_records(tmp_path):
    marks = tmp_path / "marks"
    items = make_items([(marks, 2), (marks, 3)])
    first, again = (
        [work.run(make_marked, item, tmp_path / "cache") for item in items] for _ in range(2)
    )
    assert marks.read_text().split() == ["train0", "train1"]
    assert first == again
    np.testing.assert_array_equal(again[1].load()[2]["x"], [0, 1])


def test_an_item_whose_input_changed_is_made_again(tmp_path):
    (marks := tmp_path / "marks").touch()
    (item,) = make_items([(marks, 1)], inputs=(str(marks),))  # Its maker changes its input.
    work.run(make_marked, item, tmp_path / "cache")
    work.run(make_marked, item, tmp_path / "cache")
    assert marks.read_text().count("\n") == 2


@pytest.mark.parametrize("change", [{"task": 5}, {"limit": 1}, {"split": "test"}])
def test_what_records_depend_on_is_in_the_fingerprint(tmp_path, change):
    (item,) = make_items([2])
    other = dataclasses.replace(item, **change)
    names = {work.run(make_plain, each, tmp_path).path for each in (item, other)}
    assert len(names) == 2


def test_errors_are_receipts_and_are_forgotten_on_demand(tmp_path):
    (item,) = make_items([(marks := tmp_path / "marks", "bad")])
    for _ in range(2):
        receipt = work.run(make_marked, item, tmp_path / "cache")
        assert receipt.errors == ["repair me"] and receipt.records == 0 and receipt.load() == []
    assert marks.read_text() == "train0\n"
    work.discard_failures(tmp_path / "cache")
    work.run(make_marked, item, tmp_path / "cache")
    assert marks.read_text() == 2 * "train0\n"


def test_other_exceptions_are_bugs_and_leave_no_receipt(tmp_path):
    (item,) = make_items(["no number"])
    with pytest.raises(TypeError):
        work.run(make_plain, item, tmp_path / "cache")
    assert not list(tmp_path.glob("cache/*"))


def test_a_full_disk_leaves_no_half_file(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    (item,) = make_items([1])
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        work.run(make_plain, item, tmp_path / "cache")
    assert not list(tmp_path.glob("cache/*"))


def test_kill_minus_nine_leaves_only_whole_items_and_no_worker(tmp_path):
    cache = tmp_path / "cache"
    program = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1])\n"
        "import test_prepare_work as t; from tfds_builders import work\n"
        "if __name__ == '__main__':\n"
        "    items = [work.Item('train', str(k), (), (), k) for k in range(100)]\n"
        "    list(work.run_all(t.make_slowly, items, pathlib.Path(sys.argv[2]), 2))\n"
    )
    script = tmp_path / "program.py"
    script.write_text(program)
    process = subprocess.Popen(
        [sys.executable, str(script), os.path.dirname(__file__), str(cache)],
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while len(list(cache.glob("*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    receipts = list(cache.glob("*.json"))
    assert 3 <= len(receipts) < 100
    for path in receipts:
        receipt = work._read_cached(path)
        assert len(receipt.load()) == receipt.records == 1
    # The workers belong to the dead parent's process group, and end with it.
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    else:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail("workers outlived their parent")


def test_a_trial_samples_every_split_evenly():
    items = make_items([9] * 40) + make_items([9] * 3, split="test")
    plan = base.Plan(items, make_plain, unit="records", expected={})
    trial = plan.trial(20)
    for split, picked in (("train", 16), ("test", 3)):
        chosen = [item for item in trial.items if item.split == split]
        assert len(chosen) == picked
        assert sum(item.limit for item in chosen) == 20
    assert trial.items[15].name == "train37"
    assert trial.metadata["limit"] == 20
