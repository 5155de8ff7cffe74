import numpy as np

from pose3d_jax import skeleton as s


def test_bones_are_the_papers():
    assert s.BONES.shape == (14, 2)
    assert s.THORAX not in s.BONES
    assert np.isclose(s.BONE_LENGTHS.sum(), 4196, atol=0.5)


def test_mirroring_maps_the_skeleton_onto_itself():
    order = s.MIRROR_ORDER
    np.testing.assert_array_equal(order[order], np.arange(s.NUM_JOINTS))
    for name, other in zip(s.JOINT_NAMES, order):
        assert s.JOINT_NAMES[other].split("_")[-1] == name.split("_")[-1]
        assert ("left" in name) == ("right" in s.JOINT_NAMES[other])
    edges = {frozenset(bone) for bone in s.BONES.tolist()}
    assert {frozenset(order[list(bone)].tolist()) for bone in edges} == edges
    lengths = {frozenset(b): length for b, length in zip(s.BONES.tolist(), s.BONE_LENGTHS)}
    for bone, length in lengths.items():
        assert lengths[frozenset(order[list(bone)].tolist())] == length


def test_group_weights_invert_the_canonical_lengths():
    lengths = {frozenset(b): length for b, length in zip(s.BONES.tolist(), s.BONE_LENGTHS)}
    for name, bones in s.BONE_GROUPS.items():
        ratios = [lengths[frozenset(b)] * w for b, w in zip(bones, s.BONE_GROUP_WEIGHTS[name])]
        np.testing.assert_allclose(ratios, max(lengths[frozenset(b)] for b in bones))
    # The released code's constants.
    np.testing.assert_allclose(s.BONE_GROUP_WEIGHTS["leg"][0], 1.0085885098415446)
    np.testing.assert_allclose(s.BONE_GROUP_WEIGHTS["arm"][0], 1.1375361376887123)
