import h5py
import numpy as np
import pytest
from miniature import (
    COLORS,
    assert_framed,
    in_source,
    index_places,
    make_all,
    read_index,
    write_mpi_inf_3dhp,
)
from miniature import MPI_INF_3DHP_JOINTS as ORDER
from PIL import ExifTags, Image

from pose3d_jax.errors import UserError
from pose3d_jax.images.jpeg import decode_image
from tfds_builders.mpi_inf_3dhp import mpi_inf_3dhp_dataset_builder as mpi

FRAMES = {"TS1": 9, "TS3": 1, "TS5": 4}


@pytest.fixture
def release(tmp_path):
    return tmp_path, write_mpi_inf_3dhp(tmp_path, FRAMES, valid=(0, 2, 7))


def test_official_counts_and_activities():
    """From the release's documentation."""
    frames = {"TS1": 6151, "TS2": 6080, "TS3": 5838, "TS4": 6007, "TS5": 320, "TS6": 492}
    assert (frames, 2929) == (mpi.FRAMES, mpi.VALID_FRAMES)
    assert mpi.ACTIVITIES == (
        "Stand/Walk", "Exercise", "Sit on chair", "Crouch/Reach", "On the floor", "Sports",
        "Miscellaneous",
    )  # fmt: skip


def test_valid_frames_become_records_with_their_joints_and_activities(release):
    root, truth = release
    plan = mpi.make_plan(root, partial=True)
    made = {name: record for (_, name), record in make_all(plan).items()}
    assert sorted(made) == [
        "TS1_000000", "TS1_000002", "TS1_000007", "TS3_000000", "TS5_000000", "TS5_000002",
    ]  # fmt: skip
    actions = [made[name]["action"] for name in ("TS1_000000", "TS1_000002", "TS1_000007")]
    assert actions == ["Stand/Walk", "Sit on chair", "Stand/Walk"]  # Activities 1, 3, 1.
    assert sum(plan.expected.values()) == 6
    for name, record in made.items():
        sequence, frame = name.split("_")
        assert (record["subject"], record["frame"]) == (sequence, int(frame))
        annotation = {key: value[int(frame), ORDER] for key, value in truth[sequence].items()}
        np.testing.assert_allclose(record["joints_3d"], annotation["univ_annot3"], rtol=1e-5)
        np.testing.assert_allclose(
            in_source(record, record["joints_2d"]), annotation["annot2"], atol=1e-2
        )
        assert record["has_3d"] and record["joints_valid"].all()
        assert_framed(record)


def test_pictures_are_those_of_the_frames(release):
    """Image files count from 1, annotations from 0, and no frame is turned."""
    root, truth = release
    turned = root / "mpi_inf_3dhp_test_set" / "TS1" / "imageSequence" / "img_000003.jpg"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.open(turned).save(turned, exif=exif, quality=95)
    for (_, name), record in make_all(mpi.make_plan(root, partial=True)).items():
        sequence, frame = name.split("_")
        places = index_places(truth[sequence]["annot2"][int(frame)])
        scale = record["to_source"][0, 0]
        inside = (places - record["to_source"][:, 2]) / scale
        image = decode_image(record["image"])
        assert image.shape == (256, 256, 3)
        assert read_index(image, inside) == int(frame)
        x, y = record["joints_2d"][6].astype(int)
        seen = image[y - 1 : y + 2, x - 1 : x + 2].mean((0, 1))
        np.testing.assert_allclose(seen, COLORS[6], atol=40)


def test_a_single_frame_keeps_its_axes(isolated, release):
    """N = 1 is where squeezing would take joints for frames."""
    root, truth = release
    path = root / "mpi_inf_3dhp_test_set" / "TS3" / "annot_data.mat"
    annotation = mpi.read_annotation(path)
    assert annotation["joints_3d"].shape == (1, 16, 3)
    np.testing.assert_allclose(annotation["joints_2d"][0], truth["TS3"]["annot2"][0, ORDER])


def test_what_is_missing_is_told_at_once(release):
    root, _ = release
    with pytest.raises(UserError) as error:
        mpi.make_plan(root, partial=False)
    text = str(error.value)
    assert "TS1: 9 frames of 6,151 are annotated" in text
    for name in ("TS2", "TS4", "TS6"):
        assert f"{name}: " in text
    assert "mpi_inf_3dhp_test_set.zip" in text and "--partial" in text


def test_the_expected_counts_are_the_official_ones(release, monkeypatch):
    """With every frame of the official number there, nothing is missing."""
    root, _ = release
    monkeypatch.setattr(mpi, "FRAMES", FRAMES)
    plan = mpi.make_plan(root, partial=False)
    assert plan.missing == []
    assert [remark.why for remark in plan.remarks] == [
        "6 frames are valid; of the official files, 2,929"
    ]


def test_a_missing_and_a_corrupt_image(release, monkeypatch):
    root, _ = release
    monkeypatch.setattr(mpi, "FRAMES", FRAMES)
    images = root / "mpi_inf_3dhp_test_set" / "TS1" / "imageSequence"
    (images / "img_000003.jpg").unlink()
    with pytest.raises(UserError, match="TS1: 1 annotated frames have no image"):
        mpi.make_plan(root, partial=False)
    (images / "img_000001.jpg").write_bytes(b"nonsense")
    outcomes = [mpi.make_records(item) for item in mpi.make_plan(root, partial=True).items]
    errors = [error for outcome in outcomes for error in outcome.errors]
    assert len(errors) == 1 and "img_000001.jpg is not an image" in errors[0]
    assert {r["image_id"] for o in outcomes for r in o.records if r["subject"] == "TS1"} == {
        "TS1_000007"
    }


def test_a_wrong_directory_and_damaged_annotations(release, tmp_path_factory):
    root, _ = release
    with pytest.raises(UserError, match="no test set of MPI-INF-3DHP in"):
        mpi.make_plan(tmp_path_factory.mktemp("empty"), partial=True)
    path = root / "mpi_inf_3dhp_test_set" / "TS1" / "annot_data.mat"
    with h5py.File(path, "a") as file:
        del file["univ_annot3"]
    with pytest.raises(UserError, match=r"annot_data\.mat is damaged or not"):
        mpi.make_plan(root, partial=True)
    path.write_bytes(b"MATLAB 5.0 MAT-file")
    with pytest.raises(UserError, match=r"annot_data\.mat is damaged or not"):
        mpi.make_plan(root, partial=True)


@pytest.mark.parametrize("name", ["annot2", "univ_annot3"])
def test_joints_where_none_can_be_are_a_sentence(release, name):
    """A square around them would ask for any amount of memory."""
    root, _ = release
    path = root / "mpi_inf_3dhp_test_set" / "TS1" / "annot_data.mat"
    with h5py.File(path, "a") as file:
        file[name][0, 0, 3, 1] = 1e9
    with pytest.raises(UserError, match=r"annot_data\.mat is damaged: a joint"):
        mpi.make_plan(root, partial=True)
