"""The tables' numbers against a slow, obvious evaluation of the same predictions."""

import ml_collections
import numpy as np
import pytest

from pose3d_jax import geometry
from pose3d_jax.evaluation import scores, tables
from pose3d_jax.evaluation.baselines import baselines
from pose3d_jax.evaluation.poses import Setting, as_poses, to_labels
from pose3d_jax.evaluation.predictions import Predictions
from pose3d_jax.evaluation.protocols import (
    make_setting,
    protocol_of,
    record_groups,
    redefine_poses,
    split_name,
)
from pose3d_jax.evaluation.report import score
from pose3d_jax.evaluation.scores import Measure
from pose3d_jax.skeleton import BONE_LENGTHS, BONES, PCKH_GROUPS

SIDE, SIZE = 128, 4000.0
GROUPS = np.array(["Walking", "Sitting", "Eating"])[np.arange(40) % 3]
LIMBS = {
    "upper arm": (11, 12, 13, 14),
    "lower arm": (10, 11, 14, 15),
    "upper leg": (1, 2, 3, 4),
    "lower leg": (0, 1, 4, 5),
}


def random_split(seed: int, count: int = 40):
    """Poses and labels with gaps: unannotated joints, images without depth or head."""
    rng = np.random.default_rng(seed)
    truth = rng.normal([0, 0, 4000], 300, (count, 16, 3))
    joints = rng.uniform(20, 108, (count, 16, 2))
    has_3d = rng.random(count) < 0.8
    labels = to_labels(
        {
            "joints_2d": np.float32(joints + 30),
            "box": np.tile(np.float32([94, 94, SIDE]), (count, 1)),
            "joints_valid": (rng.random((count, 16)) < 0.93) | (np.arange(16) == 6),
            "joints_3d": np.float32(truth * has_3d[:, None, None]),
            "has_3d": has_3d,
            "head_size": np.float32(rng.uniform(8, 14, count) * (rng.random(count) < 0.9)),
        },
        SIDE,
    )
    poses = as_poses(
        np.float32(joints + rng.normal(scale=6, size=joints.shape)),
        np.float32(labels.depth + rng.normal(scale=0.1, size=(count, 16))),
        Setting(SIDE, SIZE, ""),
    )
    return poses, labels


def length(pose, joints):
    return np.linalg.norm(pose[joints[0]] - pose[joints[1]])


def millimetres(joints, depth, valid=None):
    """At the average size; where joints are not labelled, by the bones between those that are."""
    pose = np.concatenate([joints, depth[:, None] * SIDE / 2], axis=1).astype(np.float64)
    known = [bone for bone in BONES if valid is None or valid[bone].all()]
    canonical = dict(zip(map(tuple, BONES), BONE_LENGTHS))
    share = sum(canonical[tuple(bone)] for bone in known) / BONE_LENGTHS.sum()
    return (pose - pose[6]) * SIZE * share / sum(length(pose, bone) for bone in known)


def slow_numbers(poses, labels, groups, dataset):
    """Image by image and joint by joint, in float64."""
    mpjpe, within, under, pckh, limbs, at_labels = {}, {}, {}, {}, {}, {}

    def redefine(points):
        if dataset == "mpi_inf_3dhp":
            step = 0.2 * (points[8] - points[6])
            for j in (6, 2, 3):
                points[j] = points[j] + step
        if dataset != "human36m:train":
            points[7] = (points[6] + points[8]) / 2
        return points

    for i in range(len(groups)):
        head = labels.head_size[i]
        joints = redefine(np.float64(poses.joints[i]))
        for j in range(16):
            if labels.valid[i, j] and head > 0 and j not in (6, 7):
                error = np.linalg.norm(joints[j] - labels.joints[i, j])
                names = [name for name, group in PCKH_GROUPS.items() if j in group]
                for name in (*names, "mean"):
                    pckh.setdefault(name, []).append(error <= head / 2)
        if not labels.has_3d[i]:
            continue
        pose, truth = millimetres(poses.joints[i], poses.depth[i]), np.float64(labels.joints_3d[i])
        counted = [j for j in range(16) if labels.valid[i, j]]
        pose = redefine(pose)
        if dataset == "mpi_inf_3dhp":
            counted = [j for j in counted if j not in (6, 7)]
        true_size = sum(length(truth, bone) for bone in BONES)
        if dataset == "mpi_inf_3dhp":
            pose = pose * true_size / sum(length(pose, bone) for bone in BONES)
        at_size = pose * true_size / sum(length(pose, bone) for bone in BONES)
        mpjpe.setdefault(groups[i], []).append(
            np.mean([np.linalg.norm(pose[j] - pose[6] - truth[j] + truth[6]) for j in counted])
        )
        for j in counted:
            if j in (6, 7):
                continue
            error = np.linalg.norm(at_size[j] - at_size[6] - truth[j] + truth[6])
            within.setdefault(groups[i], []).append(error < 150)
            under.setdefault(groups[i], []).append(np.mean([error < t for t in range(0, 151, 5)]))
        # The labelled joints are the data set's own: of the network there are depths alone.
        depth = redefine(np.float64(poses.depth[i]))
        true_2d = millimetres(labels.joints[i], depth, labels.valid[i])
        if dataset == "mpi_inf_3dhp":
            true_2d = true_2d * true_size / sum(length(true_2d, bone) for bone in BONES)
        for limb, (a, b, c, d) in LIMBS.items():
            difference = abs(length(pose, (a, b)) - length(pose, (c, d)))
            limbs.setdefault(limb, []).append(difference)
            if all(labels.valid[i, j] for ends in LIMBS.values() for j in ends):
                difference = abs(length(true_2d, (a, b)) - length(true_2d, (c, d)))
                at_labels.setdefault(limb, []).append(difference)

    def by_group(lists, factor=1.0):
        every = [x for values in lists.values() for x in values]
        return {k: factor * np.mean(v) for k, v in lists.items()} | {"all": factor * np.mean(every)}

    every = [x for values in under.values() for x in values]
    return {
        "table1": by_group(mpjpe),
        "table2": {name: 100 * np.mean(values) for name, values in pckh.items()},
        "table3": by_group(within, 100) | {"AUC": 100 * np.mean(every)},
        "table4": {name: np.mean(values) for name, values in limbs.items()},
        "table4 true 2D": {name: np.mean(values) for name, values in at_labels.items()},
    }


@pytest.mark.parametrize("dataset", ["human36m", "human36m:train", "mpi_inf_3dhp"])
def test_tables_are_those_of_a_slow_evaluation(dataset):
    poses, labels = random_split(0)
    setting = Setting(SIDE, SIZE, dataset)
    ours = redefine_poses(poses, dataset)
    np.testing.assert_array_equal(ours.millimetres[:, 6], 0)  # Root-relative, as before.
    found = tables.tabulate(scores.compute_measures(ours, labels, setting), GROUPS)
    for kind, row in slow_numbers(poses, labels, GROUPS, dataset).items():
        assert set(found[kind]) == set(row)
        for column, value in row.items():
            assert found[kind][column] == pytest.approx(value, rel=2e-4), (kind, column)


def test_without_truth_symmetry_is_in_pixels_of_a_crop_of_256():
    poses, labels = random_split(1)
    labels = labels._replace(has_3d=np.zeros(40, bool), joints_3d=np.zeros((40, 16, 3), np.float32))
    found = tables.tabulate(
        scores.compute_measures(poses, labels, Setting(SIDE, SIZE, "mpii")), GROUPS
    )
    assert set(found) == {"summary", "table2", "table4"}
    pose = np.concatenate([poses.joints * 2, poses.depth[..., None] * 128], axis=-1)
    for limb, (a, b, c, d) in LIMBS.items():
        differences = [abs(length(p, (a, b)) - length(p, (c, d))) for p in pose]
        assert found["table4"][limb] == pytest.approx(np.mean(differences), rel=1e-4)


def test_what_is_not_annotated_lengthens_no_bone():
    """Records hold zeros there: measures of labelled joints do not take these for positions."""
    poses, labels = random_split(7)
    everything = labels._replace(valid=np.ones((40, 16), bool))
    headless = everything._replace(
        valid=np.tile(np.arange(16) != 9, (40, 1)),
        joints=np.where(np.arange(16)[:, None] == 9, np.float32(-1000), labels.joints),
    )
    setting = Setting(SIDE, SIZE, "synthetic/wild")
    expected, found = (scores.summarise(poses, some, setting) for some in (everything, headless))
    for name in ("symmetry true 2D", "bone sum", "bone sum true 2D"):
        assert found[name] == pytest.approx(expected[name], rel=0.1), name


def test_pckh_compares_with_projections_and_with_weak_perspective():
    _, labels = random_split(8)
    labels = labels._replace(has_3d=np.ones(40, bool), head_size=np.full(40, 10, np.float32))
    pose = np.random.default_rng(8).normal([0, 0, 4000], 300, (40, 16, 3))
    labels = labels._replace(
        joints=np.float32(500 * pose[..., :2] / pose[..., 2:] + 64), joints_3d=np.float32(pose)
    )
    drawn = geometry.weak_perspective(labels.joints, labels.joints_3d, labels.valid)
    setting = Setting(SIDE, SIZE, "synthetic/lab")
    for joints, names in (
        (labels.joints, ("PCKh@0.5", "PCKh@0.5 weak perspective")),
        (np.asarray(drawn), ("PCKh@0.5 weak perspective", "PCKh@0.5")),
    ):
        poses = as_poses(joints, labels.depth, setting)
        row = scores.summarise(poses, labels, setting)
        assert row[names[0]] == 100 and row[names[1]] < 95


def test_a_stage_without_depth_has_2d_numbers_alone():
    poses, labels = random_split(2)
    setting = Setting(SIDE, SIZE, "synthetic/lab", with_depth=False)
    assert set(scores.summarise(poses, labels, setting)) == {"PCKh@0.5"}


@pytest.mark.parametrize("dataset", ["synthetic/lab", "human36m", "mpi_inf_3dhp"])
def test_exact_poses_score_exactly(dataset):
    """On every data set: what stands at its own joints is not moved to them."""
    _, labels = random_split(3)
    rng = np.random.default_rng(3)
    # Under an orthographic camera, at the average size, the truth is what the network can say.
    truth = as_poses(
        np.float32(rng.uniform(20, 108, (40, 16, 2))),
        np.float32(rng.normal(size=(40, 16))),
        Setting(SIDE, SIZE, dataset),
    )
    labels = labels._replace(
        joints=truth.joints, depth=truth.depth, joints_3d=truth.millimetres,
        valid=np.ones((40, 16), bool), has_3d=np.ones(40, bool),
    )  # fmt: skip
    setting = Setting(SIDE, SIZE, dataset)
    floor = baselines(None, labels, setting)["true 2D, true depth"]
    row = scores.summarise(floor, labels, setting)
    perfect = {"PCKh@0.5": 100, "3DPCK": 100, "bone sum": 1, "depth range": 1,
               "depth correlation": 1, "MPJPE": 0,
               "MPJPE true 2D": 0, "PA-MPJPE": 0, "N-MPJPE": 0}  # fmt: skip
    for name, value in perfect.items():
        assert row[name] == pytest.approx(value, abs=0.02), name
    assert row["AUC"] == pytest.approx(100 * 30 / 31)  # Nothing is below 0 mm.
    doubled = truth._replace(depth=2 * truth.depth)
    row = scores.summarise(doubled, labels, setting)
    assert row["depth range"] == pytest.approx(2, rel=1e-5) and row["bone sum"] > 1.3
    assert row["depth correlation"] == pytest.approx(1, abs=1e-5)


def test_the_correlation_of_depths_is_numpys():
    poses, labels = random_split(6)
    row = scores.summarise(poses, labels, Setting(SIDE, SIZE, "synthetic/lab"))
    expected = [
        np.corrcoef(poses.depth[i], labels.depth[i])[0, 1] for i in np.flatnonzero(labels.has_3d)
    ]
    assert row["depth correlation"] == pytest.approx(np.mean(expected), abs=1e-5)
    flat = poses._replace(depth=np.zeros_like(poses.depth))
    row = scores.summarise(flat, labels, Setting(SIDE, SIZE, "synthetic/lab"))
    assert row["depth correlation"] == 0


def test_depths_learnt_in_the_lab_are_moved_with_their_joints():
    """The mean depth at labelled joints is a network's word; these joints are the data set's."""
    _, labels = random_split(3)
    found = baselines(labels, labels, Setting(SIDE, SIZE, "mpi_inf_3dhp"))
    mean = labels.depth.mean(0)
    expected = mean.copy()
    expected[[2, 3, 6]] += 0.2 * (mean[8] - mean[6])
    expected[7] = (expected[6] + mean[8]) / 2
    pose = found["true 2D, mean depth"]
    np.testing.assert_allclose(pose.depth, np.tile(expected, (40, 1)), atol=1e-6)
    np.testing.assert_array_equal(pose.joints, labels.joints)
    np.testing.assert_array_equal(found["true 2D, true depth"].depth, labels.depth)


def test_the_interval_is_that_of_the_normal_distribution():
    rng = np.random.default_rng(0)
    values = rng.normal(100, 20, 4000)
    low, high = Measure(values, np.ones(4000)).interval()
    half = 1.96 * values.std() / np.sqrt(4000)
    assert low == pytest.approx(values.mean() - half, abs=0.1)
    assert high == pytest.approx(values.mean() + half, abs=0.1)
    # Images that do not count change nothing but the draws.
    some = rng.random(4000) < 0.5
    low, high = Measure(values * some, some * 1.0).interval()
    half = 1.96 * values[some].std() / np.sqrt(some.sum())
    assert (low, high) == pytest.approx(
        (values[some].mean() - half, values[some].mean() + half), abs=0.15
    )


def test_a_mean_over_nothing_is_no_number():
    nothing = Measure(np.zeros(3), np.zeros(3))
    assert np.isnan(nothing.mean()) and np.isnan(nothing.interval()).all()


def test_results_of_a_split_are_complete():
    poses, labels = random_split(5)
    setting = Setting(SIDE, SIZE, "synthetic/wild")
    predicted = Predictions(poses, labels, np.array([""] * 40), GROUPS, "digest")
    results = score(predicted, setting, training_labels=labels)
    assert results["images"] == 40
    assert set(results["tables"]) == {
        "summary", "table1", "table2", "table3", "table4", "table4 true 2D"
    }  # fmt: skip
    assert set(results["baselines"]) == {
        "mean pose", "true 2D, mean depth", "true 2D, true depth"
    }  # fmt: skip
    for name, (low, high) in results["intervals"].items():
        assert low < results["tables"]["summary"][name] < high


def test_an_image_without_a_labelled_joint_leaves_the_means_alone():
    poses, labels = random_split(0)
    odd = int(np.flatnonzero(labels.has_3d)[0])
    labels.valid[odd] = False
    setting = Setting(SIDE, SIZE, "synthetic/lab", True)
    found = scores.compute_measures(poses, labels, setting)
    others = np.arange(len(labels.joints)) != odd
    for name in ("MPJPE", "PA-MPJPE", "N-MPJPE", "3DPCK", "bone sum"):
        assert found[name].mean() == found[name].mean(others)
    assert np.isfinite(list(scores.summarise(poses, labels, setting).values())).all()


def test_a_configuration_has_the_protocol_of_its_data_set():
    for dataset in ("human36m", "mpi_inf_3dhp", "mpii", "lsp"):
        assert protocol_of(f"{dataset}/any") == protocol_of(dataset)
        assert not protocol_of(f"{dataset}:train").published
    assert protocol_of("synthetic/lab") == protocol_of("anything else")
    # Training labels have the shoulders' midpoint as joint 7; test labels have the spine.
    assert not protocol_of("human36m/any:train").thorax_is_midway
    assert not protocol_of("human36m:train[900:]").thorax_is_midway
    assert protocol_of("human36m:test[:9]").thorax_is_midway
    assert split_name("mpii", "validation") == "mpii" and split_name("mpii", "test") == "mpii:test"


def test_protocols_are_those_of_the_paper():
    """Sec. 4.1.2, and the scenes of MPI-INF-3DHP's six test sequences."""
    human36m, mpi = protocol_of("human36m"), protocol_of("mpi_inf_3dhp")
    assert human36m.thorax_is_midway and not human36m.size_known
    assert human36m.hips_raised_by == 0 and human36m.counts_pelvis_and_thorax
    assert (mpi.hips_raised_by, mpi.size_known, mpi.counts_pelvis_and_thorax) == (0.2, True, False)
    assert mpi.thorax_is_midway
    assert mpi.scenes == {"TS1": "Studio GS", "TS2": "Studio GS", "TS3": "Studio no GS",
                          "TS4": "Studio no GS", "TS5": "Outdoor", "TS6": "Outdoor"}  # fmt: skip
    groups = record_groups(["TS6", "TS3"], ["Sports", "Sit"], "mpi_inf_3dhp")
    assert groups.tolist() == ["Outdoor", "Studio no GS"]
    assert record_groups(["S9"], ["Sitting"], "human36m").tolist() == ["Sitting"]
    assert [protocol_of(name).torso_pck for name in ("lsp", "lsp:train", "mpii")] == [
        True, True, False
    ]  # fmt: skip


def test_human36m_is_scored_with_its_own_bone_length_sum():
    """The paper's AvgSumLen, 4296.99 mm, for networks of any training data."""
    config = ml_collections.ConfigDict({"model": {"input_side": 64}})
    config.data = {"bone_length_sum": 3210.0}
    sizes = {
        name: make_setting(config, name, with_depth=True).bone_length_sum
        for name in ("human36m", "human36m/any:train", "mpii", "synthetic/wild")
    }
    assert sizes == {
        "human36m": pytest.approx(4296.99233013, abs=1e-6),
        "human36m/any:train": pytest.approx(4296.99233013, abs=1e-6),
        "mpii": 3210.0,
        "synthetic/wild": 3210.0,
    }
    assert make_setting(config, "mpii", with_depth=False) == Setting(64, 3210.0, "mpii", False)
