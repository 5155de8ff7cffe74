"""The posed body: kinematics, actions, flesh. Joints are checked by geometry of their own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pose3d_jax import skeleton
from tfds_builders.human36m import release
from tfds_builders.mpi_inf_3dhp import mpi_inf_3dhp_dataset_builder
from tfds_builders.synthetic import actions, body, subjects
from tfds_builders.synthetic import kinematics as kin
from tfds_builders.synthetic.random_stream import RandomStream

LOW, HIGH = kin.ANGLE_LIMITS.T
angles_in_range = st.lists(st.floats(0, 1, width=32), min_size=len(LOW), max_size=len(LOW)).map(
    lambda share: np.float32(LOW + np.array(share) * (HIGH - LOW))
)
pose = jax.jit(kin.forward_kinematics)
poses = jax.jit(jax.vmap(kin.forward_kinematics, in_axes=(0, None, None)))


def joints(angles, yaw=0.0):
    return np.asarray(pose(np.float32(angles), kin.CANONICAL_BONES, np.float32(yaw)).joints)


def named(**changes):
    angles = np.zeros(len(kin.ANGLE_NAMES), np.float32)
    for name, value in changes.items():
        angles[kin.ANGLE_NAMES.index(name)] = value
    return angles


@settings(max_examples=50, deadline=None)
@given(angles_in_range, st.floats(-3, 3))
def test_bones_keep_their_lengths(angles, yaw):
    placed = 1000 * joints(angles, yaw)
    first, second = skeleton.BONES.T
    lengths = np.linalg.norm(placed[first] - placed[second], axis=-1)
    np.testing.assert_allclose(lengths, skeleton.BONE_LENGTHS, atol=0.05)
    thorax = np.linalg.norm(placed[7] - placed[[6, 8]], axis=-1)
    np.testing.assert_allclose(thorax, [skeleton.SPINE, skeleton.THORAX_NECK], atol=0.05)


@settings(max_examples=50, deadline=None)
@given(angles_in_range, st.floats(-3, 3))
def test_mirrored_angles_are_the_mirrored_pose(angles, yaw):
    reflected = joints(angles, yaw)[skeleton.MIRROR_ORDER] * [-1, 1, 1]
    np.testing.assert_allclose(joints(actions.mirror(angles), -yaw), reflected, atol=1e-4)


def test_upright_person_faces_forward_with_their_right_on_the_right():
    placed = joints(named())
    assert placed[9, 1] < placed[8, 1] < placed[6, 1] < placed[1, 1] < placed[0, 1]  # y is down.
    assert placed[2, 0] > 0 > placed[3, 0]
    assert placed[10, 0] > 0 > placed[15, 0]


@pytest.mark.parametrize(
    ("name", "joint", "axis", "sign"),
    [
        ("right_hip_flexion", 1, 2, 1),
        ("right_hip_abduction", 1, 0, 1),
        ("left_hip_abduction", 4, 0, -1),
        ("right_knee", 0, 2, -1),
        ("left_elbow", 15, 2, 1),
        ("trunk_flexion", 9, 2, 1),
        ("trunk_side", 9, 0, 1),
        ("neck_flexion", 9, 2, 1),
        ("root_pitch", 9, 2, 1),
        ("right_shoulder_elevation", 10, 2, 1),
    ],
)
def test_angles_move_joints_where_their_names_say(name, joint, axis, sign):
    moved = joints(named(**{name: 30})) - joints(named())
    assert sign * moved[joint, axis] > 0.05


@pytest.mark.parametrize(
    ("domain", "limits", "bent"),
    [("lab", kin.ANGLE_LIMITS, 146), ("wild", kin.ANGLE_LIMITS, 146),
     ("varied", kin.ATHLETIC_LIMITS, 151)],
)  # fmt: skip
def test_poses_stay_inside_anatomical_ranges(domain, limits, bent):
    low, high = limits.T
    table = actions.motion_table(domain)

    @jax.jit
    @jax.vmap
    def sample(i):
        rng = RandomStream(jax.random.fold_in(jax.random.key(3), i), 256)
        return actions.sample_angles(rng, table, i % len(table.seated), 4)

    angles = sample(jnp.arange(400)).reshape(-1, len(low))
    placed = np.asarray(poses(angles, kin.CANONICAL_BONES, np.float32(0.5)).joints)
    angles = np.asarray(angles)
    assert (angles >= low - 1e-3).all()
    assert (angles <= high + 1e-3).all()
    assert angles.std(0).min() > 1  # Every joint moves.
    # The same from the joints alone: how far each elbow and knee is bent.
    for start, middle, end in ((12, 11, 10), (13, 14, 15), (2, 1, 0), (3, 4, 5)):
        a, b = placed[:, middle] - placed[:, start], placed[:, end] - placed[:, middle]
        cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
        assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < bent
    if domain == "varied":  # Gymnasts reach further.
        assert ((table.key_poses >= low) & (table.key_poses <= high)).all()
        beyond = (angles < LOW - 1) | (angles > HIGH + 1)
        assert 0.1 < beyond.any(1).mean() < 0.9


def test_actions_are_the_rows_of_the_papers_tables():
    assert tuple(actions.ACTIONS["lab"]) == release.ACTIONS
    assert tuple(actions.ACTIONS["wild"]) == mpi_inf_3dhp_dataset_builder.ACTIVITIES


@jax.jit
def _dress(angles):
    subject = subjects.sample_subject(0, "lab", jnp.int32(1))
    figure = kin.forward_kinematics(angles, subject.bones, jnp.float32(0))
    cones = body.build_body(figure, subject)
    return figure, cones, body.overlap(cones)


def dress(**angles):
    return jax.tree.map(np.asarray, _dress(named(**angles)))


@pytest.fixture(scope="module")
def dressed():
    """A symmetric pose of one subject."""
    limbs = {"shoulder_elevation": 40, "shoulder_plane": 60, "hip_abduction": 8}
    return dress(**{f"{side}_{n}": v for side in ("right", "left") for n, v in limbs.items()})


def test_the_body_is_symmetric(dressed):
    _, cones, _ = dressed
    for i, name in enumerate(body.PART_NAMES):
        if not name.startswith("right"):
            continue
        j = body.PART_NAMES.index(name.replace("right", "left"))
        np.testing.assert_allclose(cones.start[i] * [-1, 1, 1], cones.start[j], atol=1e-5)
        np.testing.assert_allclose(cones.axis[i] * [-1, 1, 1], cones.axis[j], atol=1e-5)
        assert cones.start_radius[i] == cones.start_radius[j]
        assert cones.end_radius[i] == cones.end_radius[j]
        np.testing.assert_array_equal(cones.colour[i], cones.colour[j])


def test_joints_lie_inside_flesh(dressed):
    figure, cones, _ = dressed
    along = np.linspace(0, 1, 200)[None, :, None]
    centres = np.asarray(cones.start)[:, None] + along * np.asarray(cones.axis)[:, None]
    radii = np.asarray(cones.start_radius)[:, None] + along[..., 0] * np.asarray(
        cones.end_radius - cones.start_radius
    )[:, None]  # fmt: skip
    for joint in range(16):
        gap = np.linalg.norm(centres - np.asarray(figure.joints)[joint], axis=-1) - radii
        # The head's top is on its surface, every other joint beneath it.
        assert gap.min() < (0.01 if joint == skeleton.HEAD_TOP else -0.02), joint


def test_overlap_sees_an_arm_in_the_belly_and_ignores_a_free_one():
    free = {
        f"{side}_shoulder_{name}": angle
        for side in ("right", "left")
        for name, angle in (("elevation", 40), ("plane", 80))
    }
    assert dress(**free)[2] == 0
    inside = {"right_shoulder_elevation": 10, "right_shoulder_rotation": -90, "right_elbow": 100}
    assert dress(**free | inside)[2] > 0.05


def test_nobody_is_in_two_splits():
    for domain in subjects.DOMAINS:
        train, test = (set(subjects.subject_numbers(domain, s).tolist()) for s in subjects.SPLITS)
        assert train
        assert test
        assert not train & test


def test_bone_length_sum_is_the_training_subjects_average():
    numbers = jnp.array([1, 5, 6, 7, 8])
    people = jax.jit(jax.vmap(lambda n: subjects.sample_subject(0, "lab", n).bones))(numbers)
    upright = [
        pose(named(), jax.tree.map(lambda x, i=i: x[i], people), np.float32(0)).joints
        for i in range(len(numbers))
    ]
    first, second = skeleton.BONES.T
    sums = [np.linalg.norm(j[first] - j[second], axis=-1).sum() for j in map(np.asarray, upright)]
    np.testing.assert_allclose(subjects.bone_length_sum(0), 1000 * np.mean(sums), rtol=1e-5)


def test_draws_refuse_an_empty_pool():
    rng = RandomStream(jax.random.key(0), 3)
    rng.uniform(shape=(2,))
    with pytest.raises(ValueError, match="pool of 3"):
        rng.uniform(shape=(2,))


def test_clothes_change_and_the_person_stays():
    person, other = (subjects.sample_subject(0, "lab", jnp.int32(n)) for n in (1, 10_003))
    dressed = subjects.change_clothes(person, other)
    body_fields = ("bones", "scale", "torso_girth", "limb_girth", "hair_length")
    for field in dressed._fields:
        source = person if field in body_fields else other
        if "colours" in field:
            np.testing.assert_array_equal(getattr(dressed, field)[:2], getattr(person, field)[:2])
            np.testing.assert_array_equal(getattr(dressed, field)[2:], getattr(other, field)[2:])
        else:
            np.testing.assert_array_equal(getattr(dressed, field), getattr(source, field))


def test_no_outfit_is_in_both_splits():
    def outfits(split):
        keys = jax.random.split(jax.random.key(split), 300)
        draw = lambda key: subjects.sample_outfit(RandomStream(key, 1), jnp.int32(split))  # noqa: E731
        return set(np.asarray(jax.vmap(draw)(keys)).tolist())

    assert not outfits(0) & outfits(1)
    assert len(outfits(0)) > 50


def test_limbs_of_other_poses_make_new_ones():
    table = actions.motion_table("varied")
    key_poses = table.key_poses[[0]]
    angles = jax.jit(
        lambda key: actions._exchange_limbs(RandomStream(key, 64), table, jnp.asarray(key_poses))
    )
    drawn = np.concatenate([angles(jax.random.key(i)) for i in range(100)])
    np.testing.assert_array_equal(drawn[:, :8], np.repeat(key_poses[:, :8], 100, 0))
    for limb in kin.LIMBS:
        changed = (drawn[:, limb] != key_poses[:, limb]).any(1)
        assert 0.05 < changed.mean() < 0.35


def test_socks_show_on_bare_shins_only():
    subject = subjects.sample_subject(0, "lab", jnp.int32(1))._replace(socks=jnp.float32(0.4))
    figure = kin.forward_kinematics(
        jnp.zeros(len(kin.ANGLE_NAMES)), kin.CANONICAL_BONES, jnp.float32(0)
    )
    shin = body.PART_NAMES.index("left shin")
    sock = subject.pattern_colours[subjects.SHOES]
    bare = body.build_body(figure, subject._replace(legs=jnp.float32(0.6)))
    np.testing.assert_allclose(bare.cover[shin], 0.6)
    np.testing.assert_array_equal(bare.end_colour[shin], sock)
    dressed = body.build_body(figure, subject._replace(legs=jnp.float32(2.0)))
    np.testing.assert_array_equal(dressed.end_colour[shin], subject.colours[subjects.SKIN])
