import shutil

import numpy as np
import pytest
import scipy.io
from miniature import LSP_JOINTS, in_source, joints_that_show, make_all, write_lsp
from PIL import Image

from pose3d_jax.errors import UserError
from pose3d_jax.images.jpeg import decode_image
from tfds_builders.lsp import lsp_dataset_builder as lsp
from tfds_builders.lsp.annotations import Release, read_joints

RIGHT_HIP, LEFT_HIP, RIGHT_SHOULDER, LEFT_SHOULDER = 2, 3, 12, 13
PELVIS, THORAX = 6, 7


@pytest.fixture
def release(tmp_path, monkeypatch):
    """Three for training of LSP (one is shown in the test half too), two for testing."""
    truth = write_lsp(tmp_path, count=5, extended=3)
    monkeypatch.setattr(lsp, "TRAINING_PHOTOGRAPHS", 3)
    monkeypatch.setattr(lsp, "NEAR_DUPLICATES", frozenset({2}))
    return tmp_path, truth


def test_training_photographs_of_the_official_files(monkeypatch):
    """The first thousand, without those whose near-duplicates are in the test half."""
    labels = np.ones((2000, 14, 3))
    labels[[9, 1009], 7:, 2] = 0  # Seven labelled joints: too few.
    labels[10, 8:, 2] = 0  # Eight: enough.
    monkeypatch.setattr(lsp, "read_joints", lambda release, extended: labels)
    numbers = {"train": set(), "test": set()}
    for split, person in lsp._people(lsp.LSP, Release("lsp_dataset"), corrected=False):
        if isinstance(person, lsp.Person):
            numbers[split].add(person.number)
    duplicates = {550, 492, 371, 483}  # Of 1366, 1436, 1622 and 1211.
    assert numbers["train"] == set(range(1, 1001)) - duplicates - {10}
    assert numbers["test"] == set(range(1001, 2001)) - {1010}


def change_joints(root, dataset, change):
    path = root / dataset / "joints.mat"
    joints = scipy.io.loadmat(path)["joints"]
    change(joints)
    scipy.io.savemat(path, {"joints": joints})


def test_splits_without_near_duplicates(release):
    plan = lsp.make_plan(release[0], partial=False)
    assert plan.expected == {("train",): 5, ("test",): 2}
    assert set(make_all(plan)) == {
        ("train", "lsp_00001"), ("train", "lsp_00003"), ("train", "lspet_00001"),
        ("train", "lspet_00002"), ("train", "lspet_00003"), ("test", "lsp_00004"),
        ("test", "lsp_00005"),
    }  # fmt: skip
    assert any("im0002.jpg" in remark.what for remark in plan.remarks)


def test_joints_land_in_the_photograph_where_they_were(release):
    root, truth = release
    made = make_all(lsp.make_plan(root, partial=False))
    for split, name, image in (
        ("test", "lsp_00004", "im0004.jpg"), ("train", "lspet_00002", "im00002.jpg")
    ):  # fmt: skip
        record = made[split, name]
        joints = in_source(record, record["joints_2d"]) + 0.5  # In MATLAB's coordinates.
        assert record["joints_valid"].all()
        np.testing.assert_allclose(joints[LSP_JOINTS], truth[image], atol=1e-3)
        middles = (joints[[RIGHT_HIP, RIGHT_SHOULDER]] + joints[[LEFT_HIP, LEFT_SHOULDER]]) / 2
        np.testing.assert_allclose(joints[[PELVIS, THORAX]], middles, atol=1e-3)
        low, high = truth[image].min(0), truth[image].max(0)
        side = record["box"][2] * record["to_source"][0, 0]
        np.testing.assert_allclose(side, 1.3 * (high - low).max(), rtol=1e-5)
        head = np.linalg.norm(joints[8] - joints[9]) / record["to_source"][0, 0]
        np.testing.assert_allclose(record["head_size"], head, rtol=1e-4)
        assert not record["has_3d"] and (record["joints_3d"] == 0).all()


def test_the_picture_shows_each_joint_at_its_place(release):
    checked = set()
    for record in make_all(lsp.make_plan(release[0], partial=False)).values():
        assert decode_image(record["image"]).shape == (lsp.IMAGE_SIDE, lsp.IMAGE_SIDE, 3)
        checked |= joints_that_show(record, apart=14, drawn=LSP_JOINTS)
    # The discs of neck and shoulders overlap.
    assert checked == set(LSP_JOINTS) - {8, RIGHT_SHOULDER, LEFT_SHOULDER}


def test_what_is_not_labelled_is_zero_and_moves_no_box(release):
    root, _ = release
    whole = make_all(lsp.make_plan(root, partial=False))["train", "lspet_00001"]

    def forget(joints):
        joints[[2, 11], :, 0] = [-700.0, 9999.0, 0.0]  # right hip and left wrist, with junk
        joints[:7, 2, 1] = 0  # of the second, seven remain: too few

    change_joints(root, "lspet_dataset", forget)
    plan = lsp.make_plan(root, partial=False)
    made = make_all(plan)
    record = made["train", "lspet_00001"]
    unlabelled = [RIGHT_HIP, PELVIS, 15]
    assert np.flatnonzero(~record["joints_valid"]).tolist() == unlabelled
    assert (record["joints_2d"][unlabelled] == 0).all()
    # The standing person's square is as high as from head to feet, with or without these joints.
    np.testing.assert_allclose(record["to_source"][0, 0], whole["to_source"][0, 0], rtol=1e-6)
    assert ("train", "lspet_00002") not in made
    assert plan.expected["train",] == 4


def test_occluded_joints_of_lsp_are_labelled(release):
    root, _ = release

    def occlude(joints):
        joints[2] = 1

    change_joints(root, "lsp_dataset", occlude)
    made = make_all(lsp.make_plan(root, partial=False))
    assert made["test", "lsp_00004"]["joints_valid"].all()


@pytest.mark.parametrize("inside", ["", "lsp_dataset"])
def test_archives_give_the_records_of_folders(release, tmp_path_factory, inside):
    root, _ = release
    zips = tmp_path_factory.mktemp("zips")
    for name in ("lsp_dataset", "lspet_dataset"):
        folders = {"root_dir": root, "base_dir": name} if inside else {"root_dir": root / name}
        shutil.make_archive(zips / name, "zip", **folders)
    packed, unpacked = (make_all(lsp.make_plan(p, partial=False)) for p in (zips, root))
    assert packed.keys() == unpacked.keys()
    for key, record in packed.items():
        assert record["image"] == unpacked[key]["image"]
        np.testing.assert_array_equal(record["joints_2d"], unpacked[key]["joints_2d"])


def test_what_is_missing_is_told(release):
    root, _ = release
    (root / "lsp_dataset" / "images" / "im0004.jpg").unlink()
    with pytest.raises(UserError, match=r"1 images of lsp_dataset, the first: images/im0004\.jpg"):
        lsp.make_plan(root, partial=False)
    assert ("test", "lsp_00004") not in make_all(lsp.make_plan(root, partial=True))
    shutil.rmtree(root / "lspet_dataset")
    with pytest.raises(UserError, match=r"lspet_dataset\.zip"):
        lsp.make_plan(root, partial=False)
    assert {split for split, _ in make_all(lsp.make_plan(root, partial=True))} == {"train", "test"}


def test_damaged_files_say_which(release):
    root, _ = release
    image = root / "lsp_dataset" / "images" / "im0004.jpg"
    image.write_bytes(image.read_bytes()[:300])
    plan = lsp.make_plan(root, partial=False)
    (made,) = [plan.process(item) for item in plan.items if item.split == "test"]
    assert [record["image_id"] for record in made.records] == ["lsp_00005"]
    assert "im0004.jpg" in made.errors[0]
    (root / "lspet_dataset" / "joints.mat").write_bytes(b"not MATLAB")
    with pytest.raises(UserError, match=r"lspet_dataset/joints\.mat is damaged"):
        lsp.make_plan(root, partial=False)
    shutil.copy(root / "lsp_dataset" / "joints.mat", root / "lspet_dataset" / "joints.mat")
    with pytest.raises(UserError, match="shape"):
        lsp.make_plan(root, partial=False)


def test_a_photograph_in_another_format_stays_closed(release, monkeypatch):
    """Pillow would start Ghostscript for it."""
    root, _ = release
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("started"))
    Image.new("RGB", (250, 250)).save(root / "lsp_dataset" / "images" / "im0004.jpg", "EPS")
    plan = lsp.make_plan(root, partial=False)
    (made,) = [plan.process(item) for item in plan.items if item.split == "test"]
    assert len(made.records) == 1 and "im0004.jpg" in made.errors[0]


def test_an_annotation_file_that_crashes_scipy_is_a_sentence(isolated, release, monkeypatch):
    monkeypatch.setattr(scipy.io, "loadmat", lambda *_, **__: pytest.fail("read in this process"))
    joints = read_joints(Release(str(release[0] / "lsp_dataset")), extended=False)
    assert joints.shape == (5, 14, 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_joints_where_none_can_be_are_a_sentence(release, value):
    """A square around them would ask for any amount of memory."""
    root, _ = release
    change_joints(root, "lsp_dataset", lambda joints: joints.__setitem__((1, 3, 4), value))
    with pytest.raises(UserError, match="impossible coordinates"):
        lsp.make_plan(root, partial=False)


@pytest.mark.parametrize(
    ("where", "value"),
    [(8, b"\1"), (10, b"\x63"), (24, b"\xff" * 4)],
    ids=["encrypted", "compression", "length"],
)
def test_damaged_archives_say_which(release, tmp_path_factory, where, value):
    """What zipfile raises, or would read, where the directory of an archive is damaged."""
    root, _ = release
    place = tmp_path_factory.mktemp("zips")
    for name in ("lsp_dataset", "lspet_dataset"):
        shutil.make_archive(place / name, "zip", root_dir=root / name)
    path = place / "lsp_dataset.zip"
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"images/im0004.jpg") - 46  # In the directory, which comes last.
    content[entry + where : entry + where + len(value)] = value
    path.write_bytes(content)
    plan = lsp.make_plan(place, partial=False)
    (made,) = [plan.process(item) for item in plan.items if item.split == "test"]
    assert len(made.records) == 1 and "im0004.jpg" in made.errors[0]
    assert str(path) in made.errors[0]
