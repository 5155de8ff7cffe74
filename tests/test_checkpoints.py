import errno
import json
import os
import resource
import sys

import numpy as np
import pytest

from pose3d_jax.checkpoints import stage
from pose3d_jax.checkpoints.stage import StageCheckpoints
from pose3d_jax.errors import UserError
from pose3d_jax.models.variables import Variables, flatten


def state(value: float) -> dict:
    rng = np.random.default_rng(int(value))
    return {
        "step": np.int32(value),
        "params": {"kernel": rng.normal(size=(64, 64)).astype(np.float32), "bias": np.ones(3)},
    }


def assert_same(a, b):
    for x, y in zip(flatten(a).values(), flatten(b).values(), strict=True):
        np.testing.assert_array_equal(x, y)
        assert x.dtype == y.dtype


def save_all(directory, steps, keep=5):
    with StageCheckpoints(directory, keep) as manager:
        for step in steps:
            manager.save(step, state(step))


def test_round_trip_of_the_newest(tmp_path, monkeypatch):
    save_all(tmp_path / "stage", (3, 7))
    monkeypatch.chdir(tmp_path)
    for directory in (tmp_path / "stage", "stage"):
        with StageCheckpoints(directory) as manager:
            assert_same(manager.restore(state(0)), state(7))


def test_nothing_saved_is_none(tmp_path):
    with StageCheckpoints(tmp_path) as manager:
        assert manager.restore(state(0)) is None


def test_only_the_newest_are_kept(tmp_path):
    save_all(tmp_path, (1, 2, 3, 4), keep=2)
    with StageCheckpoints(tmp_path) as manager:
        assert manager.steps() == [3, 4]


def test_some_are_kept_for_good(tmp_path):
    with StageCheckpoints(tmp_path, keep=1, keep_every=4) as manager:
        for step in (2, 4, 6, 8, 10):
            manager.save(step, state(step))
        manager.wait()
        assert manager.steps() == [4, 8, 10]
        assert_same(manager.restore(state(0)), state(10))


def test_what_is_saved_is_a_copy(tmp_path):
    live = state(1)
    with StageCheckpoints(tmp_path) as manager:
        manager.save(1, live)
        live["params"]["kernel"][:] = -1
        manager.wait()
        assert_same(manager.restore(state(0)), state(1))


def largest_file(directory):
    return max((p for p in directory.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
    ],
    ids=["flipped bits", "truncated", "missing", "empty"],
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, caplog, damage):
    save_all(tmp_path, (3, 7))
    damage(largest_file(tmp_path / "checkpoints" / "7"))
    with StageCheckpoints(tmp_path) as manager:
        assert_same(manager.restore(state(0)), state(3))
        assert "checkpoints/7 is damaged" in caplog.text
        # Its step can be reached and saved again.
        manager.save(7, state(7))
        manager.wait()
        assert_same(manager.restore(state(0)), state(7))
    assert (tmp_path / "damaged-7").is_dir()


def test_a_second_damage_of_a_step_finds_another_name(tmp_path):
    (tmp_path / "damaged-7").mkdir()
    save_all(tmp_path, (3, 7))
    flip(largest_file(tmp_path / "checkpoints" / "7"))
    with StageCheckpoints(tmp_path) as manager:
        assert_same(manager.restore(state(0)), state(3))
    assert (tmp_path / "damaged-7-2" / "state").is_dir()


def test_a_librarys_details_are_no_part_of_the_sentence(tmp_path, monkeypatch):
    save_all(tmp_path, (3,))
    words = "UNKNOWN: Failed to read: Input/output error"
    with StageCheckpoints(tmp_path) as manager:

        def fail(*_):
            raise ValueError(f"{words} [os_error_code='5'] [tensorstore_spec='{{}}']")

        monkeypatch.setattr(stage, "_restore", fail)
        with pytest.raises(UserError, match=rf"read: {words}\. Nothing shows"):
            manager.restore(state(0))


def test_too_many_open_files_are_no_damage(tmp_path, monkeypatch):
    save_all(tmp_path, (3, 7))
    # pytest's hook would open a file to report what Orbax leaves half done.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with StageCheckpoints(tmp_path) as manager:
        taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 1, hard))
        try:
            with pytest.raises(UserError, match=r"(?s)checkpoints/7 could not be read: .*rerun"):
                manager.restore(state(0))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for descriptor in taken:
                os.close(descriptor)
        assert manager.steps() == [3, 7]
        assert_same(manager.restore(state(0)), state(7))
    assert not list(tmp_path.glob("damaged-*"))


@pytest.mark.parametrize(
    ("error", "damage"),
    [
        (ValueError("DATA_LOSS: Error reading manifest"), True),
        (ValueError("NOT_FOUND: … [OS error 2: ENOENT No such file or directory]"), True),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), True),
        (ValueError('Error opening "zarr" driver: Error reading "a/.zarray" in OCDBT …'), True),
        (json.JSONDecodeError("Expecting value", "", 0), True),
        # Orbax with a relative path; a library of another version.
        (ValueError("Checkpoint path should be absolute."), False),
        (TypeError("restore() got an unexpected keyword argument"), False),
        (AttributeError("module 'orbax' has no attribute"), False),
        (KeyError("tree_metadata"), False),
        (ValueError("Error opening … [OS error 24: EMFILE Too many open files]"), False),
        (ValueError("DATA_LOSS: … [OS error 5: EIO Input/output error]"), False),
        (ValueError("DATA_LOSS: … Input/output error [os_error_code='5']"), False),
        (ValueError("RESOURCE_EXHAUSTED: …"), False),
        (OSError(errno.ESTALE, "Stale file handle"), False),
        (PermissionError(errno.EACCES, "Permission denied"), False),
        (MemoryError(), False),
        (RuntimeError(), False),
    ],
)
def test_only_what_proves_damage_sets_a_checkpoint_aside(tmp_path, monkeypatch, error, damage):
    save_all(tmp_path, (3, 7))
    with StageCheckpoints(tmp_path) as manager:
        original = stage._restore

        def restore(path, fields):
            if path.name == "7":
                raise error
            return original(path, fields)

        monkeypatch.setattr(stage, "_restore", restore)
        if damage:
            assert_same(manager.restore(state(0)), state(3))
        else:
            with pytest.raises(UserError, match="Nothing shows that it is damaged"):
                manager.restore(state(0))
    assert (tmp_path / "checkpoints" / "7").is_dir() != damage


def test_a_directory_that_is_deleted_is_noticed(tmp_path):
    with StageCheckpoints(tmp_path / "stage1") as manager:
        manager.save(1, state(1))
        manager.wait()
        (tmp_path / "stage1").rename(tmp_path / "elsewhere")
        with pytest.raises(UserError, match="stage1 does not exist: it was deleted or moved"):
            manager.save(2, state(2))


def test_an_interrupted_save_is_no_checkpoint(tmp_path):
    save_all(tmp_path, (3,))
    leftover = tmp_path / "checkpoints" / "7.orbax-checkpoint-tmp"
    leftover.mkdir()
    (leftover / "state").write_bytes(b"half")
    with StageCheckpoints(tmp_path) as manager:
        assert manager.steps() == [3]
        assert_same(manager.restore(state(0)), state(3))


def test_a_network_is_restored_without_the_optimizer_state(tmp_path, monkeypatch):
    """Only the network's arrays are read, and only their checksums are compared."""
    variables = Variables({"kernel": np.float32([[1, 2]])}, {"mean": np.float32([3])})
    tree = {**variables._asdict(), "step": np.int32(4), "opt_state": {"nu": np.ones(1000)}}
    with StageCheckpoints(tmp_path) as manager:
        manager.save(4, tree)
    read = []
    original = stage._restore
    monkeypatch.setattr(stage, "_restore", lambda *a: read.append(original(*a)) or read[-1])
    assert_same(stage.restore_variables(tmp_path, variables), variables)
    assert read[0][0].keys() == {"params/kernel", "stats/mean"}


def test_another_network_is_refused(tmp_path):
    save_all(tmp_path, (3,))
    other = state(0)
    other["params"]["kernel"] = np.zeros((64, 32), np.float32)
    with StageCheckpoints(tmp_path) as manager, pytest.raises(UserError, match="params/kernel"):
        manager.restore(other)


def test_a_disk_without_room_keeps_what_it_has(tmp_path, monkeypatch):
    save_all(tmp_path, (3,))
    usage = stage.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(stage.shutil, "disk_usage", lambda _: usage._replace(free=10_000))
    with StageCheckpoints(tmp_path) as manager:
        with pytest.raises(UserError, match="0 MiB left"):
            manager.save(7, state(7))
        assert manager.steps() == [3]
        assert_same(manager.restore(state(0)), state(3))


def test_a_failed_save_in_the_background_does_not_hide_what_led_here(tmp_path, monkeypatch):
    """On a full disk both fail: the save, and what is written meanwhile."""

    def close(*_):
        raise ValueError("the save's\nown words")

    with pytest.raises(UserError, match="what led here"), StageCheckpoints(tmp_path) as checkpoints:
        monkeypatch.setattr(checkpoints._manager, "close", close)
        raise UserError("what led here")
