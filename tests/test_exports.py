"""CSV, TRC and BVH files, read by independent parsers."""

import csv

import numpy as np
import pybvh
import pytest
import small_checkpoint
import trc

from pose3d_jax.prediction import exports
from pose3d_jax.prediction.pose import Pose
from pose3d_jax.skeleton import BONES, JOINT_NAMES, PELVIS

TIMES = (np.arange(6) / 30).tolist()


def rotation(axis, angle):
    x, y, z = axis / np.linalg.norm(axis)
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * skew + (1 - np.cos(angle)) * skew @ skew


def moving_skeleton() -> np.ndarray:
    """Joints of a skeleton with constant bone lengths and random directions, mm: (6, 16, 3)."""
    rng = np.random.default_rng(0)
    joints = np.zeros((len(TIMES), 16, 3))
    queue, done = [PELVIS], {PELVIS}
    for near in queue:
        for bone in BONES.tolist():
            if near in bone and (far := sum(bone) - near) not in done:
                done.add(far)
                queue.append(far)
                start, axis, length = rng.normal(size=3), rng.normal(size=3), rng.uniform(100, 500)
                for t in range(len(TIMES)):
                    turned = rotation(axis, 0.5 * t) @ start
                    joints[t, far] = joints[t, near] + length * turned / np.linalg.norm(turned)
    joints[:, 7] = joints[:, 12:14].mean(axis=1)
    return joints


def pose_of(joints: np.ndarray, *, ids=(0,), **fields) -> Pose:
    """The same joints (mm) for all identities."""
    everyone = np.tile(joints, (len(ids), 1, 1))
    return small_checkpoint.pose_of(everyone[..., :2], everyone, id=ids, **fields)


def test_csv_has_a_row_per_frame_and_person(tmp_path):
    joints = moving_skeleton()
    poses = [pose_of(joints[0], ids=(3, 5)), pose_of(joints[1], ids=(5,))]
    exports.write(tmp_path, ["csv"], TIMES[:2], poses)
    rows = list(csv.DictReader((tmp_path / "poses.csv").open()))
    assert [(row["frame"], row["id"]) for row in rows] == [("0", "3"), ("0", "5"), ("1", "5")]
    values = [float(rows[2][f"left_wrist_{axis}_mm"]) for axis in "xyz"]
    np.testing.assert_allclose(values, joints[1, 15], atol=1e-3)
    exports.write(tmp_path, ["csv"], TIMES[:2], poses, "coco")
    assert next(csv.DictReader((tmp_path / "poses.csv").open()))["nose_x_px"] == ""


def test_trc_is_read_by_another_program(tmp_path):
    joints = moving_skeleton()
    empty = pose_of(joints[0])[[]]
    poses = [pose_of(own) for own in joints]
    exports.write_trc(tmp_path / "a.trc", TIMES, [*poses[:2], empty, *poses[3:]], 0)
    data = trc.TRCData()
    data.load(str(tmp_path / "a.trc"))
    assert data["Markers"] == list(JOINT_NAMES) and data["Units"] == "mm"
    assert float(data["DataRate"]) == pytest.approx(30) and data["NumFrames"] == len(TIMES)
    np.testing.assert_allclose(data["Time"], TIMES, atol=1e-5)
    for n, name in enumerate(JOINT_NAMES):
        markers = np.array(data[name], float)
        kept = [0, 1, 3, 4, 5]
        # y up and z towards the camera.
        np.testing.assert_allclose(markers[kept], joints[kept, n] * (1, -1, -1), atol=1e-3)
        assert np.isnan(markers[2]).all()


def test_bvh_moves_another_programs_skeleton_to_the_same_joints(tmp_path):
    joints = moving_skeleton()
    joints += np.linspace(0, 500, len(joints))[:, None, None]
    poses = [pose_of(own, joints_camera=own[None]) for own in joints]
    exports.write_bvh(tmp_path / "a.bvh", TIMES, poses, 0)
    motion = pybvh.read_bvh_file(str(tmp_path / "a.bvh"))
    assert motion.frame_count == len(TIMES) and motion.frame_time == pytest.approx(1 / 30, abs=1e-5)
    expected = joints * (1, -1, -1)
    positions = world_positions(motion)
    for n, name in enumerate(JOINT_NAMES):
        if name == "thorax":  # On no bone.
            continue
        np.testing.assert_allclose(positions[name], expected[:, n], atol=0.05)


def world_positions(motion) -> dict[str, np.ndarray]:
    """Places of the named joints and of the ends of chains, by the parser's own kinematics."""
    places = motion.node_positions(centered="world")
    found = {}
    for index, node in enumerate(motion.nodes):
        name = node.name
        if node.is_end_site():
            name = node.parent.name.removesuffix("_bone")
        found[name] = places[:, index]
    return found


def test_missing_frames_are_interpolated_in_bvh(tmp_path):
    joints = moving_skeleton()
    poses = [pose_of(joints[0]), pose_of(joints[0])[[]], pose_of(joints[0])]
    exports.write_bvh(tmp_path / "a.bvh", TIMES[:3], poses, 0)
    motion = np.loadtxt((tmp_path / "a.bvh").read_text().splitlines()[-3:])
    np.testing.assert_allclose(motion, motion[:1].repeat(3, axis=0), atol=1e-3)


def test_every_person_has_a_file(tmp_path):
    joints = moving_skeleton()
    poses = [pose_of(joints[0], ids=(4, 7))]
    exports.write(tmp_path, ["trc", "bvh"], [0.0], poses)
    assert {path.name for path in tmp_path.iterdir()} == {
        "poses.trc", "poses_7.trc", "poses.bvh", "poses_7.bvh"
    }  # fmt: skip
    exports.write(tmp_path, ["trc", "bvh"], [0.0], [poses[0][[]]])  # No person, no file, no error.
