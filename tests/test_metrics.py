from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from pose3d_jax import metrics
from pose3d_jax.skeleton import BONES

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(DATA / "metrics3d.npz"))


def random_poses(seed, count=6):
    return np.random.default_rng(seed).normal(scale=200, size=(count, 16, 3)).astype(np.float32)


def test_3d_metrics_are_mmposes(golden):
    pred, target, mask = golden["pred"], golden["gt"], jnp.asarray(golden["mask"])
    assert golden["root"] == 6
    for mine, theirs in (
        (metrics.mpjpe(pred, target), "mpjpe_root_aligned"),
        (metrics.pa_mpjpe(pred, target), "pa_mpjpe"),
        (metrics.n_mpjpe(pred, target), "n_mpjpe"),
        (metrics.pck_3d(pred, target), "pck150"),
        (metrics.auc_3d(pred, target), "auc"),
    ):
        np.testing.assert_allclose(jnp.mean(mine), golden[theirs], rtol=1e-4, err_msg=theirs)
    # Over all the joints that count, whosever they are.
    masked = metrics.masked_mean(metrics.joint_errors(pred, target), mask)
    np.testing.assert_allclose(masked, golden["mpjpe_root_aligned_masked"], rtol=1e-4)


def test_pckh_scores_the_stacked_hourglass_as_published():
    data = np.load(DATA / "pckh_mpii_valid.npz")
    error, valid = data["error"].astype(np.float32), data["valid"]
    target = np.random.default_rng(0).integers(0, 1000, error.shape).astype(np.float32)
    scores = metrics.pckh(target + error, target, data["normalizer"], jnp.asarray(valid))
    for group in ("head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"):
        np.testing.assert_allclose(scores[group], data[group], atol=0.011)  # two decimals
    np.testing.assert_allclose(scores["mean"], data["mean"], atol=1e-3)
    assert set(scores) == {"head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle", "mean"}


def test_mpjpe_is_the_mean_distance_after_aligning_pelvises():
    pred, target = random_poses(0), random_poses(1)
    valid = np.random.default_rng(2).random((6, 16)) < 0.6
    expected = []
    for p, t, v in zip(np.float64(pred), np.float64(target), valid, strict=True):
        distances = [np.linalg.norm((p[j] - p[6]) - (t[j] - t[6])) for j in range(16) if v[j]]
        expected.append(np.mean(distances))
    np.testing.assert_allclose(metrics.mpjpe(pred, target, jnp.asarray(valid)), expected, rtol=1e-5)
    np.testing.assert_allclose(
        metrics.mpjpe(pred + 1000, target, jnp.asarray(valid)), expected, rtol=1e-4
    )


@given(st.integers(0, 2**32 - 1), st.floats(0.2, 5.0))
def test_each_alignment_forgives_what_it_should(seed, scale):
    rng = np.random.default_rng(seed)
    target = random_poses(seed)
    turn = Rotation.random(random_state=seed).as_matrix()
    similar = (scale * target @ turn.T + rng.normal(scale=300, size=3)).astype(np.float32)
    np.testing.assert_allclose(metrics.pa_mpjpe(similar, target), 0, atol=0.01)
    scaled = (scale * target + rng.normal(scale=300, size=3)).astype(np.float32)
    np.testing.assert_allclose(metrics.n_mpjpe(scaled, target), 0, atol=0.01)


def test_alignments_do_not_forgive_mirroring():
    target = random_poses(0)
    mirrored = target * np.float32([-1, 1, 1])
    assert (metrics.pa_mpjpe(mirrored, target) > 50).all()
    assert (metrics.n_mpjpe(mirrored, target) > 50).all()


def test_aligned_metrics_align_and_average_over_valid_joints_only():
    target = random_poses(0)
    valid = np.arange(16) != 3
    broken = target.copy()
    broken[:, 3] += 5000
    everywhere = jnp.tile(jnp.asarray(valid), (6, 1))
    for metric in (metrics.mpjpe, metrics.pa_mpjpe, metrics.n_mpjpe):
        np.testing.assert_allclose(metric(broken, target, everywhere), 0, atol=0.01)
        assert (metric(broken, target) > 10).all()


def test_pck_and_auc_by_hand():
    target = random_poses(0, count=2)
    pred = target.copy()
    errors = np.zeros((2, 16))
    errors[0, :4] = [149, 151, 74, 7]
    errors[1, :4] = 400
    pred[..., 2] += errors.astype(np.float32)
    valid = np.zeros((2, 16), bool)
    valid[:, :4] = True
    np.testing.assert_allclose(metrics.pck_3d(pred, target, valid=jnp.asarray(valid)), 100 * 3 / 8)
    np.testing.assert_allclose(
        metrics.pck_3d(pred, target, threshold=100, valid=jnp.asarray(valid)), 100 * 2 / 8
    )
    # Of the thresholds 0, 5, …, 150 mm: 149 is below one, 74 below 16, 7 below 29.
    expected = 100 * (1 + 0 + 16 + 29) / 31 / 8
    np.testing.assert_allclose(
        metrics.auc_3d(pred, target, valid=jnp.asarray(valid)), expected, rtol=1e-5
    )


def test_pckh_by_hand():
    target = np.zeros((3, 16, 2), np.float32)
    pred = target.copy()
    head_size = np.float32([10, 20, 0])  # the third has no baseline
    pred[0, 9] = [3, 4]  # at half the head size exactly: within
    pred[1, 9] = [6, 8.1]  # just beyond
    pred[0, 10] = 100  # one wrist of four
    pred[2] = 100
    pred[:, 6:8] = 100  # pelvis and thorax: in no group and not in the mean
    valid = np.ones((3, 16), bool)
    valid[:, [0, 5]] = False  # no ankles
    pred[:, [0, 5]] = 100
    scores = metrics.pckh(pred, target, head_size, jnp.asarray(valid))
    assert scores["head"] == 50
    assert scores["wrist"] == 75
    assert scores["knee"] == scores["hip"] == scores["elbow"] == scores["shoulder"] == 100
    assert np.isnan(scores["ankle"])
    np.testing.assert_allclose(scores["mean"], 100 * 22 / 24)
    assert metrics.pckh(pred, target, head_size, jnp.asarray(valid), threshold=0.51)["head"] == 100


def test_pck_by_hand():
    target = np.zeros((3, 16, 2), np.float32)
    target[0, 13], target[1, 13] = [30, 40], [0, 100]  # left shoulder; right hip at the origin
    pred = target.copy()
    pred[0, 10] = [6, 8]  # at a fifth of the torso exactly: within
    pred[1, 10] = [0, 20.1]  # just beyond
    pred[0, 8] = 100  # the neck is one of LSP's two joints of the head
    valid = np.ones((3, 16), bool)
    valid[:, [0, 5]] = False  # no ankles
    valid[2, 13] = False  # this torso is unlabelled
    pred[2] = 100
    scores = metrics.pck(pred, target, jnp.asarray(valid))
    assert scores["wrist"] == 75 and scores["head"] == 75
    assert scores["knee"] == scores["hip"] == scores["elbow"] == scores["shoulder"] == 100
    assert np.isnan(scores["ankle"])
    np.testing.assert_allclose(scores["mean"], 100 * 19 / 20)
    # The published mean is of 14 joints: the limbs' twelve, neck and head top.
    np.testing.assert_allclose(scores["mean with head"], 100 * 22 / 24)
    assert metrics.pck(pred, target, jnp.asarray(valid), threshold=0.21)["wrist"] == 100


def test_masked_mean_over_nothing_is_nan():
    valid = jnp.array([[True, False], [False, False]])
    mean = metrics.masked_mean(jnp.array([[2.0, 9.0], [9.0, 9.0]]), valid, axis=-1)
    np.testing.assert_array_equal(mean, [2, np.nan])


def test_symmetry_compares_each_limbs_two_sides():
    pose = np.zeros((1, 16, 3), np.float32)
    lengths = {(12, 11): 3, (13, 14): 5, (11, 10): 7, (14, 15): 4, (2, 1): 11, (3, 4): 11,
               (1, 0): 13, (4, 5): 12.5}  # fmt: skip
    for axis, ((parent, child), length) in enumerate(lengths.items()):
        pose[0, child] = pose[0, parent]
        pose[0, child, axis % 3] += length
    result = metrics.symmetry(pose)
    assert {limb: float(value[0]) for limb, value in result.items()} == {
        "upper arm": 2, "lower arm": 3, "upper leg": 0, "lower leg": 0.5,
    }  # fmt: skip


def test_bone_sum_ratio_grows_with_exaggerated_depth():
    target = random_poses(0)
    np.testing.assert_allclose(metrics.bone_sum_ratio(target + 100, target), 1, rtol=1e-5)
    deeper = target * np.float32([1, 1, 3])
    expected = [
        sum(np.linalg.norm(mine[a] - mine[b]) for a, b in BONES)
        / sum(np.linalg.norm(true[a] - true[b]) for a, b in BONES)
        for mine, true in zip(deeper, target, strict=True)
    ]
    assert min(expected) > 1.3
    np.testing.assert_allclose(metrics.bone_sum_ratio(deeper, target), expected, rtol=1e-5)
