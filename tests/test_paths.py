"""Paths on the command line: a home directory is expanded, remote storage is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

from pose3d_jax.data.catalog import root
from pose3d_jax.errors import UserError
from pose3d_jax.files import local_path
from pose3d_jax.programs import flags as shared

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
    assert sentence.startswith("error: ") and "is remote storage" in sentence
    assert not list(tmp_path.iterdir())


def test_a_home_directory_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert local_path("~/x") == "/home/somebody/x"
    assert root("~/data") == Path("/home/somebody/data")
    values = flags.FlagValues()
    flags.DEFINE(shared._PathParser(), "out", None, "", values)
    values(["program", "--out=~/x"])
    assert values.out == "/home/somebody/x"
    for same in ("", "a/b", "/a", "c:x", "./~"):
        assert local_path(same) == same


def test_without_a_home_directory_a_sentence_names_the_remedy(monkeypatch):
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # As for an unknown user id.
    with pytest.raises(UserError, match="HOME is not set"):
        local_path("~/x")
    with pytest.raises(UserError, match="HOME is not set"):
        root()
    assert local_path("/x") == "/x"
