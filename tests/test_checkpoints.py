import json

import ml_collections
import numpy as np
import pytest

from pose3d_jax import presets
from pose3d_jax.errors import UserError
from pose3d_jax.training import checkpoints
from pose3d_jax.training.checkpoints import StageCheckpoints
from pose3d_jax.training.directory import claim_directory, read_config


def state(value: float) -> dict:
    rng = np.random.default_rng(int(value))
    return {
        "step": np.int32(value),
        "params": {"kernel": rng.normal(size=(64, 64)).astype(np.float32), "bias": np.ones(3)},
    }


def assert_same(a, b):
    for x, y in zip(checkpoints.flatten(a).values(), checkpoints.flatten(b).values()):
        np.testing.assert_array_equal(x, y)
        assert x.dtype == y.dtype


def save_all(directory, steps, keep=5):
    with StageCheckpoints(directory, keep) as manager:
        for step in steps:
            manager.save(step, state(step))


def test_round_trip_of_the_newest(tmp_path):
    save_all(tmp_path, (3, 7))
    with StageCheckpoints(tmp_path) as manager:
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


def test_an_interrupted_save_is_no_checkpoint(tmp_path):
    save_all(tmp_path, (3,))
    leftover = tmp_path / "checkpoints" / "7.orbax-checkpoint-tmp"
    leftover.mkdir()
    (leftover / "state").write_bytes(b"half")
    with StageCheckpoints(tmp_path) as manager:
        assert manager.steps() == [3]
        assert_same(manager.restore(state(0)), state(3))


def test_another_network_is_refused(tmp_path):
    save_all(tmp_path, (3,))
    other = state(0)
    other["params"]["kernel"] = np.zeros((64, 32), np.float32)
    with StageCheckpoints(tmp_path) as manager, pytest.raises(UserError, match="params/kernel"):
        manager.restore(other)


def config(**changes) -> ml_collections.ConfigDict:
    tree = ml_collections.ConfigDict(
        {
            "model": {"features": 8},
            "stages": {"stage1": {"steps": 3, "domains": ("lab", "wild")}, "stage2": {"steps": 4}},
            "run": {"log_every": 5},
            "last_stage": 2,
        }
    )
    tree.update_from_flattened_dict(changes)
    return tree


def test_a_directory_is_claimed_by_its_config(tmp_path):
    claim_directory(tmp_path / "stage1", config(), 1)
    claim_directory(tmp_path / "stage1", config(), 1)
    saved = json.loads((tmp_path / "stage1" / "config.json").read_text())
    assert saved["model"] == {"features": 8}
    assert read_config(tmp_path / "stage1").stages.stage1.steps == 3


@pytest.mark.parametrize(
    "changes", [{"run.log_every": 1}, {"last_stage": 1}, {"stages.stage2.steps": 9}]
)
def test_what_a_stage_does_not_depend_on_may_change(tmp_path, changes):
    claim_directory(tmp_path, config(), 1)
    claim_directory(tmp_path, config(**changes), 1)


def test_a_stage_that_two_methods_have_in_common_serves_both(tmp_path):
    def of_method(method):
        tree = presets.experiment(3, "tiny")
        tree.method = method
        return tree

    for number in (1, 2, 3):
        claim_directory(tmp_path / f"{number}", of_method("3D+2D/wo geo"), number)
    for number in (1, 2):
        claim_directory(tmp_path / f"{number}", of_method("3D+2D/w geo"), number)
    with pytest.raises(UserError, match="method is '3D\\+2D/wo geo' there, '3D\\+2D/w geo' here"):
        claim_directory(tmp_path / "3", of_method("3D+2D/w geo"), 3)
    with pytest.raises(UserError, match="method is"):
        claim_directory(tmp_path / "2", of_method("3D/w geo"), 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.features": 9}, "model.features is 8 there, 9 here"),
        ({"stages.stage1.steps": 5}, "stages.stage1.steps is 3 there, 5 here"),
    ],
)
def test_another_config_is_refused_with_what_differs(tmp_path, changes, message):
    claim_directory(tmp_path, config(), 1)
    with pytest.raises(UserError, match=message):
        claim_directory(tmp_path, config(**changes), 1)


def test_a_directory_without_config_is_no_stage(tmp_path):
    with pytest.raises(UserError, match="no stage of a run"):
        read_config(tmp_path)


def test_a_disk_without_room_keeps_what_it_has(tmp_path, monkeypatch):
    save_all(tmp_path, (3,))
    usage = checkpoints.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda _: usage._replace(free=10_000))
    with StageCheckpoints(tmp_path) as manager:
        with pytest.raises(UserError, match="0 MiB left"):
            manager.save(7, state(7))
        assert manager.steps() == [3]
        assert_same(manager.restore(state(0)), state(3))
