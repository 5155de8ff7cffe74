"""Records of the built-in synthetic benchmark, as their readers see them."""

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds

from pose3d_jax import skeleton
from pose3d_jax.drawing.skeletons import contact_sheet
from pose3d_jax.images.jpeg import decode_image
from tfds_builders.synthetic import actions, body, generate, raycast, render, subjects
from tfds_builders.synthetic.synthetic_dataset_builder import BENCHMARKS, Builder, SyntheticConfig

pytestmark = pytest.mark.usefixtures("optimised")

LAB = generate.Benchmark("lab", box_side=64, image_side=68, train=5, test=3)
WILD = generate.Benchmark("wild", box_side=64, image_side=96, train=5, test=3)
VARIED = generate.Benchmark("varied", box_side=64, image_side=96, train=5, test=3)
COUNT = 32
HEAD_TOP, PELVIS, ANKLES = 9, 6, [0, 5]

#: Parts that may show at a joint that nothing hides.
_AT_JOINT = {
    "ankle": ("shin", "foot"), "knee": ("thigh", "shin"), "hip": ("thigh", "pelvis"),
    "pelvis": ("pelvis", "belly"), "thorax": ("chest", "breast", "shoulder", "neck"),
    "upper_neck": ("neck", "head", "hair", "nose"), "head_top": ("head", "hair"),
    "wrist": ("forearm", "hand"), "elbow": ("upper arm", "forearm"),
    "shoulder": ("shoulder", "upper arm", "chest"),
}  # fmt: skip


@pytest.fixture(scope="module")
def lab(optimised):
    return generate.render_records(LAB, "train", range(COUNT))


@pytest.fixture(scope="module")
def wild_test(optimised):
    return generate.render_records(WILD, "test", range(COUNT))


@pytest.fixture(scope="module")
def varied(optimised):
    return generate.render_records(VARIED, "train", range(2 * COUNT))


@pytest.fixture(scope="module")
def sampled(optimised):
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


def stacked(made, name):
    return np.stack([record[name] for record in made]).astype(np.float64)


@pytest.mark.parametrize("name", ["lab", "wild_test", "varied"])
def test_joints_2d_are_a_perspective_projection_of_joints_3d(name, request):
    """Some focal length and principal point explain every record exactly."""
    for record in request.getfixturevalue(name):
        x, y, z = record["joints_3d"].astype(np.float64).T
        assert (z > 0).all()
        one, none = np.ones(16), np.zeros(16)
        lines = np.concatenate([np.stack([x / z, one, none], 1), np.stack([y / z, none, one], 1)])
        seen = record["joints_2d"].T.ravel()
        solution = np.linalg.lstsq(lines, seen, rcond=None)[0]
        np.testing.assert_allclose(lines @ solution, seen, atol=0.01)
        assert solution[0] > 0


def test_joints_lie_on_the_body_that_is_rendered():
    _, parts, labels = generate.render_chunk(LAB, "train", range(COUNT))
    seated = [action.get("seated") for action in actions.ACTIONS["lab"].values()]
    right = on_body = total = 0
    for shown, joints, action in zip(parts, labels["joints_2d"], labels["action"], strict=True):
        if seated[action]:  # A seat may hide joints.
            continue
        for name, (x, y) in zip(skeleton.JOINT_NAMES, joints, strict=True):
            if name == "head_top":  # On the outline: look just beneath.
                x, y = joints[9] + 0.15 * (joints[8] - joints[9])
            part = shown[int(y), int(x)]
            total += 1
            on_body += part >= 0
            kind = name.removeprefix("right_").removeprefix("left_")
            side = name.split("_")[0] if kind != name else ""
            label = body.PART_NAMES[part]
            same_side = not side or not label.startswith(("right", "left")) or side in label
            right += part >= 0 and label.endswith(_AT_JOINT[kind]) and same_side
    assert total > 300
    assert on_body == total
    # The rest hides behind another limb or the trunk.
    assert right > 0.75 * total


def test_limiting_a_part_to_a_square_around_it_loses_nothing():
    scenes, _ = generate._programs(LAB)[0](np.int32(0), np.arange(COUNT, dtype=np.int32))
    square = 22

    @jax.jit
    @jax.vmap
    def hits(scene):
        rays, cones = render._rays(scene, 0, 68), render._cones(scene)
        corners = render._squares(scene, 0, 68, square)
        limited = raycast.nearest(raycast.hit_cone, cones, rays, corners, square)
        return corners, limited[0], raycast.nearest(raycast.hit_cone, cones, rays)[0]

    corners, limited, full = map(np.asarray, hits(scenes))
    assert 0.01 < (corners[..., 0] < 0).mean() < 0.3
    assert (full < raycast.FAR).mean() > 0.05
    # The two round differently, so that a ray may graze a part in one and miss it in the other.
    assert (np.abs(limited - full) > 0.01).mean() < 1e-4


@pytest.mark.parametrize("name", ["lab", "varied"])
def test_bones_are_the_subjects(name, request):
    first, second = skeleton.BONES.T
    bones_of = jax.jit(lambda number: subjects.sample_subject(LAB.seed, name, number).bones)
    for record in request.getfixturevalue(name)[:COUNT]:
        number = int(record["subject"].removeprefix(f"{name}-"))
        assert number in subjects.subject_numbers(name, "train")
        bones = bones_of(np.int32(number))
        joints = record["joints_3d"]
        lengths = np.linalg.norm(joints[first] - joints[second], axis=-1)
        np.testing.assert_allclose(lengths.sum(), 1000 * bones.total(), rtol=1e-4)
        expected = np.array([bones.shin, bones.thigh, bones.hip]) * 1000
        np.testing.assert_allclose(lengths[:3], expected, rtol=1e-3)
        np.testing.assert_allclose(lengths[[5, 4, 3]], expected, rtol=1e-3)


def test_people_stand_on_the_floor_and_face_everywhere(lab):
    joints = stacked(lab, "joints_3d")
    across = joints[:, 3] - joints[:, 2]  # Right hip to left hip.
    assert (across[:, 0] > 100).any()
    assert (across[:, 0] < -100).any()
    assert np.ptp(joints[:, 6, 2]) > 500


@pytest.mark.parametrize(
    ("name", "benchmark"), [("lab", LAB), ("wild_test", WILD), ("varied", VARIED)]
)
def test_labels_fit_the_image(name, benchmark, request):
    made = request.getfixturevalue(name)
    low = (benchmark.image_side - benchmark.box_side) / 2
    for record in made:
        image = decode_image(record["image"])
        assert image.shape == (benchmark.image_side, benchmark.image_side, 3)
        assert image.std() > 10
        assert record["joints_valid"].all()
        assert record["has_3d"]
        assert record["joints_2d"].min() > low
        assert record["joints_2d"].max() < low + benchmark.box_side
        assert record["action"] in actions.ACTIONS[benchmark.domain]
        np.testing.assert_array_equal(record["box"], [low + 32, low + 32, 64])
    joints, pose = stacked(made, "joints_2d"), stacked(made, "joints_3d")
    standing = pose[:, 0, 1] - pose[:, 9, 1] > 1450
    ratio = np.abs(joints[:, 9, 1] - joints[:, 0, 1]) / stacked(made, "head_size")
    assert 6.5 < np.median(ratio[standing]) < 9.5


def test_wild_training_has_no_depth_and_may_be_cut():
    made = generate.render_records(WILD, "train", range(2 * COUNT))
    assert not any(record["has_3d"] for record in made)
    assert not stacked(made, "joints_3d").any()
    cut = [record for record in made if not record["joints_valid"].all()]
    assert 0 < len(cut) < len(made) // 3
    for record in cut:
        assert not record["joints_2d"][~record["joints_valid"]].any()
        image = decode_image(record["image"])
        assert (image.max(-1) < 24).mean() > 0.1  # Black beyond the border.
        for x, y in record["joints_2d"][record["joints_valid"]]:
            assert 0 <= x < WILD.image_side
            assert 0 <= y < WILD.image_side


def test_a_record_depends_on_seed_split_and_index_only(lab, varied):
    for benchmark, made in ((LAB, lab), (VARIED, varied)):
        again = generate.render_records(benchmark, "train", [7, 3])
        for record, index in zip(again, (7, 3), strict=True):
            for name, value in made[index].items():
                np.testing.assert_array_equal(record[name], value, err_msg=name)
    other = generate.render_records(LAB, "test", [7])[0]
    assert not np.array_equal(other["joints_3d"], lab[7]["joints_3d"])
    assert other["subject"] in ("lab-9", "lab-11")
    assert not np.array_equal(lab[7]["joints_3d"], lab[8]["joints_3d"])


def test_labels_are_computed_in_full_precision():
    """The default of accelerators rounds to 10 bits: invisible on a CPU, up to 250 mm in labels."""
    for lowered in generate.lower_programs(LAB):
        products = [line for line in lowered.as_text().splitlines() if "dot_general" in line]
        assert products
        assert all("HIGHEST" in line for line in products)


def test_round_trip_through_tfds(tmp_path, lab):
    builder = Builder(
        config=SyntheticConfig(name="few", benchmark=LAB),
        data_dir=tmp_path,
        file_format="array_record",
    )
    builder.download_and_prepare()
    read = tfds.builder_from_directory(builder.data_path)
    source = read.as_data_source("train", decoders={"image": tfds.decode.SkipDecoding()})
    assert len(source) == LAB.train
    assert len(read.as_data_source("test")) == LAB.test
    assert read.info.metadata["image_side"] == LAB.image_side
    np.testing.assert_allclose(
        read.info.metadata["bone_length_sum"], subjects.bone_length_sum(LAB.seed)
    )
    found = {record["image_id"].decode(): record for record in source}
    for made in lab[: LAB.train]:
        for name, value in found[made["image_id"]].items():
            expected = made[name]
            if isinstance(expected, str):
                expected = expected.encode()
            np.testing.assert_array_equal(value, expected, err_msg=name)


def test_configs_leave_room_for_augmentation():
    for name, benchmark in BENCHMARKS.items():
        factor = benchmark.image_side / benchmark.box_side
        assert factor == 1.5  # One factor: black borders do not tell the domains apart.
        assert name in Builder.builder_configs


def test_contact_sheet_shows_the_joints(lab):
    hidden = [dict(record, joints_valid=np.zeros(16, bool)) for record in lab[:6]]
    plain = contact_sheet(hidden, columns=4, side=68)
    drawn = contact_sheet(lab[:6], columns=4, side=68)
    assert plain.shape == drawn.shape == (136, 272, 3)
    x, y = lab[1]["joints_2d"][6].astype(int)
    # A dot this small may miss the very pixel, but none of its neighbours.
    around = slice(y - 1, y + 2), slice(68 + x - 1, 68 + x + 2)
    assert (plain[around] != drawn[around]).any()
    np.testing.assert_array_equal(plain[:68, :68], decode_image(lab[0]["image"]))


def test_poses_are_scaled_to_the_size_of_people_trained_on(sampled):
    _, labels, _ = sampled
    first, second = skeleton.BONES.T
    joints = labels["joints_3d"].astype(np.float64)
    sums = np.linalg.norm(joints[:, first] - joints[:, second], axis=-1).sum(1)
    expected = subjects.bone_length_sum(VARIED.seed, "varied")
    np.testing.assert_allclose(expected, sums.mean(), rtol=0.02)


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
