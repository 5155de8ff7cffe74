import h5py
import numpy as np
import pytest
import scipy.io
from miniature import (
    BACKGROUND,
    in_source,
    joints_that_show,
    make_all,
    mpii_rect,
    write_mpii,
    write_mpii_people,
)
from PIL import Image

from pose3d_jax.errors import UserError
from pose3d_jax.images.jpeg import decode_image
from tfds_builders import work
from tfds_builders.mpii import annotations
from tfds_builders.mpii import mpii_dataset_builder as mpii

FIRST_VALIDATION_PERSON = {"center": (966.0, 340.0), "scale": 4.718488}
JOINTS = {3: (40.0, 50.0), 0: (10.5, 20.25), 9: (30.0, 5.0)}


def picture(size=(200, 150)):
    return Image.new("RGB", size, BACKGROUND)


def write_quirks(root):
    """Every quirk of the real file, in seven images."""
    full = {"scale": 0.4, "center": (80.0, 60.0)}
    visible = {3: 1, 0: "0"}  # A number, a character, and (9) empty.
    first = {j: (700.0 + 20 * j, 300.0 + 30 * j) for j in range(16)}
    images = {
        "0.jpg": [],
        "1.jpg": [mpii_rect(JOINTS, **full, visible=visible, head=(20, 0, 50, 40))],
        "2.jpg": [
            mpii_rect(JOINTS, center=(1.0, 2.0)),
            mpii_rect(JOINTS, scale=1.0),
            mpii_rect({}, **full),
            mpii_rect(JOINTS, **full),
            mpii_rect(dict(reversed(JOINTS.items())), **full, head=(0, 0, 3, 4)),
        ],
        "3.jpg": [mpii_rect({}, head=(0, 0, 3, 4))],
        "4.jpg": [mpii_rect(JOINTS, **full)],
        "5.jpg": [mpii_rect(JOINTS, scale=float("nan"), center=(5.0, 5.0))],
        "005808361.jpg": [mpii_rect(first, **FIRST_VALIDATION_PERSON, head=(900, 180, 1000, 300))],
    }
    images = {name: (name != "4.jpg", rects) for name, rects in images.items()}
    validation = [(6, 0), (2, 4)]
    pictures = {name: picture() for name in images} | {"005808361.jpg": picture((1280, 720))}
    write_mpii(root, images, validation, pictures)


@pytest.fixture
def quirks(tmp_path):
    write_quirks(tmp_path)
    return tmp_path


def test_quirks_of_the_annotations(quirks):
    release = annotations.read_release(
        quirks / "mpii_human_pose_v1_u12_2" / "mpii_human_pose_v1_u12_1.mat"
    )
    found = release.people
    people = {(p.image, p.person_index): p for p in found if isinstance(p, annotations.Person)}
    assert list(people) == [("1.jpg", 0), ("2.jpg", 3), ("2.jpg", 4), ("005808361.jpg", 0)]
    assert {j: (x, y) for j, x, y in people["1.jpg", 0].points} == JOINTS
    assert {j: (x, y) for j, x, y in people["2.jpg", 4].points} == JOINTS
    assert people["1.jpg", 0].head_size == pytest.approx(0.6 * 50)
    assert people["2.jpg", 3].head_size == 0
    remarks = {p.what: p.why for p in found if isinstance(p, work.Remark)}
    assert remarks == {
        "2.jpg person 0": "person without scale, left out",
        "2.jpg person 1": "person without position, left out",
        "2.jpg person 2": "person without joints, left out",
        "3.jpg person 0": "person without joints, left out",
        "5.jpg person 0": "person with an impossible scale or position, left out",
    }


def test_the_split_is_honoured_person_by_person(isolated, quirks):
    plan = mpii.make_plan(quirks, partial=False)
    assert plan.expected == {("train",): 2, ("validation",): 2}
    assert set(make_all(plan)) == {
        ("train", "1_0"), ("train", "2_3"), ("validation", "2_4"), ("validation", "005808361_0"),
    }  # fmt: skip


def test_the_first_validation_person_has_its_published_box(quirks):
    """Published in valid.h5: scale 5.898110, centre (966, 410.777), MATLAB's coordinates."""
    record = make_all(mpii.make_plan(quirks, partial=False))["validation", "005808361_0"]
    center, scale = in_source(record, record["box"][:2]), np.float64(record["to_source"][0, 0])
    np.testing.assert_allclose(center + 0.5, (966, 410.777), atol=1e-3)
    np.testing.assert_allclose(record["box"][2] * scale / 200, 5.898110, atol=1e-5)
    np.testing.assert_allclose(record["head_size"] * scale, 0.6 * np.hypot(100, 120))
    assert (record["subject"], record["frame"]) == ("0", 6)


def test_joints_land_in_the_source_where_they_were(quirks):
    record = make_all(mpii.make_plan(quirks, partial=False))["train", "1_0"]
    assert np.flatnonzero(record["joints_valid"]).tolist() == [0, 3, 9]
    source = in_source(record, record["joints_2d"])
    for joint, xy in JOINTS.items():
        np.testing.assert_allclose(source[joint] + 0.5, xy, atol=1e-3)
    assert (record["joints_2d"][~record["joints_valid"]] == 0).all()
    assert not record["has_3d"] and (record["joints_3d"] == 0).all()


def test_the_picture_shows_each_joint_at_its_place(tmp_path):
    truth = write_mpii_people(tmp_path, count=3)
    made = make_all(mpii.make_plan(tmp_path, partial=False))
    assert len(made) == len(truth)
    for record in made.values():
        assert decode_image(record["image"]).shape == (mpii.IMAGE_SIDE, mpii.IMAGE_SIDE, 3)
        assert joints_that_show(record, apart=0) == set(range(16)) - {7}


def test_the_record_reaches_as_far_as_augmentation():
    """A box enlarged by √2 and turned by any angle up to 60° stays within the image."""
    half = mpii.IMAGE_SIDE / mpii.MARGIN / 2 * np.sqrt(2)
    angles = np.radians(np.linspace(-60, 60, 121))
    reach = half * (np.abs(np.cos(angles)) + np.abs(np.sin(angles)))
    assert mpii.IMAGE_SIDE / 2 - 1 < reach.max() <= mpii.IMAGE_SIDE / 2 + 1e-6


def test_what_is_missing_is_told_at_once(tmp_path):
    with pytest.raises(UserError) as error:
        mpii.make_plan(tmp_path, partial=False)
    for word in ("images", "mpii_human_pose_v1_u12_1.mat", "valid.h5", "Stacked Hourglass"):
        assert word in str(error.value)


def test_missing_images_stop_unless_a_part_is_wanted(quirks):
    (quirks / "mpii_human_pose_v1" / "images" / "1.jpg").unlink()
    with pytest.raises(UserError, match=r"1 of 3 images, the first: .*1\.jpg"):
        mpii.make_plan(quirks, partial=False)
    plan = mpii.make_plan(quirks, partial=True)
    assert ("train", "1_0") not in make_all(plan)
    assert len(plan.missing) == 1


def test_a_corrupt_image_is_an_error_and_the_others_are_made(quirks):
    path = quirks / "mpii_human_pose_v1" / "images" / "1.jpg"
    path.write_bytes(path.read_bytes()[:300])
    items = [i for i in mpii.make_plan(quirks, partial=False).items if i.split == "train"]
    (made,) = [mpii.make_records(item) for item in items]
    assert [record["image_id"] for record in made.records] == ["2_3"]
    assert len(made.errors) == 1 and str(path) in made.errors[0]


def test_annotations_of_another_version(tmp_path):
    path = tmp_path / "a.mat"
    for content in ({"RELEASE": {"something": 1}}, {"other": 1}):
        scipy.io.savemat(path, content)
        with pytest.raises(UserError, match=r"has no RELEASE\.annolist"):
            annotations.read_release(path)
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    path.write_bytes(header.ljust(512, b"\0"))
    with pytest.raises(UserError, match=r"v7\.3"):
        annotations.read_release(path)


def test_a_truncated_annotation_file(quirks):
    path = quirks / "mpii_human_pose_v1_u12_2" / "mpii_human_pose_v1_u12_1.mat"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match="damaged"):
        annotations.read_release(path)


def test_an_annotation_file_that_crashes_scipy(isolated, tmp_path):
    """One changed byte of the uncompressed miniature makes SciPy follow a wild pointer."""
    write_mpii_people(tmp_path, count=3)
    path = tmp_path / "mpii_human_pose_v1_u12_2" / "mpii_human_pose_v1_u12_1.mat"
    whole = path.read_bytes()
    for place, value in ((681, 177), (7905, 41), (2856, 36), (9792, 175)):
        path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
        with pytest.raises(UserError, match=r"damaged.*Unpack or"):
            annotations.read_release(path)


def test_a_valid_h5_of_other_annotations(quirks):
    with pytest.raises(UserError, match=r"image 6 is 005808361\.jpg; .* have nothing"):
        annotations.read_validation(quirks / "valid.h5", ["0.jpg"])
    names = [f"{k}.jpg" for k in range(7)]
    with pytest.raises(UserError, match="different releases"):
        annotations.read_validation(quirks / "valid.h5", names)
    names[-1] = "005808361.jpg"
    with h5py.File(quirks / "valid.h5", "a") as file:
        file["index"][0] = -1
    with pytest.raises(UserError, match=r"image -1 is 005808361\.jpg; .* have nothing"):
        annotations.read_validation(quirks / "valid.h5", names)
    (quirks / "valid.h5").write_bytes(b"not HDF5")
    with pytest.raises(UserError, match=r"is not a \.h5 file"):
        annotations.read_validation(quirks / "valid.h5", names)


def test_people_that_cannot_be_are_left_out(tmp_path):
    """One changed byte makes any number of another; squares around such ask for any memory."""
    usual = {"scale": 0.4, "center": (80.0, 60.0)}
    people = {
        "impossible joints": (
            mpii_rect({16: (1.0, 2.0)}, **usual),
            mpii_rect({-1: (1.0, 2.0)}, **usual),
            mpii_rect({3: (1e30, 2.0)}, **usual),
            mpii_rect({3: (float("nan"), 2.0)}, **usual),
        ),
        "an impossible head": (mpii_rect(JOINTS, **usual, head=(0, 0, 1e9, 4)),),
        "an impossible scale or position": (mpii_rect(JOINTS, scale=0.4, center=(1e30, 5.0)),),
    }
    images = {f"{why}.jpg": (True, list(rects)) for why, rects in people.items()}
    write_mpii(tmp_path, images, [], {name: picture() for name in images})
    path = tmp_path / "mpii_human_pose_v1_u12_2" / "mpii_human_pose_v1_u12_1.mat"
    assert [remark.why for remark in annotations.read_release(path).people] == [
        f"person with {why}, left out" for why, rects in people.items() for _ in rects
    ]
