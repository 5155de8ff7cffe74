import errno
import functools
import gzip
import os
import re
import shutil
import tarfile
import threading

import numpy as np
import pytest
from miniature import (
    CAMERAS,
    HUMAN36M_JOINTS,
    assert_framed,
    in_source,
    index_places,
    joints_that_show,
    make_all,
    pack,
    poses,
    project,
    read_index,
    write_cdf,
    write_human36m,
)

from pose3d_jax import skeleton
from pose3d_jax.errors import UserError
from pose3d_jax.images.jpeg import decode_image
from tfds_builders import work
from tfds_builders.builders import load_builder
from tfds_builders.human36m import human36m_dataset_builder as human36m
from tfds_builders.human36m import release, sequence
from tfds_builders.human36m.release import Sequence36m

CAMERA = "54138969"


def test_official_subjects_actions_and_cameras():
    """From the release's documentation; Table 1 of the paper has the actions as rows."""
    assert (release.TRAIN_SUBJECTS, release.TEST_SUBJECTS) == (
        ("S1", "S5", "S6", "S7", "S8"), ("S9", "S11"),
    )  # fmt: skip
    assert release.ACTIONS == (
        "Directions", "Discussion", "Eating", "Greeting", "Phoning", "Photo", "Posing",
        "Purchases", "Sitting", "SittingDown", "Smoking", "Waiting", "WalkDog", "Walking",
        "WalkPair",
    )  # fmt: skip
    assert release.CAMERAS == CAMERAS
    assert sequence.JOINTS.tolist() == HUMAN36M_JOINTS


def make_plan(root, scratch, **options):
    builder = load_builder("human36m", scratch)
    return builder.make_plan(root, scratch / "release", **{"partial": True, **options})


@pytest.fixture(scope="module")
def release_and_truth(tmp_path_factory):
    root = tmp_path_factory.mktemp("human36m")
    names = ("Directions 1", "TakingPhoto", "WalkTogether 2")
    return root, write_human36m(root, names=names, cameras=(CAMERA, "58860488"), frames=17)


@pytest.fixture(scope="module")
def made(release_and_truth, tmp_path_factory):
    return make_all(make_plan(release_and_truth[0], tmp_path_factory.mktemp("data")))


def from_source(record, points):
    to_source = record["to_source"].astype(np.float64)
    return (points - to_source[:, 2]) / np.diag(to_source)


def test_splits_actions_frames_and_names(made):
    assert {(split, r["subject"]) for (split, _), r in made.items()} == {
        ("train", "S1"),
        ("test", "S9"),
    }
    assert {r["action"] for r in made.values()} == {"Directions", "Photo", "WalkPair"}
    assert len(made) == 2 * 3 * 2 * 4
    for (_, name), record in made.items():
        assert record["frame"] in (0, 5, 10, 15)
        assert name.endswith(f"_{record['camera']}_{record['frame']:06d}")
        assert record["has_3d"] and record["joints_valid"].all()


def test_each_picture_is_the_frame_of_its_pose(made, release_and_truth):
    """Every frame carries its index, whatever the container says of frame rates."""
    _, truth = release_and_truth
    for record in made.values():
        name = record["image_id"].split("_")[1].replace("-", " ")
        pose = truth[record["subject"], name, record["camera"]][record["frame"]]
        places = index_places(project(pose, record["camera"]))
        image = decode_image(record["image"])
        assert image.shape == (256, 256, 3)
        assert read_index(image, from_source(record, places)) == record["frame"]


def test_joints_are_the_truth_in_millimetres(made, release_and_truth):
    _, truth = release_and_truth
    for (split, _), record in made.items():
        name = record["image_id"].split("_")[1].replace("-", " ")
        pose = truth[record["subject"], name, record["camera"]][record["frame"]].copy()
        if split == "train":
            pose[7] = (pose[12] + pose[13]) / 2
        np.testing.assert_allclose(record["joints_3d"], pose, atol=1e-2)


def test_projection_lands_on_the_2d_joints_in_both_splits(made):
    for record in made.values():
        projected = project(record["joints_3d"].astype(np.float64), record["camera"])
        np.testing.assert_allclose(in_source(record, record["joints_2d"]), projected, atol=2e-2)


def test_the_picture_shows_each_joint_at_its_place(made):
    checked = set().union(*(joints_that_show(record, apart=16) for record in made.values()))
    assert checked == set(range(16)) - {7}


def test_the_box_is_the_image_and_holds_the_person_with_a_margin(made):
    for record in made.values():
        assert_framed(record)


@pytest.mark.parametrize("shape", [(4, 96), (1, 4, 96), (4, 32, 3)])
def test_poses_of_every_written_shape(tmp_path, shape):
    pose = np.random.default_rng(0).normal(size=(4, 96)).astype(np.float32)
    write_cdf(tmp_path / "p.cdf", pose.reshape(shape))
    read = sequence.read_poses(tmp_path / "p.cdf", 3)
    np.testing.assert_allclose(read.reshape(4, 96), pose, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("Directions", "Directions"), ("Directions 1", "Directions"), ("Walking", "Walking"),
        ("SittingDown 2", "SittingDown"), ("Photo 1", "Photo"), ("TakingPhoto", "Photo"),
        ("WalkingDog 1", "WalkDog"), ("WalkDog", "WalkDog"), ("WalkTogether 1", "WalkPair"),
    ],
)  # fmt: skip
def test_actions_are_the_rows_of_table_1(name, action):
    assert Sequence36m("S1", name, CAMERA).action == action
    assert action in release.ACTIONS


def test_midpoint_of_the_shoulders_projects_consistently():
    joints = poses(5, seed=3)
    joints[:, 12, 2] -= 200
    flat, solid = sequence.thorax_between_shoulders(project(joints, CAMERA), joints)
    np.testing.assert_allclose(solid[:, 7], joints[:, [12, 13]].mean(1))
    np.testing.assert_allclose(flat[:, 7], project(solid, CAMERA)[:, 7], atol=1e-9)
    kept = np.arange(16) != 7
    np.testing.assert_array_equal(solid[:, kept], joints[:, kept])


# Layouts


def layout_fetch(root, tmp_path):
    """As h36m-fetch unpacks."""
    for subject in ("S1", "S9"):
        directory = tmp_path / "extracted" / subject
        shutil.copytree(root / subject / "Videos", directory / "Videos")
        for kind in ("D2_Positions", "D3_Positions_mono"):
            shutil.copytree(root / subject / "MyPoseFeatures" / kind, directory / f"Poses_{kind}")


def layout_archives(root, tmp_path, new=False):
    """As it is downloaded, nowadays or before."""
    for subject in ("S1", "S9"):
        for kind in ("Videos", "D2_Positions", "D3_Positions_mono"):
            inside = kind if kind == "Videos" else f"MyPoseFeatures/{kind}"
            old = kind if kind == "Videos" else f"Poses_{kind}"
            name = f"{subject.lower()}/{kind}.tgz" if new else f"{old}_{subject}.tgz"
            pack(root / subject / inside, tmp_path / name, kind if new else f"{subject}/{inside}")


@pytest.mark.parametrize(
    "layout", [layout_fetch, layout_archives, functools.partial(layout_archives, new=True)]
)
def test_every_layout_gives_the_same_items(layout, release_and_truth, tmp_path):
    root, _ = release_and_truth
    manual = tmp_path / "manual"
    layout(root, manual)
    expected = make_plan(root, tmp_path / "data")
    plan = make_plan(manual, tmp_path / "data")
    assert [item.name for item in plan.items] == [item.name for item in expected.items]
    for item, other in zip(plan.items, expected.items, strict=True):
        for path, original in zip(item.inputs, other.inputs, strict=True):
            with open(path, "rb") as one, open(original, "rb") as two:
                assert one.read() == two.read()


@pytest.mark.parametrize("inside", ["S1/Videos", "/".join(["directory"] * 20)])
def test_videos_of_single_cameras_are_unpacked(tmp_path, inside):
    """Not those of all cameras at once. Headers of long paths are allowed, up to 64 KiB."""
    videos = tmp_path / "Videos"
    videos.mkdir()
    (videos / "_ALL 1.54138969.mp4").write_bytes(b"big")
    (videos / "Eating.54138969.mp4").write_bytes(b"small")
    pack(videos, tmp_path / "a.tgz", inside)
    target = tmp_path / "out"
    assert list(release.unpack_all({tmp_path / "a.tgz": (target, ".mp4")})) == []
    assert os.listdir(target) == ["Eating.54138969.mp4"]
    assert list(release.sequences(videos, "S1", ".mp4")) == [Sequence36m("S1", "Eating", CAMERA)]


# Bad input


def test_a_wrong_directory(tmp_path):
    with pytest.raises(UserError, match=r"no files of Human3\.6M in"):
        make_plan(tmp_path, tmp_path / "data")


def test_everything_missing_is_told_at_once(release_and_truth, tmp_path):
    with pytest.raises(UserError) as error:
        make_plan(release_and_truth[0], tmp_path, partial=False)
    text = str(error.value)
    for subject in ("S5", "S6", "S7", "S8", "S11"):
        assert f"  - {subject}: Videos_{subject}.tgz" in text
        assert f"Poses_D3_Positions_mono_{subject}.tgz" in text
    assert "S1: " not in text and "--partial" in text and "vision.imar.ro" in text


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """All 840 − 1 videos with their poses; the files are links to the same three."""
    root = tmp_path_factory.mktemp("complete")
    source = tmp_path_factory.mktemp("one")
    write_human36m(source, subjects=("S1",), frames=2)
    files = {
        ".mp4": source / f"S1/Videos/Directions 1.{CAMERA}.mp4",
        "D2_Positions": source / f"S1/MyPoseFeatures/D2_Positions/Directions 1.{CAMERA}.cdf",
        "D3_Positions_mono": source
        / f"S1/MyPoseFeatures/D3_Positions_mono/Directions 1.{CAMERA}.cdf",
    }
    for subject in release.SUBJECTS:
        for kind in release.KINDS.values():
            directory = root / subject / kind.directories[0]
            directory.mkdir(parents=True)
            original = files[kind.suffix if kind.suffix == ".mp4" else directory.name]
            for action in release.ACTIONS:
                for take in ("", " 1"):
                    for camera in release.CAMERAS:
                        name = f"{action}{take}.{camera}"
                        gap = subject == "S11" and name == f"Directions.{CAMERA}"
                        if not (gap and kind.suffix == ".mp4"):
                            os.link(original, directory / f"{name}{kind.suffix}")
    return root


def test_the_complete_release_is_complete_without_the_damaged_video(complete, tmp_path):
    plan = make_plan(complete, tmp_path, partial=False)
    assert len(plan.items) == 839
    assert plan.missing == []
    assert plan.remarks == [work.Remark(f"S11 Directions.{CAMERA}", "no Videos, left out")]
    counts = {}
    for item in plan.items:
        counts[item.split, *item.row] = counts.get((item.split, *item.row), 0) + 1
    assert counts == {**plan.expected, ("test", "S11", "Directions"): 7}
    assert {item.split: item.task.shoulder_thorax for item in plan.items} == {
        "train": True,
        "test": False,
    }


@pytest.mark.parametrize(("actions", "more"), [(15, " and 56 more"), (2, " and 4 more"), (1, "")])
def test_gaps_name_four_takes_and_count_the_others(actions, more):
    present = [
        Sequence36m("S5", action + take, camera)
        for action in release.ACTIONS[actions:]
        for take in ("", " 1")
        for camera in release.CAMERAS
    ]
    named = ", ".join(f"Directions.{camera} (0 of 2)" for camera in release.CAMERAS)
    assert release.gaps("S5", "Videos", present) == [f"S5 Videos: too few files of {named}{more}"]


def test_a_sequence_without_video_stops_unless_a_part_is_wanted(complete, tmp_path):
    video = complete / "S5" / "Videos" / "Eating.55011271.mp4"
    kept = tmp_path / "kept.mp4"
    shutil.move(video, kept)
    try:
        with pytest.raises(UserError, match=r"S5 Videos: too few files of Eating\.55011271 \(1 of"):
            make_plan(complete, tmp_path, partial=False)
        plan = make_plan(complete, tmp_path, partial=True)
    finally:
        shutil.move(kept, video)
    assert len(plan.items) == 838
    assert work.Remark("S5 Eating.55011271", "no Videos, left out") in plan.remarks


def test_a_trial_looks_at_one_subject_of_each_split(complete, tmp_path):
    plan = make_plan(complete, tmp_path, partial=False, trial=True).trial(4)
    assert {item.row[0] for item in plan.items} == {"S1", "S9"}
    assert sum(len(plan.process(item).records) for item in plan.items) == 8


def test_truncated_archives_are_named(release_and_truth, tmp_path):
    manual = tmp_path / "manual"
    layout_archives(release_and_truth[0], manual)
    archive = manual / "Videos_S9.tgz"
    archive.write_bytes(archive.read_bytes()[:-200])
    plan = make_plan(manual, tmp_path / "data")
    assert {item.row[0] for item in plan.items} == {"S1"}
    assert any(f"{archive} is truncated or damaged" in sentence for sentence in plan.missing)
    assert not (tmp_path / "data" / "release" / "S9" / "Videos").exists()
    assert not list((tmp_path / "data").rglob("*.part"))


def write_cut(path, keep):
    """Cut anywhere, even within the end of the archive, where tar itself would notice nothing."""
    (path.parent / "Eating.54138969.mp4").write_bytes(os.urandom(4000))
    pack(path.parent, path, "Videos")
    path.write_bytes(path.read_bytes()[:keep])


def write_long_name(path):
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("Videos/" + 300 * "x" + ".mp4"))


def write_header(path, kind, size, count=1):
    """A header of gigabytes would be read into memory, and zeros take no room in an archive."""
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, size
    content = header.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20 if count == 1 else 512)
    path.write_bytes(gzip.compress(content * count))


@pytest.mark.parametrize(
    ("write", "options", "reason"),
    [
        *((write_cut, [keep], "damaged") for keep in (0, 10, -4)),
        (write_long_name, [], r"damaged \(File name too long\)"),
        *((write_header, [kind, 1 << 33], "a header of 8,589,934,592 bytes")
          for kind in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE)),
        # Headers of headers without end.
        (write_header, [tarfile.GNUTYPE_LONGNAME, 1, 5000], "damaged"),
    ],
)  # fmt: skip
def test_an_unusable_archive_is_a_sentence(tmp_path, write, options, reason):
    path = tmp_path / "files" / "a.tgz"
    path.parent.mkdir()
    write(path, *options)
    failed = dict(release.unpack_all({path: (tmp_path / "out", ".mp4")}))
    assert list(failed) == [path] and re.search(reason, failed[path])
    assert not (tmp_path / "out").exists()


def item_of(root, **task):
    name = f"Directions 1.{CAMERA}"
    directory = root / "S1"
    return work.Item(
        split="train",
        name=f"S1 {name}",
        row=("S1", "Directions"),
        inputs=(
            str(directory / "Videos" / f"{name}.mp4"),
            str(directory / "MyPoseFeatures" / "D2_Positions" / f"{name}.cdf"),
            str(directory / "MyPoseFeatures" / "D3_Positions_mono" / f"{name}.cdf"),
        ),
        task=sequence.Task(
            Sequence36m("S1", "Directions 1", CAMERA),
            **{"step": 2, "shoulder_thorax": True, **task},
        ),
    )


def test_a_video_shorter_than_its_poses(tmp_path):
    write_human36m(tmp_path, subjects=("S1",), frames=9, video_frames=6)
    made = sequence.make_records(item_of(tmp_path))
    assert [record["frame"] for record in made.records] == [0, 2, 4]
    (remark,) = made.remarks
    assert "6 of 9 frames" in remark.what and "shorter than its poses" in remark.why


def test_a_video_longer_than_its_poses_has_no_pose_to_spare(tmp_path):
    write_human36m(tmp_path, subjects=("S1",), frames=9)
    item = item_of(tmp_path)
    for path, dimensions in zip(item.inputs[1:], (2, 3), strict=True):
        kept = sequence.read_poses(path, dimensions)[:5]
        os.remove(path)
        write_cdf(tmp_path / path, kept.reshape(5, -1))
    made = sequence.make_records(item)
    assert [record["frame"] for record in made.records] == [0, 2, 4]
    assert made.remarks == []


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 3], lambda b: b"nonsense" * 100])
def test_damaged_files_are_named(tmp_path, which, damage):
    write_human36m(tmp_path, subjects=("S1",), frames=5)
    item = item_of(tmp_path)
    path = item.inputs[which]
    with open(path, "rb") as file:
        content = file.read()
    with open(path, "wb") as file:
        file.write(damage(content))
    with pytest.raises(UserError, match="damaged") as error:
        sequence.make_records(item)
    assert path in str(error.value)


def test_configurations_are_steps():
    assert human36m.make_config("every_64").step == 64
    for name in ("every_0", "every_", "fast", "every_-5"):
        with pytest.raises(ValueError, match="every_N"):
            human36m.make_config(name)


def test_the_scale_of_scoring_is_in_the_metadata(tmp_path):
    info = load_builder("human36m/every_7", tmp_path).info
    assert info.metadata["bone_length_sum"] == skeleton.HUMAN36M_BONE_LENGTH_SUM
    assert info.metadata["image_side"] == 256 and info.metadata["step"] == 7


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e9])
def test_poses_where_none_can_be_are_a_sentence(tmp_path, value):
    """A square around them would ask for any amount of memory."""
    poses = np.zeros((3, 64))
    poses[1, 7] = value
    write_cdf(tmp_path / "p.cdf", poses)
    with pytest.raises(UserError, match=r"p\.cdf is damaged: a joint"):
        sequence.read_poses(tmp_path / "p.cdf", 2)


DAMAGED = Sequence36m("S11", "Directions", CAMERA)


@pytest.mark.parametrize("state", ["whole", "unreadable", "short", "absent"])
def test_the_video_that_older_releases_have_damaged(tmp_path, state):
    """It is used where it is whole; elsewhere it is left out, and nothing else."""
    write_human36m(
        tmp_path,
        subjects=("S11",),
        names=("Directions", "Directions 1"),
        frames=6,
        video_frames=3 if state == "short" else 6,
    )
    video = tmp_path / "S11" / "Videos" / f"Directions.{CAMERA}.mp4"
    if state == "unreadable":
        video.write_bytes(video.read_bytes()[:500])
    elif state == "absent":
        video.unlink()
    plan = make_plan(tmp_path, tmp_path / "data")
    assert not any("Directions.54138969" in sentence for sentence in plan.missing)
    made = {item.task.sequence: plan.process(item) for item in plan.items}
    assert made[Sequence36m("S11", "Directions 1", CAMERA)].records
    if state == "absent":
        assert DAMAGED not in made
        assert any(remark.what == str(DAMAGED) for remark in plan.remarks)
    else:
        assert len(made[DAMAGED].records) == (2 if state == "whole" else 0)
        reasons = [remark.why for remark in made[DAMAGED].remarks]
        assert reasons == ([] if state == "whole" else [
            "damaged in the release of before September 2020, left out"
        ])  # fmt: skip


def test_unpacking_that_is_stopped_ends_at_once(tmp_path):
    """The other archives, tens of gigabytes, are not unpacked to their ends first."""
    files = tmp_path / "Videos"
    files.mkdir()
    (files / "Eating.54138969.mp4").write_bytes(bytes(4 << 20))
    stopped = threading.Event()
    stopped.set()
    pack(files, tmp_path / "a.tgz", "Videos")
    release._unpack(tmp_path / "a.tgz", tmp_path / "out", ".mp4", stopped)
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.part").exists()


def test_a_full_disk_stops_the_other_archives(tmp_path, monkeypatch):
    """One is at work then, and is told; those that wait are not begun."""
    full, at_work, waiting = (
        tmp_path / name for name in ("full.tgz", "at_work.tgz", "waiting.tgz")
    )
    begun, told = [], []

    def unpack(archive, directory, suffix, stopped):
        begun.append(archive)
        if archive == full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        told.append(stopped.wait(60))

    monkeypatch.setattr(release, "_unpack", unpack)
    monkeypatch.setattr(release.processors, "usable", lambda: 2)
    # The one at work first: the other thread is free for the full disk's.
    archives = dict.fromkeys((at_work, full, waiting), (tmp_path / "out", ".mp4"))
    with pytest.raises(OSError, match="No space left"):
        list(release.unpack_all(archives))
    assert at_work in begun and told and all(told)


def test_damaged_poses_of_that_sequence_are_no_damaged_video(tmp_path):
    write_human36m(tmp_path, subjects=("S11",), names=("Directions",), frames=2)
    poses = tmp_path / "S11" / "MyPoseFeatures" / "D2_Positions" / f"Directions.{CAMERA}.cdf"
    poses.write_bytes(poses.read_bytes()[:100])
    (item,) = make_plan(tmp_path, tmp_path / "data").items
    with pytest.raises(UserError, match=re.escape(str(poses))):
        sequence.make_records(item)
