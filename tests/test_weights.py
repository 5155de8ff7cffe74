"""Networks as one file, and what a checkpoint argument means."""

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import safetensors
import small_checkpoint
from absl.flags import FLAGS
from absl.testing import flagsaver
from safetensors.numpy import save_file
from small_checkpoint import photo

from pose3d_jax import evaluate, export, presets
from pose3d_jax.checkpoints import loading
from pose3d_jax.checkpoints.packed import read_packed, write_packed
from pose3d_jax.errors import UserError
from pose3d_jax.models.variables import flatten
from pose3d_jax.prediction.predictor import Predictor


@pytest.fixture(scope="module")
def flags():
    if not FLAGS.is_parsed():
        FLAGS(["evaluate"])


@pytest.fixture(scope="module")
def packed(tmp_path_factory, flags):
    """The small checkpoint as a file."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    export.main(["export", str(small_checkpoint.directory()), str(path)])
    return path


@pytest.fixture
def package(packed, monkeypatch):
    """A package that has the small network, as `small`, and no other."""
    monkeypatch.setattr(loading, "WEIGHTS", packed.parent)
    monkeypatch.setattr(loading, "DEFAULT", "small")


def test_half_precision_rounds_within_its_bounds(packed, tmp_path):
    """IEEE 754: at most 2⁻¹¹ of a value, or 2⁻²⁵ below 2⁻¹⁴; vectors are not rounded."""
    original = flatten(loading.load(small_checkpoint.directory()).variables)
    restored = flatten(loading.load(packed).variables)
    exponents = np.random.default_rng(0).uniform(-30, 15.9, (100, 100))
    original["wide"] = np.float32(2.0**exponents * np.where(exponents % 1 < 0.5, -1, 1))
    write_packed(tmp_path / "a.safetensors", presets.tiny(), {"wide": original["wide"]})
    restored |= read_packed(tmp_path / "a.safetensors")[1]
    assert original.keys() == restored.keys()
    for name, array in original.items():
        assert restored[name].dtype == np.float32
        error = np.abs(np.float64(restored[name]) - array)
        bound = np.maximum(2.0**-11 * np.abs(array), 2.0**-25) if array.ndim >= 2 else 0.0
        assert (error <= bound).all(), name
    assert not np.array_equal(restored["wide"], original["wide"])  # Half precision it is.


def test_what_half_precision_holds_is_kept_bit_for_bit(packed, tmp_path):
    """So a packed network packed again is the same file."""
    export.main(["export", str(packed), str(tmp_path / "again.safetensors")])
    assert (tmp_path / "again.safetensors").read_bytes() == packed.read_bytes()


def test_what_half_precision_does_not_hold_stays_single(tmp_path):
    arrays = {"large": np.full((2, 2), 1e6, np.float32), "vector": np.float32([1 / 3])}
    write_packed(tmp_path / "a.safetensors", presets.tiny(), arrays)
    _, restored = read_packed(tmp_path / "a.safetensors")
    for name, array in arrays.items():
        np.testing.assert_array_equal(restored[name], array)


def test_the_file_holds_tensors_and_the_config(packed):
    with safetensors.safe_open(packed, framework="np") as file:
        text = json.loads(file.metadata()["pose3d_jax"])
    model = json.loads(small_checkpoint.config().model.to_json_best_effort())
    assert text["config"]["model"] == model and len(text["sha256"]) == 64
    config = loading.load(packed).config
    assert config.data.bone_length_sum == small_checkpoint.BONE_LENGTH_SUM


def test_half_precision_costs_nothing(packed):
    image = photo(60, 80)
    ours = Predictor.from_checkpoint(packed)(image)
    theirs = Predictor.from_checkpoint(small_checkpoint.directory())(image)
    # Where peaks are close to each other, as random weights have them, another one may win.
    np.testing.assert_allclose(ours.confidence, theirs.confidence, atol=0.02)


def test_a_name_is_a_network_of_the_package(package, tmp_path, monkeypatch):
    image = photo(60, 80)
    poses = [
        Predictor.from_pretrained("small")(image),
        Predictor.from_checkpoint("small")(image),
    ]
    np.testing.assert_array_equal(poses[0].joints_3d, poses[1].joints_3d)
    with pytest.raises(UserError, match="no bundled network 'other'; bundled networks: small"):
        Predictor.from_pretrained("other")
    with pytest.raises(UserError, match=r"other is no stage of a run.*\(bundled networks: small\)"):
        Predictor.from_checkpoint("other")
    # Wherever the program runs.
    (tmp_path / "small").mkdir()
    monkeypatch.chdir(tmp_path)
    Predictor.from_checkpoint("small")
    with pytest.raises(UserError, match=r"it has no config.json"):
        Predictor.from_checkpoint("./small")


def test_results_have_a_place(package):
    assert loading.results_directory("small").parts == ("runs", "small")
    assert loading.results_directory("weights/x.safetensors").parts == ("runs", "x")
    assert loading.results_directory("runs/a/stage3").parts == ("runs", "a", "stage3")


def test_a_name_says_what_is_written(package, tmp_path):
    with pytest.raises(UserError, match=r"must end in \.jaxexport, \.onnx or \.safetensors"):
        export.main(["export", "small", str(tmp_path / "pose.pt")])
    assert not list(tmp_path.iterdir())


def test_arithmetic_of_another_type_is_a_sentence(package):
    with pytest.raises(UserError, match="compute is 'int8'"):
        Predictor.from_pretrained("small", compute="int8")


def test_commands_take_a_name(flags, package, tmp_path, monkeypatch):
    pytest.importorskip("flatbuffers")
    export.main(["export", "small", str(tmp_path / "pose.jaxexport")])
    assert (tmp_path / "pose.jaxexport").stat().st_size > 1000
    asked = {}
    monkeypatch.setattr(
        evaluate.report, "evaluate_checkpoint", lambda name, out, **_: asked.update({name: out})
    )
    monkeypatch.setattr(evaluate, "result_tables", lambda results: [])
    with flagsaver.flagsaver(checkpoint="small", compilation_cache=""):
        evaluate.main(["evaluate"])
    assert asked == {"small": loading.results_directory("small") / "evaluation"}


@pytest.mark.parametrize("damage", ["tensor", "config", "header", "cut", "empty"])
def test_a_damaged_file_is_a_sentence(packed, tmp_path, damage):
    data = bytearray(packed.read_bytes())
    if damage == "tensor":
        data[-5] ^= 64
    elif damage == "config":
        place = data.index(b"input_side")
        data[place : place + 5] = b"INPUT"
    elif damage == "header":
        data[3] ^= 255
    data = data[:1000] if damage == "cut" else b"" if damage == "empty" else data
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(data)
    with pytest.raises(UserError, match="is damaged"):
        Predictor.from_checkpoint(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "file of another program"),
        ("[]", "is damaged: its config"),
        ("[" * 100_000, "is damaged"),
        ('{"config": [], "sha256": 0}', "is damaged"),
        ("null", "is damaged"),
    ],
)
def test_metadata_of_any_kind_are_a_sentence(tmp_path, text, message):
    path = tmp_path / "foreign.safetensors"
    metadata = None if text is None else {"pose3d_jax": text}
    save_file({"weight": np.ones((2, 2), np.float32)}, path, metadata=metadata)
    with pytest.raises(UserError, match=message):
        loading.load(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_text("no tensors"), "no safetensors file"),
        (os.mkfifo, "a pipe"),
        (lambda path: None, "there is no such file"),
    ],
)
def test_files_of_any_kind_are_a_sentence(tmp_path, make, message):
    make(tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=message):
        loading.load(tmp_path / "a.safetensors")


def test_another_networks_tensors_are_a_sentence(packed, tmp_path):
    config, arrays = read_packed(packed)
    config.model.features = 16
    write_packed(tmp_path / "other.safetensors", config, arrays)
    with pytest.raises(UserError, match="of another network"):
        loading.load(tmp_path / "other.safetensors")


def test_a_file_that_cannot_be_written_is_a_sentence(tmp_path):
    for place, words in ((tmp_path / "absent" / "a", "no directory"), (tmp_path, "a directory")):
        with pytest.raises(UserError, match=words):
            write_packed(place, presets.tiny(), {})


def test_a_file_is_loaded_without_orbax(packed):
    program = (
        "import sys; from pose3d_jax import checkpoints; checkpoints.load(sys.argv[1]); "
        "sys.exit('orbax.checkpoint' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program, packed], check=False).returncode == 0


@pytest.mark.parametrize("name", loading.bundled_names())
def test_the_packages_networks_are_whole_small_and_described(name):
    found = loading.load(name)
    assert found.with_depth and found.config.data.bone_length_sum > 1000
    data = (loading.WEIGHTS / f"{name}.safetensors").read_bytes()
    card = (loading.WEIGHTS / "README.md").read_text()
    assert hashlib.sha256(data).hexdigest() in card
    assert len(data) * len(loading.bundled_names()) <= 25e6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.stacks": 10**9}, "more layers than it has tensors"),
        ({"model.levels": 10**9}, "more layers than it has tensors"),
        ({"model.depth_modules": 10**9}, "more layers than it has tensors"),
        ({"model.features": 10**30}, "another network"),
        ({"model.input_side": 1 << 40}, r"input_side is .* from 1 to 4096"),
        ({"model.input_side": -64}, "input_side"),
        ({"model.stem": "other"}, "describes no network"),
        ({"model.unknown": 5}, "describes no network"),
        ({"data.bone_length_sum": "long"}, "bone_length_sum"),
        ({"method": "other"}, "Unknown method"),
        ({"method": ["3D"]}, "method"),
        ({"precision.compute": "int3"}, "compute"),
    ],
)
def test_a_config_of_any_kind_is_a_sentence(packed, tmp_path, changes, message):
    """The author of a file's config also writes its SHA-256."""
    config, arrays = read_packed(packed)
    with config.unlocked(), config.ignore_type():
        config.update_from_flattened_dict(changes)
    path = tmp_path / "hostile.safetensors"
    write_packed(path, config, arrays)
    with pytest.raises(UserError, match=message) as refusal:
        loading.load(path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("missing", ["stages", "model", "data"])
def test_a_config_that_lacks_something_is_a_sentence(packed, tmp_path, missing):
    config, arrays = read_packed(packed)
    with config.unlocked():
        del config[missing]
    write_packed(tmp_path / "a.safetensors", config, arrays)
    with pytest.raises(UserError):
        loading.load(tmp_path / "a.safetensors")
