"""Paths on the command line: a home directory is expanded, remote storage is refused."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from absl import flags

from pose3d_jax.data.catalog import data_root
from pose3d_jax.errors import UserError
from pose3d_jax.programs import flags as shared
from pose3d_jax.programs.run import configure_jax, expand_path

ROOT = Path(__file__).parent.parent
COMMANDS = [
    ["pose3d_jax.train", "--config=stage1:tiny", "--workdir=gs://bucket/run"],
    ["pose3d_jax.train", "--config=stage1:tiny", "--config.run.data_dir=hdfs://host/data"],
    ["pose3d_jax.predict", "s3://bucket/photo.jpg"],
    ["tfds_builders.prepare", "mpii", "--data_dir=gs://bucket/data", "--manual_dir=x"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[:2])[11:45])
def test_remote_storage_is_refused_in_one_sentence(words, tmp_path):
    process = subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.returncode == 1
    (sentence,) = process.stderr.strip().splitlines()
    assert sentence.startswith("error: ") and "paths are not supported" in sentence
    assert not list(tmp_path.iterdir())


def test_a_remote_cache_of_programs_is_refused():
    with pytest.raises(UserError, match="compilation_cache gs://bucket/cache: gs:// paths are not"):
        configure_jax("gs://bucket/cache")


@pytest.mark.parametrize("platform", ["cuda", "nonsense"])
def test_a_platform_that_is_not_there_is_a_sentence(platform, tmp_path):
    """An interpreter of its own: JAX reads the variable when it is imported."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": platform}
    process = subprocess.run(
        [sys.executable, "-m", "pose3d_jax.predict", "--webcam=0"], capture_output=True, text=True,
        cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert process.returncode == 1 and "Traceback" not in process.stderr
    assert f"JAX finds no device (JAX_PLATFORMS is {platform})" in process.stderr


def test_a_home_directory_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert expand_path("~/x", "--out") == "/home/somebody/x"
    assert data_root("~/data") == Path("/home/somebody/data")
    values = flags.FlagValues()
    flags.DEFINE(shared._PathParser("out"), "out", None, "", values)
    values(["program", "--out=~/x"])
    assert values.out == "/home/somebody/x"
    for same in ("", "a/b", "/a", "c:x", "./~", "open"):
        assert expand_path(same, "--out") == same


def test_without_a_home_directory_a_sentence_names_the_remedy(monkeypatch):
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # As for an unknown user id.
    with pytest.raises(UserError, match=r"--out ~/x: the home directory is unknown\. Set HOME"):
        expand_path("~/x", "--out")
    with pytest.raises(UserError, match="TFDS_DATA_DIR is not set"):
        data_root()
    before = jax.config.jax_compilation_cache_dir
    configure_jax("~/.cache/pose3d_jax")
    assert jax.config.jax_compilation_cache_dir == before
