import json
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import small_checkpoint
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from small_checkpoint import SIDE, assert_same, photo

import pose3d_jax
from pose3d_jax import geometry, heatmaps, processors, skeleton
from pose3d_jax.checkpoints import load
from pose3d_jax.data import loader
from pose3d_jax.errors import UserError
from pose3d_jax.evaluation import predictions
from pose3d_jax.evaluation.predictions import Split
from pose3d_jax.images import boxes, crop
from pose3d_jax.images.crop import crop_to_image, sample
from pose3d_jax.models import inference
from pose3d_jax.models.variables import Variables, abstract_network, flatten, unflatten
from pose3d_jax.prediction.predictor import Predictor

pytestmark = pytest.mark.usefixtures("in_float32")


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return pose3d_jax.Predictor.from_checkpoint(small_checkpoint.directory(), batch_size=4)


def test_the_package_is_imported_without_jax():
    program = "import sys, pose3d_jax; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def records(count: int) -> list[dict]:
    """Records with boxes of every kind: fractional, small, large, cut off."""
    rng = np.random.default_rng(1)
    side = 70
    boxes = [rng.uniform(20, 50, count), rng.uniform(20, 50, count)]
    boxes = np.stack([*boxes, np.linspace(0.6 * SIDE, 2 * SIDE, count)], axis=-1)
    return [
        {
            "image": photo(side, side, number),
            "box": np.float32(box),
            "joints_2d": np.float32(rng.uniform(5, 60, (16, 2))),
            "joints_3d": np.float32(rng.uniform(-500, 500, (16, 3))),
            "joints_valid": np.ones(16, bool),
            "has_3d": True,
            "head_size": np.float32(5.0),
            **dict.fromkeys(("image_id", "subject", "action"), str(number).encode()),
        }
        for number, box in enumerate(boxes)
    ]


@pytest.mark.parametrize(
    "options", [{}, {"flip": True}, {"flip": True, "scales": (0.85, 1.0, 1.15)}]
)
def test_evaluation_and_the_predictor_give_the_same_joints(monkeypatch, options):
    """To the last bit: both call the same function with the same pixels."""
    monkeypatch.setattr(loader, "decode_image", lambda image: image)  # JPEG loses some.
    found = load(small_checkpoint.directory())
    split = Split("another", records(8), image_side=70)
    evaluated = predictions.predict_split(found, split, batch_size=32, **options).poses
    predictor = Predictor.from_checkpoint(small_checkpoint.directory(), **options)
    x, y, side = np.stack([record["box"] for record in split.source]).astype(np.float64).T
    boxes = np.stack([x - side / 2, y - side / 2, side, side], axis=-1)
    images = [photo(70, 70, number) for number in range(8)]
    pose = predictor(images, list(boxes))
    squares = np.stack([x, y, side], axis=-1)
    in_image = crop.out_of_square(evaluated.joints, squares, SIDE)
    np.testing.assert_array_equal(pose.joints_2d, in_image)
    np.testing.assert_allclose(pose.joints_3d, evaluated.millimetres, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("flip", [False, True])
def test_folding_and_sampling_change_no_joint(predictor, flip):
    """Against the network with its batch normalisation, on crops sampled one by one."""
    graphdef, variables = abstract_network(small_checkpoint.config())[0], small_checkpoint.state()
    images = np.stack([photo(70, 70, number) for number in range(8)])
    squares = np.stack([record["box"] for record in records(8)])
    model = nnx.merge(graphdef, *variables.variables, copy=True)
    model.eval()
    crops = sample(images, crop_to_image(squares, SIDE), SIDE)
    maps, depth = model(crops)
    if flip:
        (mirrored,), turned = model(crops[:, :, ::-1])
        maps = [(maps[-1] + mirrored[:, :, ::-1][..., skeleton.MIRROR_ORDER]) / 2]
        depth = (depth + turned[:, skeleton.MIRROR_ORDER]) / 2
    joints, confidence = heatmaps.decode(maps[-1], heatmaps.STRIDE)
    found = inference.predict(predictor.graphdef, predictor.variables, images, squares, flip=flip)
    np.testing.assert_allclose(found.joints, joints, atol=1e-3)
    np.testing.assert_allclose(found.confidence, confidence, atol=1e-5)
    np.testing.assert_allclose(found.depth, depth, atol=1e-5)


class Blobs(nnx.Module):
    """A network whose heat-maps are a channel of its input, reduced; its depth is 0.5."""

    def __init__(self, side: int, decoding: str):
        self.input_side, self.decoding, self.lifter = side, decoding, None

    def __call__(self, images):
        reduced = images.reshape(len(images), self.input_side // 4, 4, -1, 4, 3).mean((2, 4))
        maps = jnp.repeat(reduced[..., :1], 16, axis=-1)
        return [maps], jnp.full((len(images), 16), 0.5)


@pytest.mark.parametrize("scales", [(1.0,), (0.85, 1.0, 1.15), (1.0, 1.3)])
@pytest.mark.parametrize("flip", [False, True])
def test_heatmaps_of_several_scales_agree_on_what_they_see(scales, flip):
    """A Gaussian keeps its position, up to linear interpolation between 4 px."""
    side, centre = 64, np.array([41.0, 27.5])
    y, x = np.mgrid[:90, :90] + 0.5
    spot = np.exp(-((x - 12 - centre[0]) ** 2 + (y - 9 - centre[1]) ** 2) / (2 * 7.0**2))
    images = np.uint8(200 * spot)[None, ..., None].repeat(3, -1)
    squares = np.float32([[12 + side / 2, 9 + side / 2, side]])
    graphdef, *variables = nnx.split(Blobs(side, "log_parabola"), nnx.Param, nnx.BatchStat)
    joints, confidence, depth = inference.predict(
        graphdef, Variables(*variables), images, squares, flip=flip, scales=scales
    )
    np.testing.assert_allclose(joints[0], np.tile(centre, (16, 1)), atol=0.3)
    np.testing.assert_allclose(confidence, 200 / 255, atol=0.12)
    np.testing.assert_allclose(depth, 0.5 * np.mean(scales), rtol=1e-6)


def test_averaging_scales_is_the_mean_over_the_crops_that_contain_a_pixel():
    ones = [jnp.full((1, 16, 16, 2), value) for value in (1.0, 3.0)]
    mean = np.asarray(inference._average_scales(ones, (1.0, 0.5)))
    np.testing.assert_allclose(mean[0, 5:11, 5:11], 2.0, rtol=1e-6)
    np.testing.assert_allclose(mean[0, :3], 1.0, rtol=1e-6)


def test_the_model_gives_heatmaps_and_depths(predictor):
    images = np.random.default_rng(0).random((3, SIDE, SIDE, 3)).astype(np.float32)
    heatmaps, depth = predictor.model(images)
    assert [maps.shape for maps in heatmaps] == [(3, SIDE // 4, SIDE // 4, 16)]
    assert depth.shape == (3, 16)
    again, _ = predictor.model(images[1:2])
    np.testing.assert_allclose(heatmaps[0][1:2], again[0], atol=1e-5)


def test_sizes_and_batches_do_not_change_results(predictor):
    images = [photo(40 + 13 * i, 60 - 5 * i, seed=i) for i in range(6)]
    people = [None, [(1, 2, 30, 40), (5, 5, 20, 10)], [], (0, 0, 30, 30), None, [(9, 9, 9, 9)]]
    together = predictor(images, people)
    assert together.image.tolist() == [0, 1, 1, 3, 4, 5]
    for index, (image, own) in enumerate(zip(images, people)):
        assert_same(predictor(image, own), together.of_image(index))
    in_one_array = predictor(np.stack([images[0]] * 2))
    assert_same(in_one_array.of_image(1), together.of_image(0))


def test_compiles_once_per_bucket():
    own = Predictor.from_checkpoint(small_checkpoint.directory(), batch_size=2)
    own(photo(20, 25))
    own([photo(20, 20)] * 5)
    compiled = own.network._predict._cache_size()
    for side in (40, 300):
        own(photo(side, side + 5))
        own([photo(side, side)] * 5)
    again = Predictor.from_checkpoint(small_checkpoint.directory(), batch_size=2)
    again(photo(20, 25))
    assert again.network._predict._cache_size() == own.network._predict._cache_size() == compiled


def test_workers_share_a_call(predictor, monkeypatch):
    monkeypatch.setattr(processors, "usable", lambda: 3)
    own = Predictor.from_checkpoint(small_checkpoint.directory())
    assert [own.network._size_for(count) for count in (0, 1, 2, 3, 4, 6, 9, 500)] == [
        1, 1, 1, 1, 2, 2, 4, 4
    ]  # fmt: skip
    image = photo(60, 90)
    places = [(3 * i, 2 * i, 20, 30) for i in range(20)]
    together = own(image, places)
    for number, box in enumerate(places):
        assert_same(together[number], predictor(image, box))


def test_without_boxes_the_largest_centred_square(predictor):
    pose = predictor(photo(40, 60))
    assert_same(pose, predictor(photo(40, 60), (10, 0, 40, 40)))
    np.testing.assert_array_equal(pose.squares, [[30, 20, 40]])


def test_a_box_becomes_the_smallest_square_around_it(predictor):
    image = photo(90, 90)
    pose = predictor(image, (30, 20, 20, 40))
    assert_same(pose, predictor(image, (20, 20, 40, 40)))
    assert_same(predictor(image, (30, 30, 20, 20), margin=2.0), pose)


@settings(max_examples=8)
@given(st.integers(0, 20), st.integers(0, 20), st.floats(25, 120))
def test_a_crop_gives_the_same_pose_moved(predictor, x, y, side):
    image = photo(110, 100)
    box = np.array([30.25, 33.5, side, side])
    whole = predictor(image, box)
    # Neither the square nor the filter that reduces it reaches what is cut off.
    crop = predictor(image[y:, x:], np.subtract(box, (x, y, 0, 0)))
    assert_same(crop, whole, shift=(x, y))


@pytest.mark.parametrize("side", [30, 60, 150])
def test_black_around_the_image_changes_nothing(predictor, side):
    """A box partly outside sees black, at every way of sampling."""
    image = photo(80, 70)
    box = np.array([-0.3 * side, 40.5, side, side])
    padded = np.pad(image, ((90, 100), (80, 95), (0, 0)))
    expected = predictor(padded, np.add(box, (80, 90, 0, 0)))
    assert_same(predictor(image, box), expected, shift=(80, 90))


def test_a_doubled_image_gives_a_doubled_pose(predictor):
    """From far above the network's resolution, where both are reduced to the same means."""
    image = photo(256, 256)
    large = np.repeat(np.repeat(image, 2, axis=0), 2, axis=1)
    small, doubled = predictor(image), predictor(large)
    np.testing.assert_allclose(small.joints_2d * 2, doubled.joints_2d, atol=1e-3)
    np.testing.assert_allclose(small.confidence, doubled.confidence, atol=1e-3)


def device_crop(patch):
    pixels, box = patch
    return np.asarray(sample(pixels[None], crop_to_image(box[None], SIDE), SIDE))[0]


def mirrored(variables: Variables) -> Variables:
    """Variables with which the network mirrors its outputs where its input is mirrored."""

    def mirror(name: str, array: np.ndarray) -> np.ndarray:
        if array.ndim == 4:
            return array[:, ::-1]  # (height, width, in, out)
        if name == "stem/patch/kernel/value":  # (height · width · 3, out)
            return array.reshape(4, 4, 3, -1)[:, ::-1].reshape(array.shape)
        if name == "depth/output/kernel/value":  # (height · width · in, joints)
            return array.reshape(4, 4, -1, 16)[:, ::-1, :, skeleton.MIRROR_ORDER].reshape(
                array.shape
            )
        if "/merge_heatmaps/kernel" in name:
            return array[skeleton.MIRROR_ORDER]
        if "/heatmaps/" in name or name == "depth/output/bias/value":
            return array[..., skeleton.MIRROR_ORDER]
        return array

    arrays = {name: mirror(name, array) for name, array in flatten(variables.params).items()}
    return variables._replace(params=unflatten(arrays, variables.params))


@pytest.mark.parametrize(
    "box", [(10.5, 3, 33, 33), (-7, 20.25, 61, 40), (20, 10, 30, 62), (-1, 1, 82, 90)]
)
def test_a_mirrored_image_gives_the_mirrored_pose(predictor, box):
    """From end to end, for a network that is mirrored too: exactly, whatever its weights."""
    image = photo(90, 80)
    x, y, width, height = box
    own = Predictor(
        predictor.graphdef,
        mirrored(predictor.variables),
        input_side=SIDE,
        bone_length_sum=small_checkpoint.BONE_LENGTH_SUM,
    )
    pose = own(image[:, ::-1], (80 - x - width, y, width, height))
    expected = predictor(image, box)
    columns = (pose.joints_2d * (-1, 1) + (80, 0), pose.joints_3d * (-1, 1, 1), pose.confidence)
    assert_same([values[:, skeleton.MIRROR_ORDER] for values in columns], expected)


def test_a_large_box_is_reduced_without_aliasing():
    stripes = np.zeros((640, 640, 3), np.uint8)
    stripes[:, ::2] = 200
    patch = boxes.cut_patch(stripes, np.array([320.0, 320.0, 640.0]), SIDE)
    # Ten pixels are one, so that what the network sees is twice its input at most.
    assert patch[1].tolist() == [SIDE + 2, SIDE + 2, 64]
    np.testing.assert_allclose(device_crop(patch), 100 / 255, atol=2 / 255)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 9), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_means_do_not_depend_on_how_an_image_lies_in_memory(factor, rows, columns, seed):
    rng = np.random.default_rng(seed)
    whole = rng.integers(0, 256, (factor * rows + 7, factor * columns + 7, 3), np.uint8)
    top, left = rng.integers(0, 8, 2)
    cut = whole[top : top + factor * rows, left : left + factor * columns]
    read_only = cut[:]
    read_only.flags.writeable = False
    for image in (
        cut,
        read_only,
        cut.copy(),
        cut[::-1],
        cut[:, ::-1],
        cut[..., ::-1],
        np.rot90(cut),
    ):
        blocks = np.float64(image).reshape(image.shape[0] // factor, factor, -1, factor, 3)
        found = crop.block_means(image, factor)
        assert np.abs(found - blocks.mean(axis=(1, 3))).max() <= 0.5


@pytest.mark.parametrize(
    "square", [(200, 150, 280), (150, 130.5, 199.7), (20, 30, 300), (390, 290, 700), (0, 0, 6000)]
)
def test_a_square_reduced_by_means_is_nearly_the_one_reduced_well(square):
    """Also where it reaches beyond the image, on any side, and far."""
    *centre, side = square
    image = photo(300, 400)
    patch = boxes.cut_patch(image, np.array(square, float), SIDE)
    well, _ = crop.crop_square(image, np.array(centre, float), side, SIDE)
    difference = np.abs(255 * device_crop(patch) - well)
    assert difference.mean() < 4 and np.median(difference) < 4


@pytest.mark.parametrize("square", [(30, 25, 33.3), (20.25, 31.5, 64), (2, 55, 40), (10, 10, 200)])
def test_upright_squares_are_sampled_as_any_others(square):
    images, squares = photo(50, 60)[None], np.float32([square])
    expected = sample(images, crop_to_image(squares, SIDE), SIDE)
    np.testing.assert_allclose(crop.sample_squares(images, squares, SIDE), expected, atol=1e-4)


def test_millimetres_have_the_size_asked_for(predictor):
    images = [photo(40, 40, seed) for seed in range(3)]
    pose = predictor(images)
    sums = np.asarray(geometry.bone_length_sum(pose.joints_3d))
    np.testing.assert_allclose(sums, small_checkpoint.BONE_LENGTH_SUM, rtol=1e-5)
    np.testing.assert_array_equal(pose.joints_3d[:, skeleton.ROOT], 0)
    own = predictor(images, bone_length_sum=[3000, 3500, 5000]).joints_3d
    np.testing.assert_allclose(geometry.bone_length_sum(own), [3000, 3500, 5000], rtol=1e-5)
    # x and y are those of the image, in another unit.
    flat = pose.joints_2d - pose.joints_2d[:, skeleton.ROOT : skeleton.ROOT + 1]
    ratio = np.linalg.norm(pose.joints_3d[..., :2], axis=(1, 2)) / np.linalg.norm(flat, axis=(1, 2))
    np.testing.assert_allclose(pose.joints_3d[..., :2], flat * ratio[:, None, None], atol=0.1)


@pytest.mark.parametrize("none", [[], np.zeros((0, 4)), ()])
def test_nobody_is_nobody(predictor, none):
    pose = predictor(photo(20, 20), none)
    assert len(pose) == 0 and pose.joints_3d.shape == (0, 16, 3)


def test_a_single_pixel_is_an_image(predictor):
    pose = predictor(np.full((1, 1, 3), 200, np.uint8))
    assert np.isfinite(pose.joints_3d).all() and (pose.joints_2d <= 1).all()


@pytest.mark.parametrize(
    ("image", "people", "message"),
    [
        (np.zeros((9, 9, 3), np.float32), None, "uint8"),
        (np.zeros((9, 9), np.uint8), None, r"\(height, width, 3\)"),
        (np.zeros((9, 9, 4), np.uint8), None, r"\(height, width, 3\)"),
        (np.zeros((0, 9, 3), np.uint8), None, "no pixels"),
        ([np.zeros((9, 9), np.uint8)], None, "Image 0"),
        (photo(9, 9), (1, 1, 0, 5), "no area"),
        (photo(9, 9), (1, 1, 5, -1), "no area"),
        (photo(9, 9), (1, np.nan, 5, 5), "finite"),
        (photo(9, 9), (1, 1, np.inf, 5), "finite"),
        (photo(9, 9), (9, 1, 5, 5), "outside the image, which is 9 × 9 px"),
        (photo(9, 9), (-500, 0, 1000, 5), "16 times"),
        (photo(9, 9), (1, 2, 3), "x, y, width, height"),
        (photo(9, 9), [[1, 2], [3, 4, 5]], "x, y, width, height"),
        (photo(9, 9), "box", "x, y, width, height"),
        ([photo(9, 9)] * 3, [(1, 1, 2, 2)] * 2, "list of 3 images needs a list of 3 entries"),
        ([None], None, "Image 0 is of type NoneType"),
    ],
)
def test_what_is_of_no_use_is_refused_in_a_sentence(predictor, image, people, message):
    with pytest.raises(UserError, match=message) as refusal:
        predictor(image, people)
    assert isinstance(refusal.value, ValueError)


@pytest.mark.parametrize("size", [0, -1, np.nan, [1, 2], "large", [[1], [2, 3]]])
def test_a_size_must_be_one(predictor, size):
    with pytest.raises(UserError, match="bone_length_sum"):
        predictor(photo(9, 9), bone_length_sum=size)


def test_an_absent_or_damaged_checkpoint_is_a_sentence_and_left_alone(tmp_path):
    small_checkpoint.claim_directory(tmp_path / "new", small_checkpoint.config(), 3)
    small_checkpoint.write(tmp_path / "damaged")
    files = [p for p in (tmp_path / "damaged" / "checkpoints").rglob("*") if p.is_file()]
    largest = max(files, key=lambda p: p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:100])
    for name in ("new", "damaged"):
        with pytest.raises(UserError, match="no complete checkpoint"):
            Predictor.from_checkpoint(tmp_path / name)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["config.json"]
    assert (tmp_path / "damaged" / "checkpoints" / "300").is_dir()


def test_a_config_without_a_network_is_a_sentence(tmp_path):
    small_checkpoint.claim_directory(tmp_path, small_checkpoint.config(), 3)
    tree = json.loads((tmp_path / "config.json").read_text())
    del tree["checksum"], tree["model"]
    (tmp_path / "config.json").write_text(json.dumps(tree))
    with pytest.raises(UserError, match="has no section model"):
        Predictor.from_checkpoint(tmp_path)


def test_a_stage_without_depth_is_said_to_have_none(tmp_path, caplog):
    small_checkpoint.write(tmp_path, stage=1)
    Predictor.from_checkpoint(tmp_path)
    assert "does not train depth" in caplog.text
