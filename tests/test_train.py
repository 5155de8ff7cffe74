"""The training program from outside: restarts, devices, hosts, and bad input."""

import json
import shutil
import signal
import sys
from unittest import mock

import miniature
import ml_collections
import numpy as np
import programs
import pytest
from absl import flags
from ml_collections import config_flags

from pose3d_jax.checkpoints import load
from pose3d_jax.data.sources import Domain
from pose3d_jax.errors import UserError
from pose3d_jax.evaluation import published
from pose3d_jax.models.variables import flatten
from pose3d_jax.programs.run import config_mistake
from pose3d_jax.stages import planned_stages
from pose3d_jax.training import run
from pose3d_jax.training.run import initial_network, set_up
from tfds_builders.prepare import prepare


@pytest.fixture(scope="module")
def finished(tmp_path_factory, data_dir):
    """A work directory with all three stages, and the output of the program."""
    workdir = tmp_path_factory.mktemp("finished")
    return workdir, programs.train(workdir, data_dir)


def assert_same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_all_stages_leave_checkpoints_configs_metrics_and_a_table(finished):
    workdir, output = finished
    steps = programs.STEPS
    for stage in (1, 2, 3):
        directory = workdir / f"stage{stage}"
        assert (directory / "checkpoints" / str(steps)).is_dir()
        assert json.loads((directory / "config.json").read_text())["preset"] == "tiny"
        rows = programs.metrics(workdir, stage)
        assert sorted(rows) == list(range(1, steps + 1))
        assert 0.5 < rows[steps]["evaluation_to_training_mode"] < 2
        assert "lab-test PCKh@0.5" in rows[steps]
        assert list((directory / "pictures").glob("*.png"))
    assert "bone_ratio_wild" not in programs.metrics(workdir, 1)[steps]
    assert programs.metrics(workdir, 3)[steps]["bone_ratio_wild"] >= 1
    for words in (
        "synthetic/lab_tiny (10 images)",
        "wild-test",
        "mean pose",
        "true 2D, true depth",
        "images/s",
        "left",
    ):
        assert words in output


def test_the_table_has_its_baselines(finished):
    workdir, _ = finished
    results = json.loads((workdir / "stage3" / "final" / "results.json").read_text())
    assert len(results["data"]) == 2
    for found in results["data"].values():
        rows = found["baselines"]
        floor, flat = rows["true 2D, true depth"], rows["true 2D, mean depth"]
        assert floor["PCKh@0.5"] == 100 and floor["bone sum"] == 1
        assert 0 < floor["MPJPE"] == floor["MPJPE true 2D"] < flat["MPJPE"]
        assert flat["MPJPE"] < rows["mean pose"]["MPJPE"]


def files(directory, suffix) -> dict[str, bytes]:
    paths = directory.rglob(f"*{suffix}")
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths}


def assert_nothing_unfinished(workdir):
    names = [path.name for path in workdir.rglob("*")]
    assert not [name for name in names if "partial" in name or "tmp" in name or name == ".lock"]


def test_a_second_call_completes_results_and_trains_nothing(finished, data_dir, tmp_path):
    workdir, first = finished
    again = tmp_path / "again"
    shutil.copytree(workdir, again)
    # A kill between a stage's last checkpoint and its scores; a lost picture; a changed digit.
    scalars = again / "stage2" / "metrics.jsonl"
    rows = scalars.read_text().splitlines(keepends=True)
    owed = [row for row in rows if "wild-test" in row or "evaluation_to" in row]
    assert len(owed) == 2
    scalars.write_text("".join(row for row in rows if row not in owed))
    (again / "stage3" / "pictures" / f"lab-{programs.STEPS:06d}.png").unlink()
    results = again / "stage3" / "final" / "results.json"
    results.write_text(results.read_text().replace('"MPJPE": ', '"MPJPE": 1', 1))

    # What does not change the result may change.
    output = programs.train(again, data_dir, run__log_every=3)
    assert "nothing left to do" in output and "iterations" not in output
    assert (
        output.split("results in")[1].split(":", 1)[1]
        == (first.split("results in")[1].split(":", 1)[1])
    )
    for suffix in (".jsonl", ".json", "0.png"):
        assert files(again, suffix).keys() == files(workdir, suffix).keys()
    for suffix in (".jsonl", "results.json", "tables.md"):
        assert files(again, suffix) == files(workdir, suffix)
    pictures = files(again / "stage3" / "pictures", ".png")
    assert pictures == files(workdir / "stage3" / "pictures", ".png")
    assert_same(programs.checkpoint(workdir, 3), programs.checkpoint(again, 3))
    assert_nothing_unfinished(again)


#: When a run is killed, one after another.
KILLS = {
    "a checkpoint is being written": lambda run: any(run.glob("stage1/checkpoints/*tmp*")),
    "a stage begins": lambda run: (run / "stage2" / "config.json").exists(),
    "in the middle of a stage": lambda run: 3 in programs.metrics(run, 2),
}


def test_a_run_that_is_ended_again_and_again_ends_bit_identical(finished, data_dir, tmp_path):
    def end(number, condition, **options) -> tuple[int, str]:
        process = programs.start(programs.command(tmp_path, data_dir, **options))
        programs.wait_until(process, condition)
        output = programs.stop(process, number)
        return process.returncode, output

    undisturbed, _ = finished
    for now in KILLS.values():
        end(signal.SIGKILL, lambda now=now: now(tmp_path))
    # A signal saves, though the next checkpoint is far, and the same command resumes.
    code, output = end(
        signal.SIGTERM, lambda: 1 in programs.metrics(tmp_path, 3), run__save_every=1000
    )
    assert code == 128 + signal.SIGTERM, output
    assert "Traceback" not in output and "saved" in output
    output = programs.train(tmp_path, data_dir)
    assert "stage1: finished" in output and "Traceback" not in output
    assert "stage3: iterations" in output and "stage3: iterations 1 to" not in output
    for stage in (1, 2, 3):
        assert_same(programs.checkpoint(undisturbed, stage), programs.checkpoint(tmp_path, stage))
    assert files(tmp_path, ".jsonl") == files(undisturbed, ".jsonl")
    assert_nothing_unfinished(tmp_path)


def test_the_initial_network_is_the_trained_one(finished):
    trained = load(finished[0] / "stage3")
    config = ml_collections.ConfigDict(trained.config.to_dict())
    config.initial_network = str(finished[0] / "stage3")
    _, variables = initial_network(config)
    assert_same(flatten(variables), flatten(trained.variables))


def test_eight_devices_and_a_given_network_compute_what_one_device_does(
    finished, data_dir, tmp_path
):
    """Stage 3 alone, from the network of stage 2."""
    output = programs.train(
        tmp_path,
        data_dir,
        devices=8,
        initial_network=finished[0] / "stage2",
        stages__stage1__steps=0,
        stages__stage2__steps=0,
    )
    assert "8 × cpu" in output and "stage3: iterations 1 to 6" in output
    assert [path.name for path in tmp_path.iterdir()] == ["stage3"]
    expected, found = programs.metrics(finished[0], 3), programs.metrics(tmp_path, 3)
    for step in expected:
        for name, tolerance in (
            ("loss", 3e-3), ("heatmap_loss", 3e-3), ("depth_loss", 3e-2), ("update_norm", 5e-2)
        ):  # fmt: skip
            np.testing.assert_allclose(
                found[step][name], expected[step][name], rtol=tolerance, err_msg=name
            )


def test_two_hosts_train_together(finished, data_dir, tmp_path):
    """Stage 2, after a stage 1 that one host has trained."""
    one, _ = finished
    shutil.copytree(one / "stage1", tmp_path / "stage1")
    port = programs.free_port()
    flags = (f"--coordinator=127.0.0.1:{port}", "--num_hosts=2")
    hosts = [
        programs.start(programs.command(tmp_path, data_dir, *flags, f"--host={host}", stage=2))
        for host in (0, 1)
    ]
    outputs = [programs.finish(host) for host in hosts]
    assert "2 × cpu" in outputs[0] and "stage1: finished" in outputs[0]
    expected, found = programs.metrics(one, 2), programs.metrics(tmp_path, 2)
    for step in expected:
        # Sums in another order; RMSprop makes much of last bits.
        np.testing.assert_allclose(found[step]["loss"], expected[step]["loss"], rtol=3e-3)
    # One of them writes.
    assert len(list((tmp_path / "stage2" / "tensorboard").iterdir())) == 1
    lines = [(run / "stage2" / "metrics.jsonl").read_text().splitlines() for run in (one, tmp_path)]
    assert len(lines[0]) == len(lines[1])
    assert programs.checkpoint(tmp_path, 2).keys() == programs.checkpoint(one, 2).keys()


def configured(*words: str, preset: str = "tiny"):
    """The config of a command line, read as the programs read it."""
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "", values)
    line = ["train", f"--config={programs.ROOT}/configs/stage3.py:{preset}", *words]
    with mock.patch.object(sys, "argv", line):  # Where it looks for the config's own flags.
        values(line)
    return values.config


BAD = {
    "unknown method": ("method=4D", "Unknown method '4D'"),
    "data set not prepared": ("data.wild.name=mpii", "python -m tfds_builders.prepare mpii"),
    "batch and devices": ("data.batch_size=7", "not divisible"),
    "input side": ("model.input_side=100", "divisible by"),
    "no input": ("model.input_side=0", "model.input_side is 0, and must be a whole number"),
    "no such stage": ("last_stage=4", "last_stage is 4, and must be a whole number from 1 to 3"),
    "colours": ("augmentation.colour_range=(1.4, 0.6)", "two numbers from 0 up, the lower first"),
    "not a number": ("stages.stage2.lambda_reg=nan", "lambda_reg is not a number"),
    "targets": ("targets.lab_joints=perspective", "'projection' or 'weak_perspective'"),
    "nothing to train": (
        "stages.stage3.steps=0",
        "stage3, has 0 steps. Set --config.stages.stage3.steps=N",
    ),
    "no initial network": ("initial_network=opn", "opn is no stage of a run"),
    "another initial network": ("initial_network=open", "open cannot be trained further by this"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence_and_nothing_is_written(name, data_dir, tmp_path):
    setting, message = BAD[name]
    fits = ["--config.data.batch_size=16", f"--config.run.data_dir={data_dir}"]
    config = configured(*fits, f"--config.{setting}")
    with pytest.raises(UserError, match=r"^[^\n]+$") as caught:
        set_up(config, tmp_path / "run")
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_lab_without_an_average_skeleton_is_for_stage_1_alone():
    without = Domain("lsp", [], [], 64, bone_length_sum=0.0)
    config = configured()
    with pytest.raises(UserError, match=r"lsp has no .* --config\.data\.bone_length_sum"):
        run._resolve(config, planned_stages(config), without)
    config = configured("--config.last_stage=1")
    assert run._resolve(config, planned_stages(config), without).data.bone_length_sum == 0


def test_an_unknown_preset_is_named():
    with pytest.raises(UserError, match="Unknown preset 'huge'; choose one of"):
        configured(preset="huge")


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--config.model.featuers=3", "featuers"),
        ("--config.data_dir=x", "no such key in the config: 'data_dir' ("),
    ],
)
def test_what_the_config_does_not_have_is_one_sentence(flag, message):
    with pytest.raises((AttributeError, KeyError, TypeError, ValueError)) as caught:
        configured(flag)
    assert message in config_mistake(caught.value)


def test_a_config_that_is_not_there_is_a_sentence(data_dir, tmp_path):
    words = programs.command(tmp_path / "run", data_dir)
    words[words.index("--config=configs/stage3.py:tiny")] = "--config=nothing.py:tiny"
    output = programs.finish(programs.start(words), code=1)
    assert "Traceback" not in output
    assert "The config cannot be loaded" in output and "'nothing.py'" in output


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.wild.name=lsp", r"python -m tfds_builders\.prepare lsp"),
        ("model.input_side=100", "divisible by 32"),
        ("initial_network=open", "cannot be trained further"),
    ],
)
def test_mistakes_are_refused_before_anything_is_rendered(setting, message, tmp_path):
    data_dir, batch = f"--config.run.data_dir={tmp_path}", "--config.data.batch_size=16"
    with pytest.raises(UserError, match=message):
        set_up(configured(data_dir, batch, f"--config.{setting}"), tmp_path / "run", prepare)
    assert not list(tmp_path.iterdir())


def test_a_directory_that_cannot_be_written_is_named_before_anything_is_rendered(tmp_path):
    config = configured(f"--config.run.data_dir={tmp_path}", "--config.data.batch_size=16")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file/run cannot be written"):
        set_up(config, tmp_path / "file" / "run", prepare)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_mistake_ends_the_program_without_traceback(data_dir, tmp_path):
    output = programs.train(tmp_path, data_dir, "--config.model.featuers=3", code=1)
    assert output.startswith("error: There is no such key") and "Traceback" not in output
    assert not list(tmp_path.iterdir()), "nothing half-written"


def test_a_directory_of_another_config_is_refused(finished, data_dir):
    small = [f"--config.{name}={value}" for name, value in programs.SMALL.items()]
    config = configured(f"--config.run.data_dir={data_dir}", *small, "--config.model.features=16")
    with pytest.raises(UserError, match="features is 8 there, 16 here"):
        set_up(config, finished[0])


def test_the_papers_preset_trains_on_the_official_formats(tmp_path):
    """Human3.6M and MPII from miniature releases, through the preset `paper` without stage 2."""
    data_dir = tmp_path / "data"
    miniature.write_human36m(tmp_path / "human36m", cameras=("54138969", "58860488"))
    miniature.write_mpii_people(tmp_path / "mpii", count=9)
    prepare("human36m", data_dir, manual_dir=tmp_path / "human36m", partial=True, workers=1)
    prepare("mpii", data_dir, manual_dir=tmp_path / "mpii", workers=1)
    workdir = tmp_path / "run"
    output = programs.train(
        workdir,
        data_dir,
        preset="paper",
        data__batch_size=4,
        model__stem="patch",
        model__modules=1,
        model__depth_modules=1,
        stages__stage1__steps=3,
        stages__stage2__steps=0,
        stages__stage3__steps=3,
    )
    assert "preset paper" in output
    config = json.loads((workdir / "stage3" / "config.json").read_text())
    assert config["data"]["bone_length_sum"] == pytest.approx(4296.99233013)
    results = json.loads((workdir / "stage3" / "final" / "results.json").read_text())
    lab, wild = results["data"].values()
    # MPII has no depth: only what 2D labels tell is scored.
    assert set(wild["tables"]["summary"]) == {"PCKh@0.5", "symmetry", "symmetry true 2D"}
    assert lab["baselines"]["true 2D, true depth"]["MPJPE"] < 100
    # At the end, the published row beside ours, and what is known to differ.
    end = output[output.index("Beside the paper on human36m") :]
    assert "3D+2D/w geo (published)" in end and "64.9" in end and "91.6" in end
    assert f"{lab['tables']['summary']['MPJPE']:.1f}" in end
    for sentence in published.KNOWN_DIFFERENCES:
        assert sentence in end


def test_ablate_trains_what_is_not_finished_and_compares(finished, data_dir, tmp_path):
    """Here, because it runs the programs that the tests above have compiled."""
    place = tmp_path / "seed-0" / "lambda_geo-0.01"
    shutil.copytree(finished[0], place)
    words = programs.command(tmp_path, data_dir, "--seeds=1", "--lambda_geo=0.01,100")
    words[words.index("pose3d_jax.train")] = "pose3d_jax.ablate"
    output = programs.finish(programs.start(words))
    assert "nothing left to do" in output and "stage2: iterations" not in output
    assert output.count("stage3: iterations 1 to") == 1
    results = json.loads((tmp_path / "lambda_geo" / "results.json").read_text())
    assert list(results) == ["lambda_geo 0.01", "lambda_geo 100"]
    assert (tmp_path / "seed-0" / "lambda_geo-100" / "stage2").is_symlink()
    for domain in ("lab", "wild"):
        place = tmp_path / "lambda_geo" / f"synthetic-{domain}_tiny"
        assert {path.name for path in place.iterdir()} == {
            "bones.png", "joints.png", "pck.png", "pckh.png", "sweep.png"
        }  # fmt: skip
    tables = (tmp_path / "lambda_geo" / "tables.md").read_text()
    assert "| lambda_geo 100 |" in tables and "Table 4" in tables
    # A large weight changes the result in the wild, from the same stage 2.
    rows = [seeds[0]["data"]["synthetic/wild_tiny"]["tables"] for seeds in results.values()]
    assert rows[0]["summary"]["MPJPE"] != rows[1]["summary"]["MPJPE"]
    before = json.loads((finished[0] / "stage3" / "final" / "results.json").read_text())
    np.testing.assert_equal(rows[0], before["data"]["synthetic/wild_tiny"]["tables"])
