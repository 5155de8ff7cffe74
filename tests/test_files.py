import json
import math
from pathlib import Path

import pytest

from pose3d_jax.errors import UserError
from pose3d_jax.files import check_can_write, differences, read_json, write_json


@pytest.mark.parametrize("checksummed", [False, True])
def test_numbers_that_are_not_finite_are_valid_json(tmp_path, checksummed):
    path = tmp_path / "results.json"
    write_json(path, {"a": [math.nan, {"b": (math.inf, 1.5)}]}, checksummed=checksummed)

    def refuse(name):
        raise AssertionError(name)

    json.loads(path.read_text(), parse_constant=refuse)
    found = read_json(path, checksummed=checksummed)["a"]
    assert math.isnan(found[0]) and found[1]["b"][1] == 1.5


def test_a_checksum_detects_a_changed_digit(tmp_path):
    path = tmp_path / "results.json"
    write_json(path, {"MPJPE": 61.25}, checksummed=True)
    assert read_json(path, checksummed=True) == {"MPJPE": 61.25}
    path.write_text(path.read_text().replace("61.25", "31.25"))
    with pytest.raises(ValueError, match="checksum differs"):
        read_json(path)
    path.write_text('{"MPJPE": 31.25}')
    with pytest.raises(ValueError, match="no checksum"):
        read_json(path, checksummed=True)


@pytest.mark.parametrize("data", [b"", b"[", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_a_value_error(tmp_path, data):
    path = tmp_path / "results.json"
    path.write_bytes(data)
    with pytest.raises(ValueError):
        read_json(path)


def test_differences_are_named():
    there, here = {"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4}
    assert list(differences(there, here)) == [
        "a.c is 2 there, 3 here", "d is 'absent' there, 4 here"
    ]  # fmt: skip


def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    for directory in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/results")):
        with pytest.raises(UserError, match=f"{directory} cannot be written"):
            check_can_write(directory)
    check_can_write(tmp_path / "a" / "b")
    check_can_write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
