"""The scalars of a stage: resuming, damaged lines, deleted directories."""

import json

import pytest

from pose3d_jax.errors import UserError
from pose3d_jax.training.progress import METRICS_FILE, MetricsLog


def rows(directory):
    return [json.loads(line) for line in (directory / METRICS_FILE).read_text().splitlines()]


def test_lines_after_the_last_checkpoint_are_dropped_on_resume(tmp_path):
    with MetricsLog(tmp_path, 0) as metrics:
        for step in (1, 2, 3):
            metrics.write(step, {"loss": step / 2, "not finite": float("nan")})
    with (tmp_path / METRICS_FILE).open("a") as file:
        file.write('{"step": 2, "los')  # cut off by a kill
    with MetricsLog(tmp_path, 2) as metrics:
        assert metrics.has(2, "loss") and not metrics.has(2, "lab-test ")
        metrics.write(2, {"lab-test MPJPE": 1.0})
        assert metrics.has(2, "lab-test ")
    expected = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 1}, {"step": 2, "lab-test MPJPE": 1}]
    assert rows(tmp_path) == expected


@pytest.mark.parametrize(
    "line",
    ["null", "5", "[]", "{}", '{"step": null}', '{"step": "3"}', '{"loss": 1}', "\udcff\udc80", "",
     '{"step": 2, "l\udcffss": 1}',
     '{"step": 2, "loss": "high"}', '{"step": 2, "loss": NaN}', "[" * 100_000,
     '{"step": 2, "loss": 1' + "0" * 400 + "}"],
)  # fmt: skip
def test_an_invalid_line_is_dropped_and_reported(tmp_path, caplog, line):
    text = f'{{"step": 1, "loss": 1.0}}\n{line}\n{{"step": 2, "loss": 2.0}}\n'
    (tmp_path / METRICS_FILE).write_bytes(text.encode("utf-8", "surrogateescape"))
    with MetricsLog(tmp_path, 2):
        assert [row["step"] for row in rows(tmp_path)] == [1, 2]
    assert f"{METRICS_FILE}: line 2 holds no scalars" in caplog.text


def test_opening_a_log_writes_nothing(tmp_path):
    with MetricsLog(tmp_path, 3):
        pass
    assert not list(tmp_path.iterdir())


def test_one_of_several_hosts_writes(tmp_path, monkeypatch):
    monkeypatch.setattr("jax.process_index", lambda: 1)
    with MetricsLog(tmp_path, 0) as metrics:
        metrics.write(1, {"loss": 1.0})
        assert metrics.has(1, "loss")
    assert not list(tmp_path.iterdir())


def test_a_deleted_directory_is_an_error_at_the_next_write(tmp_path):
    (place := tmp_path / "stage1").mkdir()
    with MetricsLog(place, 0) as metrics:
        metrics.write(1, {"loss": 1.0})
        place.rename(tmp_path / "elsewhere")
        with pytest.raises(UserError, match="stage1 is gone: it was deleted or moved"):
            metrics.write(2, {"loss": 1.0})
    assert not place.exists()
