"""The command `pose3d_jax`, the config names that it takes, and the package's metadata."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import pose3d_jax
from pose3d_jax import __main__ as command
from pose3d_jax.errors import UserError
from pose3d_jax.presets.config_file import expand, get_config

ROOT = Path(__file__).parent.parent


def run(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["pose3d_jax", *words])
    try:
        code = command.main() or 0
    except SystemExit as end:
        code = end.code
    return code, "".join(capsys.readouterr())


def test_it_knows_its_version(monkeypatch, capsys):
    assert run(monkeypatch, capsys, "--version") == (0, f"pose3d_jax {pose3d_jax.__version__}\n")
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {pose3d_jax.__version__}\n" in citation
    assert f"## [{pose3d_jax.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_help_lists_the_commands_and_a_typing_error_has_a_suggestion(monkeypatch, capsys):
    code, text = run(monkeypatch, capsys)
    assert code == 0 and all(f"\n  {name} " in text for name in command.COMMANDS)
    code, text = run(monkeypatch, capsys, "tran")
    assert code == 2 and "Did you mean train?" in text


def test_a_command_is_its_module():
    """With its flags, its messages and its exit code."""
    words = [sys.executable, "-m", "pose3d_jax", "predict", "--flop", "photo.jpg"]
    process = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert process.returncode == 1 and "Did you mean: flip" in process.stderr


def test_configs_work_without_a_clone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in (["--config=stage2:tiny"], ["--config", "stage2:tiny"]):
        path, argument = expand(["train", *words])[-1].removeprefix("--config=").split(":", 1)
        assert Path(path).is_file() and argument == "2:tiny"
    assert get_config("2:tiny").last_stage == 2 and get_config("2:tiny").preset == "tiny"
    others = ["train", "--config.seed=3", "--config=mine.py:tiny", "--config"]
    assert expand(others) == others
    with pytest.raises(UserError, match=r"use --config stage3:tiny\.$"):
        expand(["train", "--config=configs/stage3.py:tiny"])


def test_the_core_needs_no_extra():
    """Nothing that prediction imports is of the extra `train`."""
    lines = [
        "import sys, pose3d_jax.predict as program, pose3d_jax.programs.start as extra",
        "print([name for name in extra.MODULES if name in sys.modules])",
    ]
    words = [sys.executable, "-c", "\n".join(lines)]
    process = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=True)
    assert process.stdout.strip() == "[]"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"grain", "array-record"} <= {
        requirement.partition(">")[0] for requirement in extras["optional-dependencies"]["train"]
    }
