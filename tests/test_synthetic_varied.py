"""The varied configuration: depth for everyone, in any pose, from anywhere, as on photographs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pose3d_jax import skeleton
from pose3d_jax.images.jpeg import decode_image
from tfds_builders.synthetic import actions, body, camera_effects, generate, subjects
from tfds_builders.synthetic import kinematics as kin
from tfds_builders.synthetic.random_stream import RandomStream

VARIED = generate.Benchmark("varied", box_side=64, image_side=96, train=5, test=3)
COUNT = 64
HEAD_TOP, PELVIS, ANKLES = 9, 6, [0, 5]


@pytest.fixture(scope="module")
def made():
    return generate.render_records(VARIED, "train", range(COUNT))


@pytest.fixture(scope="module")
def sampled():
    """Scenes and labels of more records, which need no rendering."""
    sample, _ = generate._programs(VARIED)
    chunks = [
        sample(np.int32(0), np.arange(first, first + generate.CHUNK, dtype=np.int32))
        for first in range(0, 512, generate.CHUNK)
    ]
    scene, labels = jax.tree.map(lambda *x: np.concatenate(x), *chunks)
    # From the camera's axes back to the world's, in float64.
    rotation = scene.camera.rotation.astype(np.float64)
    joints = labels["joints_3d"] / 1000.0
    world = np.einsum("nji,nkj->nki", rotation, joints) + scene.camera.position[:, None]
    return scene, labels, world


def test_every_record_has_the_depth_that_its_2d_joints_are_the_projection_of(made):
    for record in made:
        assert record["has_3d"]
        assert record["joints_valid"].all()
        x, y, z = record["joints_3d"].astype(np.float64).T
        assert (z > 0).all()
        one, none = np.ones(16), np.zeros(16)
        lines = np.concatenate([np.stack([x / z, one, none], 1), np.stack([y / z, none, one], 1)])
        seen = record["joints_2d"].T.ravel()
        solution = np.linalg.lstsq(lines, seen, rcond=None)[0]
        np.testing.assert_allclose(lines @ solution, seen, atol=0.02)
        assert solution[0] > 0


def test_a_record_is_itself_in_any_company(made):
    alone = generate.render_records(VARIED, "train", [11])[0]
    for name, value in made[11].items():
        np.testing.assert_array_equal(alone[name], value, err_msg=name)


def test_poses_are_scaled_to_the_size_of_people_trained_on(sampled):
    _, labels, _ = sampled
    first, second = skeleton.BONES.T
    joints = labels["joints_3d"].astype(np.float64)
    sums = np.linalg.norm(joints[:, first] - joints[:, second], axis=-1).sum(1)
    expected = subjects.bone_length_sum(VARIED.seed, "varied")
    np.testing.assert_allclose(expected, sums.mean(), rtol=0.02)


def test_people_fit_their_box_and_differ_between_splits(made):
    for record in made:
        assert decode_image(record["image"]).shape == (96, 96, 3)
        assert record["joints_2d"].min() > 16
        assert record["joints_2d"].max() < 80
        assert record["action"] in actions.ACTIONS["varied"]
        bones = skeleton.BONES
        lengths = np.linalg.norm(np.diff(record["joints_3d"][bones], axis=1)[:, 0], axis=-1)
        for left, right in ((0, 5), (1, 4), (2, 3)):
            np.testing.assert_allclose(lengths[left], lengths[right], rtol=1e-3)
    train, test = (set(subjects.subject_numbers("varied", s).tolist()) for s in subjects.SPLITS)
    assert not train & test


def test_some_people_are_upside_down_some_lie_and_some_are_off_the_ground(sampled):
    _, _, world = sampled
    up = -(world[:, HEAD_TOP, 1] - world[:, ANKLES, 1].max(1))
    assert 0.02 < (up < -0.5).mean() < 0.2
    assert 0.4 < (up > 1.2).mean() < 0.8
    lowest = -world[..., 1].max(1)
    assert (lowest > 0).all()
    assert 0.05 < (lowest > 0.4).mean() < 0.3


def test_cameras_are_anywhere_above_the_floor_and_some_are_tilted(sampled):
    scene, _, world = sampled
    camera = scene.camera
    height = -camera.position[:, 1]
    assert height.min() > 0.05
    assert np.quantile(height, 0.2) < 0.8
    assert np.quantile(height, 0.9) > 2.5
    pitch = np.degrees(np.arcsin(camera.rotation[:, 2, 1]))
    assert pitch.min() < -8
    assert pitch.max() > 40
    roll = np.degrees(np.arctan2(camera.rotation[:, 0, 1], camera.rotation[:, 1, 1]))
    assert 0.05 < (np.abs(roll) > 15).mean() < 0.3
    away = world[:, PELVIS] - camera.position
    quadrants = np.histogram(np.arctan2(away[:, 0], away[:, 2]), 4, (-np.pi, np.pi))[0]
    assert quadrants.min() > 0.15 * len(world)


def test_limbs_do_not_run_through_each_other(sampled):
    scene, _, _ = sampled
    own = jax.tree.map(lambda x: x[:, : len(body.PARTS)], scene.cones)
    depth = np.asarray(jax.jit(jax.vmap(body.overlap))(own))
    # A sum over all pairs of parts, metres.
    assert np.quantile(depth, 0.95) < 0.1
    assert depth.max() < 0.6


def test_gymnasts_reach_further_but_not_beyond_their_ranges():
    low, high = kin.ATHLETIC_LIMITS.T
    table = actions.motion_table("varied")
    assert ((table.key_poses >= low) & (table.key_poses <= high)).all()

    @jax.jit
    @jax.vmap
    def sample(i):
        rng = RandomStream(jax.random.fold_in(jax.random.key(5), i), 256)
        return actions.sample_angles(rng, table, i % len(table.seated), 4)

    angles = np.asarray(sample(jnp.arange(400))).reshape(-1, len(low))
    assert (angles >= low - 1e-3).all()
    assert (angles <= high + 1e-3).all()
    everyday = kin.ANGLE_LIMITS
    beyond = (angles < everyday[:, 0] - 1) | (angles > everyday[:, 1] + 1)
    assert 0.1 < beyond.any(1).mean() < 0.9
    # Nobody's elbow or knee bends backwards or folds flat, by the joints alone.
    place = jax.jit(jax.vmap(kin.forward_kinematics, in_axes=(0, None, None)))
    placed = np.asarray(place(angles, kin.CANONICAL_BONES, np.float32(0)).joints)
    for start, middle, end in ((12, 11, 10), (13, 14, 15), (2, 1, 0), (3, 4, 5)):
        a, b = placed[:, middle] - placed[:, start], placed[:, end] - placed[:, middle]
        cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
        assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 151


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


def effects(**changes):
    plain = camera_effects.CameraEffects(
        blur=jnp.full(2, 0.05), defocus=jnp.float32(0.05), exposure=jnp.full(3, 0.5),
        gamma=jnp.float32(1), saturation=jnp.float32(1), grain=jnp.zeros(2),
        place=jnp.zeros(2, jnp.int32), quality=jnp.float32(95),
    )  # fmt: skip
    return plain._replace(**changes)


def test_what_a_camera_does_to_a_picture():
    rng = np.random.default_rng(0)
    picture = rng.integers(60, 196, (32, 32, 3), dtype=np.uint8)
    person = np.zeros((32, 32), bool)
    person[8:24, 8:24] = True
    take = jax.jit(camera_effects.apply_effects)

    def taken(**changes):
        return np.asarray(take(picture, person, effects(**changes))).astype(np.float64)

    # Sharp, at an exposure of half white, and a picture whose mean is that already.
    np.testing.assert_allclose(taken(), picture * (0.5 / (picture.mean() / 255 + 0.02)), atol=1.5)
    np.testing.assert_allclose(taken(exposure=jnp.full(3, 0.3)).mean(), 0.3 * 255, rtol=0.06)
    grey = taken(saturation=jnp.float32(0))
    assert np.ptp(grey, axis=-1).max() <= 1
    assert taken(blur=jnp.full(2, 1.5)).std() < 0.5 * taken().std()
    behind = taken(defocus=jnp.float32(1.5))
    np.testing.assert_allclose(behind[person], taken()[person], atol=2)
    assert behind[~person].std() < 0.5 * taken()[~person].std()
    noisy = taken(grain=jnp.array([0.05, 0.0])) - taken()
    np.testing.assert_allclose(noisy.std(), 0.05 * 255, rtol=0.1)
