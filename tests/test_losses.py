from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pose3d_jax import losses

#: Averages over Human3.6M's training subjects, mm, by bone: written out here once more.
GROUPS = (
    {(0, 1): 452.125519758, (1, 2): 456.008604234, (3, 4): 456.008604234, (4, 5): 452.125519758},
    {
        (10, 11): 249.772589249,
        (11, 12): 284.125346475,
        (13, 14): 284.125346475,
        (14, 15): 249.772589249,
    },
    {(2, 6): 134.201602044, (3, 6): 134.201602044},
    {(12, 8): 180.776851782, (13, 8): 180.776851782},
)
MIRRORED = [5, 4, 3, 2, 1, 0, 6, 7, 8, 9, 15, 14, 13, 12, 11, 10]

seeds = st.integers(0, 2**32 - 1)


def reference_geometric_loss(joints_xy, depth, valid):
    """Eq. 3, one image at a time, as it is written."""
    result = []
    for xy, z, labelled in zip(np.float64(joints_xy), np.float64(depth), valid, strict=True):
        pose = np.column_stack([xy, z])
        total = 0.0
        for group in GROUPS:
            longest = max(group.values())
            ratios = [
                np.linalg.norm(pose[a] - pose[b]) * longest / length
                for (a, b), length in group.items()
                if labelled[a] and labelled[b]
            ]
            total += np.var(ratios) if ratios else 0.0
        result.append(total)
    return np.array(result)


def random_inputs(seed=0, count=4, dtype=np.float32):
    rng = np.random.default_rng(seed)
    joints_xy = rng.uniform(-1, 1, (count, 16, 2)).astype(dtype)
    depth = rng.uniform(-1, 1, (count, 16)).astype(dtype)
    valid = rng.random((count, 16)) < 0.8
    return joints_xy, depth, valid


def canonical_skeleton(rng):
    """A person of the average bone lengths, every bone in a random direction, units of metres."""
    tree = [
        (6, 2, 0.134201602044), (2, 1, 0.456008604234), (1, 0, 0.452125519758),
        (6, 3, 0.134201602044), (3, 4, 0.456008604234), (4, 5, 0.452125519758),
        (6, 7, 0.421517337247), (7, 8, 0.077938555657), (8, 9, 0.182550526846),
        (8, 12, 0.180776851782), (12, 11, 0.284125346475), (11, 10, 0.249772589249),
        (8, 13, 0.180776851782), (13, 14, 0.284125346475), (14, 15, 0.249772589249),
    ]  # fmt: skip
    pose = np.zeros((16, 3))
    for parent, child, length in tree:
        direction = rng.normal(size=3)
        pose[child] = pose[parent] + length * direction / np.linalg.norm(direction)
    return pose


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(Path(__file__).parent / "data" / "depth_loss.npz"))


def golden_arguments(golden):
    is_3d = golden["is_3d"]
    valid = is_3d[:, None] | (golden["third"] == 1)
    target = np.where(is_3d[:, None], golden["third"], 0)
    joints_xy = 2 * golden["joints_xy_64"] / 64 - 1
    return target, joints_xy, valid, is_3d


def test_depth_loss_and_its_gradient_are_the_releases(golden):
    value, gradient = jax.value_and_grad(losses.depth_loss)(
        jnp.asarray(golden["depth"]), *golden_arguments(golden), 0.1, 0.01
    )
    np.testing.assert_allclose(value, golden["loss"], atol=1e-6)
    np.testing.assert_allclose(gradient, golden["grad"], atol=1e-6)


def test_depth_loss_of_each_image_alone_is_the_releases(golden):
    target, joints_xy, valid, is_3d = golden_arguments(golden)
    for i, expected in enumerate(golden["per_example_unweighted"]):
        one = slice(i, i + 1)
        value = losses.depth_loss(
            golden["depth"][one], target[one], joints_xy[one], valid[one], is_3d[one], 1.0, 1.0
        )
        np.testing.assert_allclose(value, expected, rtol=1e-4)


@given(seeds)
def test_geometric_loss_is_the_slow_float64_one(seed):
    inputs = random_inputs(seed)
    np.testing.assert_allclose(
        losses.geometric_loss(*inputs), reference_geometric_loss(*inputs), rtol=1e-4, atol=1e-6
    )


@given(seeds, st.floats(0.01, 3))
def test_geometric_loss_is_zero_for_any_person_of_average_proportions(seed, scale):
    rng = np.random.default_rng(seed)
    pose = (scale * canonical_skeleton(rng)[None] + rng.normal(size=3)).astype(np.float32)
    everything = jnp.ones((1, 16), bool)
    loss = losses.geometric_loss(pose[..., :2], pose[..., 2], everything)
    np.testing.assert_allclose(loss, 0, atol=1e-9)
    # But not for another: one longer forearm.
    pose[0, 10] += 0.5 * (pose[0, 10] - pose[0, 11])
    assert losses.geometric_loss(pose[..., :2], pose[..., 2], everything) > 1e-6 * scale**2


@given(seeds)
def test_geometric_loss_does_not_see_mirroring_shifts_or_turns_in_the_image(seed):
    joints_xy, depth, valid = random_inputs(seed)
    loss = losses.geometric_loss(joints_xy, depth, valid)
    mirrored = losses.geometric_loss(
        joints_xy[:, MIRRORED] * np.float32([-1, 1]), depth[:, MIRRORED], valid[:, MIRRORED]
    )
    np.testing.assert_allclose(mirrored, loss, atol=1e-6)
    shifted = losses.geometric_loss(joints_xy + np.float32([0.3, -0.2]), depth + 0.7, valid)
    np.testing.assert_allclose(shifted, loss, atol=1e-5)
    turn = np.float32([[0.8, -0.6], [0.6, 0.8]])
    np.testing.assert_allclose(
        losses.geometric_loss(joints_xy @ turn, depth, valid), loss, atol=1e-5
    )


@given(seeds)
def test_geometric_gradient_is_that_of_finite_differences(seed):
    with jax.enable_x64(True):
        joints_xy, depth, valid = random_inputs(seed, count=1, dtype=np.float64)
        gradient = jax.grad(lambda z: losses.geometric_loss(joints_xy, z, valid).sum())(depth)
        assert gradient.dtype == np.float64
        step = 1e-5
        for joint in range(16):
            nudge = step * np.eye(16)[joint]
            change = reference_geometric_loss(joints_xy, depth + nudge, valid)
            change -= reference_geometric_loss(joints_xy, depth - nudge, valid)
            np.testing.assert_allclose(gradient[0, joint], change[0] / (2 * step), atol=1e-7)


def geometric_gradient(joints_xy, depth, valid):
    return jax.grad(lambda xy, z: losses.geometric_loss(xy, z, valid).sum(), (0, 1))(
        joints_xy, depth
    )


def test_bones_without_length_have_finite_gradients():
    nothing = jnp.zeros((1, 16, 2)), jnp.zeros((1, 16)), jnp.ones((1, 16), bool)
    for gradient in geometric_gradient(*nothing):
        np.testing.assert_array_equal(gradient, np.zeros_like(gradient))
    joints_xy, depth, valid = random_inputs()
    joints_xy[:, 0], depth[:, 0] = joints_xy[:, 1], depth[:, 1]  # one bone of a whole skeleton
    for gradient in geometric_gradient(joints_xy, depth, valid):
        assert np.isfinite(gradient).all()


def test_unlabelled_people_have_no_loss_and_no_gradient():
    joints_xy, depth, _ = random_inputs()
    nothing = jnp.zeros((4, 16), bool)
    np.testing.assert_array_equal(losses.geometric_loss(joints_xy, depth, nothing), np.zeros(4))
    for gradient in geometric_gradient(joints_xy, depth, nothing):
        np.testing.assert_array_equal(gradient, np.zeros_like(gradient))


def test_unlabelled_joints_do_not_count():
    joints_xy, depth, valid = random_inputs()
    loss = losses.geometric_loss(joints_xy, depth, valid)
    moved = losses.geometric_loss(
        np.where(valid[..., None], joints_xy, 50), np.where(valid, depth, -50), valid
    )
    np.testing.assert_array_equal(loss, moved)


@pytest.mark.parametrize("geometric_on_3d", [False, True])
def test_depth_loss_regresses_3d_labels_and_applies_geometry_to_the_rest(geometric_on_3d):
    joints_xy, depth, valid = random_inputs(count=6)
    target = np.random.default_rng(1).uniform(-1, 1, (6, 16)).astype(np.float32)
    has_3d = np.array([True, False, False, True, True, False])
    geometric = reference_geometric_loss(joints_xy, depth, valid)
    expected = 0.0
    for i in range(6):
        squares = [(depth[i, j] - target[i, j]) ** 2 for j in range(16) if valid[i, j]]
        if has_3d[i]:
            expected += 0.3 * sum(squares) / 16 / 6
        if geometric_on_3d or not has_3d[i]:
            expected += 0.07 * geometric[i] / 6
    arguments = (jnp.asarray(x) for x in (depth, target, joints_xy, valid, has_3d))
    loss = losses.depth_loss(*arguments, 0.3, 0.07, geometric_on_3d=geometric_on_3d)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_heatmap_loss_is_the_mean_square_summed_over_stacks():
    rng = np.random.default_rng(0)
    first, second, target = rng.normal(size=(3, 2, 8, 8, 16)).astype(np.float32)
    expected = np.mean((first - target) ** 2) + np.mean((second - target) ** 2)
    loss = losses.heatmap_loss([jnp.asarray(first), jnp.asarray(second)], jnp.asarray(target))
    assert loss.shape == ()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_heatmaps_of_joints_that_do_not_count_may_be_anything():
    rng = np.random.default_rng(0)
    maps, target = rng.normal(size=(2, 3, 8, 8, 16)).astype(np.float32)
    counted = rng.random((3, 16)) < 0.6
    expected = (
        sum(np.sum((maps[b, :, :, j] - target[b, :, :, j]) ** 2) for b, j in np.argwhere(counted))
        / maps.size
    )
    spoilt = np.where(counted[:, None, None], maps, np.nan)

    def loss(maps):
        return losses.heatmap_loss([maps], jnp.asarray(target), jnp.asarray(counted))

    value, gradient = jax.value_and_grad(loss)(spoilt)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert (np.any(gradient, axis=(1, 2)) == counted).all()
    everything = np.ones_like(counted)
    assert losses.heatmap_loss([maps], target, everything) == losses.heatmap_loss([maps], target)


def test_labels_that_do_not_count_may_be_anything():
    """Not a number in an unlabelled depth reaches neither the loss nor its gradient."""
    rng = np.random.default_rng(0)
    depth = rng.normal(size=(2, 16)).astype(np.float32)
    joints = rng.uniform(-1, 1, size=(2, 16, 2)).astype(np.float32)
    target = np.full((2, 16), np.nan, np.float32)
    target[0, 1:] = 0
    valid = np.ones((2, 16), bool)
    valid[0, 0] = False
    has_3d = np.array([True, False])

    def loss(depth):
        return losses.depth_loss(depth, target, joints, valid, has_3d, 0.1, 0.01)

    value, gradient = jax.value_and_grad(loss)(depth)
    assert np.isfinite(value) and np.isfinite(gradient).all()
