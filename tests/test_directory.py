"""What belongs to a work directory: its config, and the process that trains there."""

import errno
import json
import os
import re
import subprocess

import ml_collections
import pytest

from pose3d_jax import presets
from pose3d_jax.errors import UserError
from pose3d_jax.presets.checks import check_values, complete
from pose3d_jax.training.directory import (
    CONFIG_FILE,
    LOCK_FILE,
    claim_directory,
    owned,
    read_config,
    stage_config,
)


def config(**changes) -> ml_collections.ConfigDict:
    tree = presets.experiment(2, "tiny")
    tree.update_from_flattened_dict(changes)
    return tree


def test_a_directory_is_claimed_by_its_config(tmp_path):
    claim_directory(tmp_path / "stage1", config(), 1)
    claim_directory(tmp_path / "stage1", config(), 1)
    saved = json.loads((tmp_path / "stage1" / "config.json").read_text())
    assert saved["model"]["features"] == 64
    assert read_config(tmp_path / "stage1").stages.stage1.steps == 3000


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


def test_a_run_of_an_older_version_resumes(tmp_path):
    """Its config lacks keys that came later."""
    tree = stage_config(config(), 1)
    del tree["initial_network"], tree["optimizer"]["flatten"], tree["model"]["stem_features"]
    (tmp_path / CONFIG_FILE).write_text(json.dumps(tree))
    claim_directory(tmp_path, config(), 1)
    with pytest.raises(UserError, match="initial_network is '' there, 'open' here"):
        claim_directory(tmp_path, config(initial_network="open"), 1)


def test_bone_lengths_of_the_data_are_not_compared(tmp_path):
    claim_directory(tmp_path, config(**{"data.bone_length_sum": 4300.0}), 1)
    claim_directory(tmp_path, config(), 1)
    with pytest.raises(UserError, match=r"data\.bone_length_sum is 4300\.0 there, 4400\.0 here"):
        claim_directory(tmp_path, config(**{"data.bone_length_sum": 4400.0}), 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.features": 9}, "model.features is 64 there, 9 here"),
        ({"stages.stage1.steps": 5}, "stages.stage1.steps is 3000 there, 5 here"),
    ],
)
def test_another_config_is_refused_with_what_differs(tmp_path, changes, message):
    claim_directory(tmp_path, config(), 1)
    with pytest.raises(UserError, match=message):
        claim_directory(tmp_path, config(**changes), 1)


def test_a_directory_without_config_is_no_stage(tmp_path):
    with pytest.raises(UserError, match="no stage of a run"):
        read_config(tmp_path)


def test_a_config_that_cannot_be_read_for_now_needs_no_copy(tmp_path, monkeypatch):
    (tmp_path / CONFIG_FILE).touch()

    def fail(path, **_):
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr("pose3d_jax.training.directory.read_json", fail)
    with pytest.raises(UserError, match=rf"{CONFIG_FILE} cannot be read: Stale file handle\.$"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    "text", ["[]", "5", "null", '"', "{}", "[" * 100_000, "\udcff", '{"model": 3}']
)
def test_a_file_that_is_no_config_is_one_sentence(tmp_path, text):
    (tmp_path / CONFIG_FILE).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=r"cannot be used: .*Restore it from a copy"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model.input_side", True),
        ("model.features", 2.5),
        ("model.level_features", [64, -1]),
        ("model.output_scale", float("nan")),
        ("precision.compute", "float16"),
        ("data.bone_length_sum", -4000.0),
        ("data.bone_length_sum", float("inf")),
        ("data.bone_length_sum", None),
        ("data.lab.name", 3),
        ("stages.stage2.learning_rate", 10**400),
        ("stages.stage2.domains", ["sea"]),
        ("stages.stage2.domains", []),
        ("stages.stage3.steps", {"a": 1}),
    ],
)
def test_an_impossible_value_is_named(tmp_path, name, value):
    """In a config without checksum, as older versions wrote them."""
    tree = json.loads(presets.experiment(3, "tiny").to_json())
    *sections, last = name.split(".")
    section = tree
    for key in sections:
        section = section[key]
    section[last] = value
    (tmp_path / CONFIG_FILE).write_text(json.dumps(tree))
    shown = "not a number" if value != value else re.escape(repr(value)[:50])
    with pytest.raises(UserError, match=f"{name} is {shown}, and must be "):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("seed", 0, 4294967295),
        ("last_stage", 1, 3),
        ("model.input_side", 1, 4096),
        ("augmentation.mirror_probability", 0, 1),
        ("passes.scales", 0.25, 4),
        ("calibration.bias", -10000.0, 10000.0),
    ],
)
def test_ranges_include_their_ends(name, low, high):
    tree = presets.experiment(3, "tiny").to_dict() | {"passes": {}, "calibration": {}}
    section, _, key = name.rpartition(".")
    for value in (low, high, low - 1, high + 1):
        place = tree[section] if section else tree
        place[key] = (value,) if key in ("scales", "bias") else value
        if low <= value <= high:
            check_values(tree)
        else:
            with pytest.raises(ValueError, match=f"{name} is .* number from {low} to {high}"):
                check_values(tree)


def test_an_older_config_is_completed_with_the_papers_values():
    """Its stages without a number of steps have none; sections of networks stay."""
    tree = {"model": {"features": 8}, "stages": {"stage2": {}}, "passes": {"flip": True}}
    paper, found = presets.paper().to_dict(), complete(tree)
    assert found["model"] == paper["model"] | {"features": 8}
    assert found["stages"] == {"stage2": paper["stages"]["stage1"] | {"steps": 0}}
    assert found["passes"] == {"flip": True} and found["optimizer"] == paper["optimizer"]


def test_a_changed_digit_in_a_config_is_noticed(tmp_path):
    tree = presets.experiment(3, "tiny")
    tree.data.bone_length_sum = 4000.0
    claim_directory(tmp_path, tree, 3)
    path = tmp_path / CONFIG_FILE
    path.write_text(path.read_text().replace("4000", "4800"))
    with pytest.raises(UserError, match="its checksum differs: it was changed"):
        read_config(tmp_path)
    # A config of an older version has none.
    saved = json.loads(path.read_text())
    del saved["checksum"]
    path.write_text(json.dumps(saved))
    assert read_config(tmp_path).data.bone_length_sum == 4800


def test_a_changed_name_of_the_checksum_is_noticed(tmp_path):
    """Else the config would pass for one of an older version, which has none."""
    claim_directory(tmp_path, config(), 1)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"checksum"', '"cjecksum"'))
    with pytest.raises(UserError, match="unknown section cjecksum"):
        read_config(tmp_path)


def test_presets_have_possible_values(tmp_path):
    for name in presets.PRESETS:
        claim_directory(tmp_path / name, presets.experiment(3, name), 3)
        assert read_config(tmp_path / name).preset == name


def test_a_second_run_in_a_directory_is_refused(tmp_path):
    with owned(tmp_path):
        refusal = rf"process {os.getpid()} on \S+ trains there.* --workdir DIR"
        with pytest.raises(UserError, match=refusal), owned(tmp_path):
            pass
    with owned(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_lock_that_a_killed_process_left_is_taken_over(tmp_path):
    (tmp_path / LOCK_FILE).write_text("process 1 on a computer that lost its power")
    (tmp_path / "stage1").mkdir()
    dead = subprocess.Popen(["true"])
    dead.wait()
    (tmp_path / "stage1" / f".results.json.{dead.pid}-1.partial").touch()
    (tmp_path / "stage1" / f".results.json.{os.getpid()}-1.partial").touch()
    with owned(tmp_path):
        assert (tmp_path / LOCK_FILE).read_text().startswith(f"process {os.getpid()} on ")
    left = [path.name for path in (tmp_path / "stage1").iterdir()]
    assert left == [f".results.json.{os.getpid()}-1.partial"]


def test_a_file_of_pytorch_is_to_be_converted(tmp_path):
    (tmp_path / "a.pth").touch()
    with pytest.raises(UserError, match=r"pose3d_jax\.convert .*a\.pth OUT_DIR"):
        read_config(tmp_path / "a.pth")
