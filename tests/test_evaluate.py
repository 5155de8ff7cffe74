"""The evaluation from checkpoint to tables, as a user runs it."""

import json
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pose3d_jax.checkpoints import load
from pose3d_jax.errors import UserError
from pose3d_jax.evaluation import report
from pose3d_jax.evaluation.poses import Setting
from pose3d_jax.evaluation.predictions import (
    PREDICTIONS_FILE,
    open_split,
    predict_split,
    read_predictions,
)
from pose3d_jax.evaluation.protocols import PROTOCOLS, Protocol
from pose3d_jax.evaluation.report import evaluate_checkpoint, score
from pose3d_jax.evaluation.tables import result_tables
from pose3d_jax.stages import METHODS
from tests import miniature, programs, small_checkpoint
from tfds_builders.prepare import prepare

SETS = ("synthetic/lab_tiny", "synthetic/wild_tiny")

pytestmark = pytest.mark.usefixtures("in_float32")


def evaluate(out, checkpoint=None, **options):
    return evaluate_checkpoint(
        checkpoint or small_checkpoint.directory(), out, **{"draw": False} | options
    )


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, data_dir):
    """The small checkpoint on both domains, over this process's eight devices."""
    out = tmp_path_factory.mktemp("evaluated")
    return out, evaluate(out, data_dir=data_dir)


def assert_same_numbers(there, here):
    assert there.keys() == here.keys()
    for dataset, found in here.items():
        assert there[dataset]["images"] == found["images"]
        for kind, row in found["tables"].items():
            assert there[dataset]["tables"][kind] == pytest.approx(row, rel=1e-4, nan_ok=True)


def test_the_batch_size_changes_nothing(evaluated, data_dir, tmp_path):
    """All records in one batch there; in two here, of which the second is smaller."""
    results = evaluate(tmp_path, data_dir=data_dir, batch_size=6)
    assert_same_numbers(results["data"], evaluated[1]["data"])


def test_the_program_on_one_device_gives_the_same_and_leaves_tables_and_pictures(
    evaluated, data_dir, tmp_path
):
    output = run("--checkpoint", small_checkpoint.directory(), "--data_dir", data_dir,
                 "--out", tmp_path)  # fmt: skip
    results = json.loads((tmp_path / "results.json").read_text())
    assert_same_numbers(results["data"], evaluated[1]["data"])
    written = (tmp_path / "tables.md").read_text()
    for name in ("Table 1", "Table 2", "Table 3", "Table 4", "mean pose", "95 % interval"):
        assert name in output and name in written
    for dataset in SETS:
        place = tmp_path / dataset.replace("/", "-")
        pictures = {path.name for path in place.glob("*.png")}
        assert pictures == {"examples.png", "joints.png", "pck.png", "pckh.png", "bones.png"}
    assert not list(tmp_path.rglob("*partial*"))


def run(*flags, code: int = 0) -> str:
    process = programs.start([
        sys.executable, "-m", "pose3d_jax.evaluate", "--compilation_cache=", "--compute=float32",
        *map(str, flags),
    ])  # fmt: skip
    output, _ = process.communicate(timeout=1800)
    assert process.returncode == code, output
    return output


def test_kept_predictions_are_those_that_were_scored(evaluated):
    out, results = evaluated
    for dataset in SETS:
        found = results["data"][dataset]
        place = out / dataset.replace("/", "-") / PREDICTIONS_FILE
        predicted = read_predictions(place)
        assert len(set(predicted.image_ids)) == found["images"] == programs.RECORDS
        setting = Setting(small_checkpoint.SIDE, small_checkpoint.BONE_LENGTH_SUM, dataset)
        again = score(predicted, setting)
        assert again["tables"] == found["tables"] and again["intervals"] == found["intervals"]


def test_a_limit_takes_some_of_the_same_images(evaluated, data_dir):
    trained = load(small_checkpoint.directory())
    some = predict_split(trained, open_split(SETS[0], data_dir, limit=5), 32)
    every = read_predictions(evaluated[0] / "synthetic-lab_tiny" / PREDICTIONS_FILE)
    assert some.image_ids.tolist() == every.image_ids[::2].tolist()
    np.testing.assert_allclose(some.poses.joints, every.poses.joints[::2], atol=1e-3)


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """The three official data sets, from miniature releases; `RECORDS` in each test split."""
    root = tmp_path_factory.mktemp("official")
    miniature.write_human36m(root / "human36m", names=("Directions 1", "Eating"))
    miniature.write_mpii_people(root / "mpii", count=30)
    miniature.write_mpi_inf_3dhp(
        root / "mpi_inf_3dhp", {"TS1": 4, "TS3": 3, "TS6": 3}, valid=range(4)
    )
    for name in ("human36m", "mpii", "mpi_inf_3dhp"):
        prepare(name, root / "data", manual_dir=root / name, partial=True, workers=1)
    return root / "data"


def test_published_rows_stand_beside_ours_on_the_official_data_sets(official, tmp_path):
    results = evaluate(tmp_path, data=("human36m", "mpii", "mpi_inf_3dhp"), data_dir=official)
    tables = {table.title.split(" (")[0]: table for table in result_tables(results)}
    beside = {
        "Table 1: MPJPE, mm, on human36m": ("all",),
        "Table 2: PCKh@0.5, %, on human36m": ("mean",),
        "Table 3: 3DPCK at 150 mm and AUC, %, on mpi_inf_3dhp": (
            "Studio GS", "Studio no GS", "Outdoor", "all", "AUC"
        ),
        "Table 4: left-right difference of bones, mm, on mpi_inf_3dhp": ("upper arm",),
        "Table 4: left-right difference of bones, px of a crop of 256, on mpii": ("lower leg",),
    }  # fmt: skip
    for title, columns in beside.items():
        rows = tables[title].rows
        for column in columns:
            for whose in ("published", "ours"):
                assert np.isfinite(rows[f"{METHODS[3]} ({whose})"][column]), (title, whose)


def test_predictions_have_the_joints_of_the_data_set(official, monkeypatch):
    """Sec. 4.1.2: hips and pelvis a fifth of the way to the neck; joint 7 in the middle."""
    trained, split = load(small_checkpoint.directory()), open_split("mpi_inf_3dhp", official)
    found = predict_split(trained, split, 8).poses
    other = split._replace(name="another")  # Whose joints are the network's own.
    monkeypatch.setitem(PROTOCOLS, "another", Protocol(scenes=PROTOCOLS["mpi_inf_3dhp"].scenes))
    raw = predict_split(trained, other, 8).poses
    for name, points in found._asdict().items():
        expected = np.array(getattr(raw, name))
        step = 0.2 * (expected[:, 8] - expected[:, 6])
        for joint in (6, 2, 3):
            expected[:, joint] += step
        expected[:, 7] = (expected[:, 6] + expected[:, 8]) / 2
        if name == "millimetres":
            expected = expected - expected[:, [6]]
        np.testing.assert_allclose(points, expected, rtol=1e-4, atol=1e-3, err_msg=name)


def test_a_run_on_one_data_set_is_evaluated_on_it_once(data_dir, tmp_path, monkeypatch):
    trained = load(small_checkpoint.directory())
    trained.config.data.wild.name = trained.config.data.lab.name
    monkeypatch.setattr(report, "load", lambda *_, **__: trained)
    found = evaluate(tmp_path, data_dir=data_dir)
    assert list(found["data"]) == ["synthetic/lab_tiny"]
    with pytest.raises(UserError, match="named twice"):
        evaluate(tmp_path, data=["synthetic/lab_tiny"] * 2, data_dir=data_dir)


def test_another_split_has_a_name_of_its_own(data_dir, tmp_path):
    data = ["synthetic/lab_tiny:train", "synthetic/lab_tiny:test"]
    found = evaluate(tmp_path, data=data, data_dir=data_dir)
    assert list(found["data"]) == ["synthetic/lab_tiny:train", "synthetic/lab_tiny"]
    for place in ("synthetic-lab_tiny-train", "synthetic-lab_tiny"):
        assert (tmp_path / place / PREDICTIONS_FILE).exists()


def damaged(tmp_path, **model):
    """A copy of the checkpoint whose config, without checksum, describes another network."""
    place = tmp_path / "stage3"
    shutil.copytree(small_checkpoint.directory(), place)
    config = json.loads((place / "config.json").read_text())
    config["model"] |= model
    del config["checksum"]
    (place / "config.json").write_text(json.dumps(config))
    return place


BAD = {
    "no checkpoint": ({"checkpoint": "nowhere"}, "is no stage of a run"),
    "another network": ({"features": 16}, "is of another network"),
    "another input size": ({"input_side": 64}, "is of another network"),
    "no size at all": ({"input_side": 33}, "divisible by"),
    "unknown data set": ({"data": "coco"}, "The data set 'coco' is not prepared"),
    "not prepared": ({"data": "mpii"}, "python -m tfds_builders.prepare mpii --manual_dir"),
    "empty split": ({"data": "synthetic/lab_tiny:spare"}, "no records in the split 'spare'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence_and_leaves_nothing(name, data_dir, tmp_path):
    change, message = BAD[name]
    checkpoint = change.get("checkpoint") or damaged(
        tmp_path, **{k: v for k, v in change.items() if k != "data"}
    )
    data = [change["data"]] if "data" in change else []
    with pytest.raises(UserError, match=message):
        evaluate(tmp_path / "out", checkpoint, data=data, data_dir=data_dir)
    assert not (tmp_path / "out").exists()


def test_the_program_says_it_without_a_traceback(tmp_path):
    output = run("--checkpoint", tmp_path, code=1)
    assert output.startswith("error: ") and "config.json" in output
    assert "Usage" in run("mpii", code=1)


@pytest.mark.parametrize(
    ("field", "value"),
    [("joints_3d", np.full((16, 3), np.nan, np.float32)), ("box", np.float32([32, 32, 0]))],
)
def test_labels_that_no_score_can_be_of_are_named(data_dir, field, value):
    split = open_split("synthetic/lab_tiny", str(data_dir), limit=2)
    records = [dict(record) for record in split.source]
    records[1][field] = value
    name = records[1]["image_id"].decode()
    with pytest.raises(UserError, match=f"not finite, or boxes without size, in {name}"):
        predict_split(load(small_checkpoint.directory()), split._replace(source=records), 8)


def test_results_serve_only_for_what_they_are_of(evaluated, data_dir):
    out, _ = evaluated
    trained = load(small_checkpoint.directory())
    splits = [open_split(name, str(data_dir)) for name in SETS]
    source = report.source_of(trained)
    few = [open_split(name, str(data_dir), 4) for name in SETS]
    assert report.read_results(out, splits, source)
    for others, changed in (
        (splits[:1], source),
        (few, source),
        (splits, report.source_of(trained, flip=True)),
        (splits, report.source_of(trained, scales=(1.0, 1.2))),
        (splits, source | {"network": "another"}),
    ):
        assert report.read_results(out, others, changed) is None
    # Data prepared again with as many records are other data if one label differs.
    records = [dict(record) for record in splits[1].source]
    again = [splits[0], splits[1]._replace(source=records)]
    assert report.read_results(out, again, source)
    records[5]["joints_2d"] = records[5]["joints_2d"] + np.float32(0.5)
    assert report.read_results(out, again, source) is None


def test_a_directory_that_cannot_be_written_is_named_before_any_prediction(
    data_dir, tmp_path, monkeypatch
):
    monkeypatch.setattr(report, "predict_split", lambda *_, **__: pytest.fail("it predicts"))
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/evaluation")):
        with pytest.raises((OSError, UserError), match=out.name):
            evaluate(out, data_dir=data_dir, limit=2)
    place = tmp_path / "out" / "synthetic-wild_tiny"  # Of the second data set alone.
    place.parent.mkdir()
    place.touch()
    with pytest.raises((OSError, UserError), match=place.name):
        evaluate(place.parent, data_dir=data_dir, limit=2)


class Counted(Sequence):
    """Records that count how often each is read."""

    def __init__(self, source):
        self.source, self.reads = source, Counter()

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        self.reads[index] += 1
        return self.source[index]


def test_every_record_is_read_once(data_dir):
    split = open_split(SETS[0], str(data_dir))
    counted = Counted(split.source)
    predict_split(load(small_checkpoint.directory()), split._replace(source=counted), batch_size=4)
    assert counted.reads == Counter(range(len(split.source)))
