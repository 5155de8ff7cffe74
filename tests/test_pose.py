import json

import numpy as np
import pytest
from small_checkpoint import pose_of

from pose3d_jax import skeleton
from pose3d_jax.errors import UserError
from pose3d_jax.prediction.pose import JOINT_SETS, Pose


def poses() -> Pose:
    rng = np.random.default_rng(0)
    return pose_of(
        rng.normal(size=(3, 16, 2)), rng.normal(size=(3, 16, 3)),
        confidence=rng.uniform(size=(3, 16)), image=np.arange(3) // 2, id=np.arange(3) + 10,
    )  # fmt: skip


def test_iteration_and_selection_give_people():
    pose = poses()
    people = list(pose)
    assert [len(person) for person in people] == [1, 1, 1]
    np.testing.assert_array_equal(people[1].joints_3d[0], pose.joints_3d[1])
    assert pose[2].id.tolist() == [12] and len(pose[:2]) == 2
    assert pose.of_image(1).id.tolist() == [12] and pose.of_image(1).image.tolist() == [0]


def test_scores_is_a_deprecated_name():
    pose = poses()
    with pytest.deprecated_call():
        np.testing.assert_array_equal(pose.scores, pose.confidence)


def test_joint_sets_hold_the_named_joints():
    pose = poses()
    ours = {name: pose.joints_3d[:, n] for n, name in enumerate(skeleton.JOINT_NAMES)}
    coco = pose.to("coco")
    assert coco.joint_names[:5] == ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
    # In the order of COCO's annotations (Lin et al. 2014).
    assert coco.joint_names[5:] == tuple(
        f"{side}_{part}"
        for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
        for side in ("left", "right")
    )
    assert np.isnan(coco.joints_2d[:, :5]).all() and (coco.confidence[:, :5] == 0).all()
    for n, name in enumerate(coco.joint_names[5:], 5):
        np.testing.assert_array_equal(coco.joints_3d[:, n], ours[name])
    h36m = pose.to("h36m")
    spine = h36m.joints_3d[:, h36m.joint_names.index("spine")]
    np.testing.assert_allclose(spine, (ours["pelvis"] + ours["upper_neck"]) / 2, rtol=1e-6)
    assert h36m.joint_names[0] == "pelvis" and len(h36m.joint_names) == 17
    for joints, bones in JOINT_SETS.values():
        assert {joint for bone in bones for joint in bone} <= set(range(len(joints)))
    assert pose.to("mpii").joint_names == pose.joint_names
    with pytest.raises(UserError, match="mpii, coco, h36m"):
        pose.to("smpl")


def test_a_saved_pose_is_json(tmp_path):
    pose = poses().to("coco")
    pose.save(tmp_path / "pose.json")
    content = json.loads((tmp_path / "pose.json").read_text())
    assert content == pose.to_dict()
    assert content["joint_names"] == list(pose.joint_names) and len(content["people"]) == 3
    person = content["people"][1]
    assert person["id"] == 11 and person["joints_2d"][0] == [None, None]
    np.testing.assert_allclose(person["joints_3d"][5:], pose.joints_3d[1, 5:], atol=1e-3)
    np.testing.assert_allclose(person["person_confidence"], pose.person_confidence[1], atol=1e-4)
