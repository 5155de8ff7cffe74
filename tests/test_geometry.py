import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from pose3d_jax import geometry
from pose3d_jax.skeleton import BONE_LENGTHS, BONES

seeds = st.integers(0, 2**32 - 1)


def random_poses(seed, count=3):
    """Root-relative poses, mm."""
    pose = np.random.default_rng(seed).normal(scale=300, size=(count, 16, 3))
    return pose - pose[:, 6:7]


def bone_sum(pose):
    return sum(np.linalg.norm(pose[..., a, :] - pose[..., b, :], axis=-1) for a, b in BONES)


def test_norm_is_the_euclidean_length():
    x = np.random.default_rng(0).normal(size=(5, 4, 3))
    np.testing.assert_allclose(geometry.norm(x), np.linalg.norm(x, axis=-1), rtol=1e-6)


def test_norm_has_gradient_zero_at_zero_and_a_unit_vector_elsewhere():
    np.testing.assert_array_equal(jax.grad(geometry.norm)(jnp.zeros(3)), np.zeros(3))
    np.testing.assert_allclose(jax.grad(geometry.norm)(jnp.array([3.0, 0, 4])), [0.6, 0, 0.8])


def test_normalise_maps_the_crop_to_a_square_of_side_two():
    corners = jnp.array([[0.0, 0], [256, 128], [256, 256]])
    np.testing.assert_array_equal(geometry.normalise(corners, 256), [[-1, -1], [1, 0], [1, 1]])


@pytest.mark.parametrize("dimensions", [2, 3])
def test_bone_lengths(dimensions):
    pose = random_poses(0)[..., :dimensions]
    lengths = geometry.bone_lengths(pose)
    assert lengths.shape == (3, 14)
    np.testing.assert_allclose(
        lengths[1, 12], np.linalg.norm(pose[1, 6] - pose[1, 8]), rtol=1e-6
    )  # the trunk, from pelvis to neck
    np.testing.assert_allclose(geometry.bone_length_sum(pose), bone_sum(pose), rtol=1e-6)


@given(seeds)
def test_bone_sums_leave_out_bones_with_an_unannotated_end(seed):
    pose = random_poses(seed)
    valid = np.random.default_rng(seed).random((3, 16)) < 0.8
    expected = [
        sum(np.linalg.norm(p[a] - p[b]) for a, b in BONES if v[a] and v[b])
        for p, v in zip(pose, valid)
    ]
    nonsense = np.where(valid[..., None], pose, 1e6)
    np.testing.assert_allclose(geometry.bone_length_sum(nonsense, valid), expected, rtol=1e-5)


def test_to_millimetres_scales_annotated_bones_to_their_share_of_the_skeleton():
    """A person of canonical proportions keeps the size, whatever is not annotated."""
    lengths = dict(zip(map(tuple, BONES), BONE_LENGTHS))
    # From the pelvis outwards, every bone in a direction of its own.
    order = [(2, 6), (1, 2), (0, 1), (6, 3), (3, 4), (4, 5), (6, 8), (8, 9), (12, 8), (11, 12),
             (10, 11), (8, 13), (13, 14), (14, 15)]  # fmt: skip
    rng, pose, placed = np.random.default_rng(0), np.zeros((16, 3)), {6}
    for a, b in order:
        near, far = (a, b) if a in placed else (b, a)
        direction = rng.normal(size=3)
        pose[far] = pose[near] + lengths[a, b] * direction / np.linalg.norm(direction)
        placed.add(far)
    crop, depth = np.float32(pose[:, :2] / 20 + 64), np.float32(pose[:, 2] / 20 / 64)
    for missing in ([], [9], [0, 5, 11], [12]):
        valid = ~np.isin(np.arange(16), missing)
        labelled = np.where(valid[:, None], crop, 0)
        found = geometry.to_millimetres(labelled, depth, 128, BONE_LENGTHS.sum(), valid)
        np.testing.assert_allclose(found[valid], pose[valid], atol=0.1)
    nothing = geometry.to_millimetres(crop, depth, 128, 4000.0, np.zeros(16, bool))
    assert np.isfinite(nothing).all()


def test_relative_to_root_puts_the_pelvis_at_the_origin():
    pose = random_poses(0) + 7.0
    moved = geometry.relative_to_root(pose)
    np.testing.assert_array_equal(moved[:, 6], np.zeros((3, 3)))
    np.testing.assert_allclose(moved, pose - pose[:, [6]], rtol=1e-6)


@given(seeds, st.floats(0.01, 2.0), st.sampled_from([64, 256]))
def test_depth_target_of_a_weak_perspective_image_is_its_own_scaled_depth(seed, scale, side):
    pose = random_poses(seed) + np.array([100.0, -50.0, 4000.0])
    crop = scale * pose[..., :2] + np.array([31.0, 17.0])
    expected = (pose[..., 2] - pose[:, 6:7, 2]) * scale / (side / 2)
    valid = np.ones((3, 16), bool)
    actual = geometry.depth_target(crop.astype(np.float32), pose.astype(np.float32), side, valid)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-3 * np.abs(expected).max())


def test_depth_target_without_3d_is_zero():
    crop = random_poses(0)[..., :2].astype(np.float32)
    target = geometry.depth_target(
        crop, np.zeros((3, 16, 3), np.float32), 256, np.ones((3, 16), bool)
    )
    np.testing.assert_array_equal(target, np.zeros((3, 16)))


@given(seeds, st.floats(0.05, 2.0), st.sampled_from([64, 256]))
def test_to_millimetres_undoes_weak_perspective(seed, scale, side):
    pose = random_poses(seed)
    crop = (scale * pose[..., :2] + np.array([31.0, 17.0])).astype(np.float32)
    depth = geometry.depth_target(crop, pose.astype(np.float32), side, np.ones((3, 16), bool))
    recovered = geometry.to_millimetres(crop, depth, side, bone_sum(pose).astype(np.float32))
    np.testing.assert_allclose(recovered, pose, atol=0.1)


@given(seeds)
def test_to_millimetres_fixes_size_and_root_whatever_the_shift_and_scale(seed):
    rng = np.random.default_rng(seed)
    crop = rng.uniform(0, 256, (2, 16, 2)).astype(np.float32)
    depth = rng.uniform(-1, 1, (2, 16)).astype(np.float32)
    pose = geometry.to_millimetres(crop, depth, 256, 4296.99233013)
    np.testing.assert_allclose(bone_sum(np.asarray(pose)), 4296.99233013, rtol=1e-5)
    np.testing.assert_array_equal(pose[:, 6], np.zeros((2, 3)))

    shifted = geometry.to_millimetres(crop + np.float32([9, -5]), depth + 0.5, 256, 4296.99233013)
    np.testing.assert_allclose(shifted, pose, atol=0.05)
    # A crop of half the side shows the same person.
    halved = geometry.to_millimetres(crop / 2, depth, 128, 4296.99233013)
    np.testing.assert_allclose(halved, pose, atol=0.05)


@given(seeds, st.floats(0.1, 10.0))
def test_similarity_align_recovers_any_similarity_from_the_valid_joints(seed, scale):
    rng = np.random.default_rng(seed)
    pose = random_poses(seed)
    turn = Rotation.random(random_state=seed).as_matrix()
    target = scale * pose @ turn.T + rng.normal(scale=500, size=3)
    valid = rng.permuted(np.tile(np.arange(16) < 6, (3, 1)), axis=1)
    noisy = np.where(valid[..., None], pose, 1e4)
    aligned = geometry.similarity_align(
        noisy.astype(np.float32), target.astype(np.float32), jnp.asarray(valid)
    )
    np.testing.assert_allclose(aligned[valid], target[valid], atol=2e-6 * np.abs(target).max())


@pytest.mark.parametrize("mirrored", [False, True])
def test_similarity_align_is_the_best_rotation_and_never_a_reflection(mirrored):
    pose, target = random_poses(1, 8), random_poses(2, 8)
    if mirrored:
        target = pose * np.array([-1.0, 1, 1]) + np.random.default_rng(0).normal(size=pose.shape)
    aligned = geometry.similarity_align(
        pose.astype(np.float32), target.astype(np.float32), jnp.ones((8, 16), bool)
    )
    for mine, source, goal in zip(aligned, pose, target, strict=True):
        centred = source - source.mean(0)
        rotation, _ = Rotation.align_vectors(goal - goal.mean(0), centred)
        turned = rotation.apply(centred)
        scale = (turned * (goal - goal.mean(0))).sum() / (turned**2).sum()
        np.testing.assert_allclose(mine, scale * turned + goal.mean(0), atol=0.05)


def test_a_point_has_no_size_and_gives_finite_poses():
    point, target = jnp.zeros((3, 16, 3)), jnp.asarray(random_poses(0))
    valid = jnp.ones((3, 16), bool)
    pose = geometry.to_millimetres(point[..., :2], point[..., 2], 256, 4000.0)
    np.testing.assert_array_equal(pose, point)
    for align in (geometry.similarity_align, geometry.scale_align):
        assert np.isfinite(align(point, target, valid)).all()


def test_scale_align_is_the_least_squares_scale_over_valid_joints():
    pose, target = random_poses(1).astype(np.float32), random_poses(2).astype(np.float32)
    valid = np.random.default_rng(3).random((3, 16)) < 0.7
    scaled = geometry.scale_align(pose, target, jnp.asarray(valid))
    for mine, source, goal, used in zip(scaled, pose, target, valid, strict=True):
        scale, *_ = np.linalg.lstsq(source[used].reshape(-1, 1), goal[used].ravel(), rcond=None)
        np.testing.assert_allclose(mine, scale * source, atol=1e-2)


@given(seeds)
def test_affine_maps(seed):
    rng = np.random.default_rng(seed)
    # Not symmetric, and not nearly singular.
    linear = rng.uniform(-1, 1, (4, 2, 2)) + rng.uniform(1.5, 10, (4, 1, 1)) * [[0, -1], [1, 0]]
    shift = rng.uniform(-100, 100, (4, 2))
    matrix = np.concatenate([linear, shift[..., None]], -1).astype(np.float32)
    points = rng.uniform(0, 256, (4, 5, 2)).astype(np.float32)
    mapped = geometry.apply_affine(matrix, points)
    expected = [[linear[b] @ p + shift[b] for p in points[b]] for b in range(4)]
    np.testing.assert_allclose(mapped, expected, rtol=1e-4, atol=1e-2)
    back = geometry.apply_affine(geometry.invert_affine(matrix), mapped)
    np.testing.assert_allclose(back, points, atol=1e-2)


INTRINSICS = np.array([1150.0, 1100.0, 512.0, 400.0])


def placed_poses(seed):
    """Poses in front of a camera, mm, and their pixels."""
    random = np.random.default_rng(seed)
    distance = random.uniform(2500, 6000, (3, 1))
    shift = np.concatenate([distance * random.uniform(-0.3, 0.3, (3, 2)), distance], -1)
    joints = random_poses(seed) + shift[:, None]
    return joints, joints[..., :2] / joints[..., 2:] * INTRINSICS[:2] + INTRINSICS[2:]


@given(seeds)
def test_to_camera_is_the_least_squares_translation(seed):
    """Against NumPy's solver, in float64."""
    _, pixels = placed_poses(seed)
    random = np.random.default_rng(seed)
    pose, weight = random_poses(seed + 1), random.uniform(0.1, 1, (3, 16))
    placed = geometry.to_camera(pixels, pose, INTRINSICS, weight)
    for ours, px, joints, w in zip(np.asarray(placed), pixels, pose, weight):
        rays = (px - INTRINSICS[2:]) / INTRINSICS[:2]
        system, goal = np.zeros((16, 2, 3)), rays * joints[:, 2:] - joints[:, :2]
        system[:, 0, 0] = system[:, 1, 1] = 1
        system[..., 2] = -rays
        root = np.sqrt(np.repeat(w, 2))
        x = np.linalg.lstsq(system.reshape(32, 3) * root[:, None], goal.ravel() * root)[0]
        depth = joints[:, 2:] + x[2]
        expected = np.concatenate([rays * depth, depth], -1)
        expected *= bone_sum(joints) / bone_sum(expected)
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=0.5)


def test_to_camera_corrects_weak_perspective():
    """x and y of the pose come from the image, and its size is known."""
    joints, pixels = placed_poses(0)
    truth = joints - joints[:, 6:7]
    size = bone_sum(truth)
    offset = pixels - pixels[:, 6:7]
    scale = np.linalg.norm(truth[..., :2], axis=(1, 2)) / np.linalg.norm(offset, axis=(1, 2))
    pose = np.concatenate([offset * scale[:, None, None], truth[..., 2:]], -1)
    pose *= (size / bone_sum(pose))[:, None, None]
    placed = np.asarray(geometry.to_camera(pixels, pose, INTRINSICS))
    np.testing.assert_allclose(bone_sum(placed), size, rtol=1e-5)
    projected = placed[..., :2] / placed[..., 2:] * INTRINSICS[:2] + INTRINSICS[2:]
    np.testing.assert_allclose(projected, pixels, atol=1e-2)
    before = np.linalg.norm(pose - truth, axis=-1).mean()
    after = np.linalg.norm(placed - placed[:, 6:7] - truth, axis=-1).mean()
    assert after < before / 3
    assert np.linalg.norm(placed - joints, axis=-1).mean() < 60


def test_coordinates_are_multiplied_in_full_precision():
    # On recent accelerators, the default rounds coordinates to 10 bits: invisible on a CPU.
    def all_maps(matrix, points, pose, valid):
        return (
            geometry.apply_affine(geometry.invert_affine(matrix), points),
            geometry.similarity_align(pose, pose, valid),
        )

    arguments = (
        jnp.zeros((1, 2, 3)),
        jnp.zeros((1, 16, 2)),
        jnp.zeros((1, 16, 3)),
        jnp.ones((1, 16), bool),
    )
    products = [
        line
        for line in jax.jit(all_maps).lower(*arguments).as_text().splitlines()
        if "dot_general" in line
    ]
    assert len(products) >= 4
    for line in products:
        assert "HIGHEST" in line, line
