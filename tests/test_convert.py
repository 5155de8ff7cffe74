import argparse
import collections
import datetime
import functools
import io
import logging
import os
import pickle
import re
import struct
import time
import types
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest

from pose3d_jax import presets
from pose3d_jax.checkpoints.stage import StageCheckpoints
from pose3d_jax.errors import UserError
from pose3d_jax.interop import release, torch_files
from pose3d_jax.interop.release import convert, layers, make_config, to_arrays
from pose3d_jax.models.variables import abstract_network, flatten
from pose3d_jax.prediction.predictor import Predictor
from pose3d_jax.stages import get_stage
from pose3d_jax.training.directory import read_config
from pose3d_jax.training.state import initial_state, make_optimizer

DATA = Path(__file__).parent / "data"
RELEASE = DATA / "release_network.pth"


@pytest.fixture(scope="module")
def converted(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("converted") / "stage3"
    convert(RELEASE, directory)
    return directory


def test_the_releases_network_gives_its_heatmaps_and_depths(converted):
    golden = np.load(DATA / "release_network_io.npz")
    whole = (golden["input_24_bits"] * np.array([1.0, 2.0**8, 2.0**16])).sum(-1) / 2.0**24
    rgb = whole[::-1].transpose(1, 2, 0) * (256.0 / 255.0)
    heatmaps, depth = Predictor.from_checkpoint(converted).model(rgb[None].astype(np.float32))
    for stack, (row, column) in enumerate(((0, 1), (2, 3))):
        maps = np.asarray(heatmaps[stack])[0].transpose(2, 0, 1)[:, row::4, column::4]
        np.testing.assert_allclose(maps, golden[f"heatmaps{stack}"], atol=1e-3)
    np.testing.assert_allclose(depth[0], golden["depth"], atol=1e-3)


def test_sizes_are_those_of_the_weights(converted):
    model = read_config(converted).model
    assert (model.stacks, model.modules, model.levels, model.features) == (2, 1, 4, 16)
    assert (model.depth_levels, model.depth_modules, model.stem_features) == (4, 1, 64)


def test_training_takes_it_for_a_finished_stage(converted):
    """With its optimizer's state, at the stage's last step."""
    config = read_config(converted)
    _, shapes = abstract_network(config)
    variables = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)
    fresh = initial_state(variables, make_optimizer(config, get_stage(config, 3)))
    with StageCheckpoints(converted) as checkpoints:
        state = checkpoints.restore(fresh)
    assert int(state.step) == get_stage(config, 3).steps
    assert all((np.asarray(x) == 0).all() for x in flatten(state.opt_state).values())


def test_the_layers_of_the_papers_network_are_all_of_it():
    """Every parameter of the full network has a counterpart, by name and number."""
    model = presets.paper().model
    names = [layer.theirs for layer in layers(model)]
    assert len(set(names)) == len(names)
    per_kind = collections.Counter(layer.kind for layer in layers(model))
    residuals = 3 + 2 * (4 * 3 * 2 + 2 + 2) + 4 * 2
    assert per_kind == {
        "conv": 1 + residuals,
        "linear": 2 * residuals + 2 + 2 * 4,
        "norm": 1 + 3 * residuals + 2,
        "flat": 1,
    }


def test_a_zip_file_of_pytorch_is_read(isolated):
    tensors = torch_files.read_tensors(DATA / "torch_zip.pth", "a")
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    np.testing.assert_array_equal(tensors["a"], base)
    np.testing.assert_array_equal(tensors["view"], base[1:3, ::2])
    np.testing.assert_array_equal(tensors["transposed"], base.T)
    assert tensors["count"] == 7 and tensors["count"].dtype == np.int64
    np.testing.assert_array_equal(tensors["half"], np.float16([0.5, -2]))


class Hostile:
    """Unpickles by calling a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


HOSTILE = {
    "os.system": lambda path: Hostile(os.system, f"touch {path}"),
    "eval": lambda path: Hostile(eval, f"open({str(path)!r}, 'w')"),
    "getattr": lambda path: Hostile(getattr, path, "touch"),
    "pathlib": lambda path: Hostile(Path.touch, path),
    "exec in a default": lambda path: Hostile(exec, f"open({str(path)!r}, 'w')"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("container", ["old", "zip", "bare", "hidden behind a magic number"])
def test_a_hostile_pickle_is_refused_and_nothing_runs(tmp_path, name, container):
    witness, file = tmp_path / "witness", tmp_path / "hostile.pth"
    data = pickle.dumps({"conv1_.weight": HOSTILE[name](witness)}, protocol=2)
    if container == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("model/data.pkl", data)
    else:
        magic = pickle.dumps(0x1950A86A20F9469CFC6C)
        file.write_bytes({"old": MAGIC, "bare": b""}.get(container, magic) + data)
    with pytest.raises(UserError, match=r"refused.*Nothing of it was run"):
        convert(file, tmp_path / "out")
    assert not witness.exists() and not (tmp_path / "out").exists()


class Options:
    """An object of a training script."""

    class Inner:
        """A class in a class."""

    def __init__(self):
        self.lr = 1e-4

    def decay(self):
        """A method, such as of a scheduler."""


#: What training scripts save beside the network.
ENTRIES = {
    "NumPy numbers": {"best": np.float64(0.9), "curve": np.arange(3), "type": np.dtype("f4")},
    "optimizer state": {"state": {0: {"step": 3, "exp_avg": np.ones(2)}}, "groups": [{}]},
    "defaultdict": collections.defaultdict(list, {"train": [1.0]}),
    "counter and deque": [collections.Counter("ab"), collections.deque([1])],
    "path": Path("runs/a"),
    "date": datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
    "own class": Options(),
    "namespace": argparse.Namespace(lr=1e-4),
    "partial": functools.partial(Options),
    "class in a class": Options.Inner(),
    "method": Options().decay,
    "simple namespace": types.SimpleNamespace(lr=1e-4),
    "logger, pattern, time": [logging.getLogger("a"), re.compile("a"), time.localtime(0)],
    "sets and slices": ({1, 2}, frozenset([3]), slice(1, 2), 1j, range(3)),
}
NUMBERS = np.arange(6, dtype=np.float32)


def saved_by_torch(path, tree: dict, kind: str, numbers: np.ndarray) -> None:
    """Writes a zip container; `tree` contains `TENSOR` where the tensor of `numbers` belongs."""
    data = pickle.dumps(tree, protocol=2)
    for key, number in enumerate((TENSOR, OTHER)):
        mark = pickle.dumps(number, protocol=2)[2:-1]
        storage = f"(Vstorage\nctorch\n{kind}\nV{key}\nVcpu\nI{len(numbers)}\nNtQ"
        rest = "I0\n(I2\nI3\nt(I3\nI1\ntI00\nNtR"
        tensor = f"ctorch._utils\n_rebuild_tensor_v2\n({storage}{rest}"
        assert data.count(mark) <= 1
        data = data.replace(mark, tensor.encode())
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", data)
        archive.writestr("m/data/0", numbers.tobytes())


#: Stand for tensors in a tree; pickled without a reference to other parts of it. Only the memory of
#: the first is in the file.
TENSOR, OTHER = 7_654_321, 7_654_322


@pytest.mark.parametrize("name", ENTRIES)
def test_other_objects_of_a_training_script_are_inert(tmp_path, name):
    path = tmp_path / "best.pth.tar"
    tree = {"epoch": 3, "extra": ENTRIES[name], "state_dict": {"module.w": TENSOR}}
    saved_by_torch(path, tree, "FloatStorage", NUMBERS)
    tensors = torch_files.read_tensors(path, "w")
    assert tensors.keys() == {"w"}
    np.testing.assert_array_equal(tensors["w"], NUMBERS.reshape(2, 3))


#: Where training scripts save a state dict, and with which names.
PLACES = {
    "alone": lambda state: state,
    "beside a tensor": lambda state: {"best_acc1": OTHER, "state_dict": state},
    "any key": lambda state: {"posenet": state, "optimizer": {"state": {0: {"exp_avg": OTHER}}}},
    "nested": lambda state: {"checkpoint": {"model": {"state_dict": state}}},
    "in a list": lambda state: [{"epoch": 3}, state],
    "DataParallel": lambda state: {f"module.{name}": value for name, value in state.items()},
    "compiled": lambda state: {f"_orig_mod.module.{name}": v for name, v in state.items()},
    "Lightning": lambda state: {
        "state_dict": {"metric.total": OTHER, **{f"net.{name}": v for name, v in state.items()}}
    },
    "averages": lambda state: {"model_ema": {"w": OTHER}, "model": state},
    "averages alone": lambda state: {"n_averaged": OTHER, "ema": state},
    "a trainer": lambda state: {"trainer": trainer(state)},
}


def trainer(state: dict) -> "Options":
    """An object that contains itself."""
    result = Options()
    result.network, result.trainer = state, result
    return result


@pytest.mark.parametrize("place", PLACES)
def test_a_network_is_found_wherever_it_is(tmp_path, place):
    tree = PLACES[place](collections.OrderedDict(w=TENSOR))
    saved_by_torch(tmp_path / "a.pth", tree, "FloatStorage", NUMBERS)
    tensors = torch_files.read_tensors(tmp_path / "a.pth", "w")
    assert tensors.keys() == {"w"}
    np.testing.assert_array_equal(tensors["w"], NUMBERS.reshape(2, 3))


def test_bfloat16_becomes_float32(tmp_path):
    """Whose bits are the upper half of a float32's."""
    numbers = np.float32([0.0, 1.0, -2.5, 3.140625, 1e30, -1e-30])
    halves = np.uint16(numbers.view(np.uint32) >> 16)
    saved_by_torch(tmp_path / "a.pth", {"w": TENSOR}, "BFloat16Storage", halves)
    found = torch_files.read_tensors(tmp_path / "a.pth", "w")["w"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.view(np.uint32) >> 16, halves.reshape(2, 3))
    np.testing.assert_allclose(found.ravel(), numbers, rtol=2**-7)


def test_stand_ins_do_nothing():
    """Unknown names are classes that keep their state."""
    data = b"\x80\x02ctorch.nn.modules.conv\nConv2d\n)\x81}X\x01\x00\x00\x00aK\x01sb."
    assert torch_files._Unpickler(io.BytesIO(data)).load().state == {"a": 1}
    data = b"\x80\x02ctorch.hub\nload\nX\x01\x00\x00\x00a\x85R."
    assert torch_files._Unpickler(io.BytesIO(data)).load().state is None


#: The beginning of the old container.
MAGIC = b"".join(map(pickle.dumps, (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})))


def old_container(offset: int, shape: tuple, stride: tuple, numbers: np.ndarray) -> bytes:
    """A dictionary with one tensor, `w`, written by hand in pickle's text opcodes."""

    def integers(values) -> bytes:
        return b"(" + b"".join(b"I%d\n" % value for value in values) + b"t"

    storage = b"(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI%d\nNtQ" % len(numbers)
    arguments = storage + b"I%d\n" % offset + integers(shape) + integers(stride)
    root = b"}Vw\nctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"I00\nNtRs."
    return MAGIC + root + pickle.dumps(["0"]) + struct.pack("<q", len(numbers)) + numbers.tobytes()


@pytest.mark.parametrize(
    ("offset", "shape", "stride", "fits"),
    [
        (0, (2, 3), (3, 1), True),
        (1, (5,), (1,), True),
        (0, (3, 2), (1, 3), True),
        (1, (6,), (1,), False),
        (0, (2, 3), (4, 1), False),
        (-1, (2,), (1,), False),
        (5, (2,), (-1,), False),
        (0, (1 << 40,), (0,), False),
    ],
)
def test_no_tensor_reaches_beyond_its_memory(tmp_path, offset, shape, stride, fits):
    file = tmp_path / "file.pth"
    numbers = np.arange(6, dtype=np.float32)
    file.write_bytes(old_container(offset, shape, stride, numbers))
    if not fits:
        with pytest.raises(UserError, match="damaged"):
            torch_files.read_tensors(file, "w")
        return
    index = offset + sum(np.indices(shape) * np.reshape(stride, (-1, *(1 for _ in shape))))
    np.testing.assert_array_equal(torch_files.read_tensors(file, "w")["w"], numbers[index])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("an index that sizes an array", b"}r\xff\xff\xff\x3f.", "512 MiB to read"),
        ("a string of a terabyte", b"\x8d" + struct.pack("<Q", 1 << 40) + b"a.", "512 MiB to read"),
        (
            "a tuple of twice a tuple of twice a tuple",
            b"})" + b"".join(bytes((113, i, 104, i, 0x86)) for i in range(40)) + b"K\x01s.",
            "takes more than 1 s",
        ),
        (
            "a tuple in a tuple in a tuple",
            b"})" + b"\x85" * 1_000_000 + b"K\x01s.",
            "crashes its reader|takes more than 1 s",
        ),
    ],
)
def test_few_bytes_take_little_memory_and_time(
    isolated, tmp_path, monkeypatch, name, content, message
):
    monkeypatch.setattr(torch_files, "SECONDS", 1)
    (tmp_path / "file.pth").write_bytes(MAGIC + b"\x80\x04" + content)
    with pytest.raises(UserError, match=message):
        torch_files.read_tensors(tmp_path / "file.pth", "w")


def odd_zip(path, *, compression=zipfile.ZIP_STORED, data=b"\x80\x02}.", patch=None):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("m/data.pkl", data)
    if patch:  # In the file's own header and in the directory: encrypted, or compressed by what.
        content = bytearray(path.read_bytes())
        for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
            place = content.index(signature) + offset + patch[0]
            content[place : place + 2] = struct.pack("<H", patch[1])
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch": (0, 1)}, "encrypted"),
        ({"patch": (2, 99)}, "compression"),
        ({"compression": zipfile.ZIP_DEFLATED, "data": b"\x80\x02" + b"]" * (16 << 20)}, "MiB"),
    ],
)
def test_odd_zips_are_a_sentence(isolated, tmp_path, options, message):
    odd_zip(tmp_path / "file.pth", **options)
    with pytest.raises(UserError, match=message):
        torch_files.read_tensors(tmp_path / "file.pth", "w")


def test_a_depth_head_without_pooling_is_a_sentence():
    tensors = torch_files.read_tensors(RELEASE, release.LANDMARK)
    features = tensors["lin_.0.0.weight"].shape[0]
    tensors["reg.weight"] = np.zeros((16, features * 64 * 64), np.float32)
    with pytest.raises(ValueError, match="reduces nothing"):
        make_config(tensors)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no PyTorch file"),
        (b"hello", "no PyTorch file"),
        (RELEASE.read_bytes()[:300_000], "no PyTorch file, or is damaged"),
        (RELEASE.read_bytes()[:-2_000], "no PyTorch file, or is damaged"),
    ],
)
def test_damaged_files_are_a_sentence(tmp_path, content, message):
    file = tmp_path / "weights.pth"
    file.write_bytes(content)
    with pytest.raises(UserError, match=message):
        convert(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_networks_are_a_sentence(tmp_path):
    with pytest.raises(UserError, match="another network"):
        convert(DATA / "torch_zip.pth", tmp_path / "out")
    tensors = torch_files.read_tensors(RELEASE, release.LANDMARK)
    config = make_config(tensors)
    with pytest.raises(UserError, match="extra is unexpected"):
        to_arrays(tensors | {"extra": np.zeros(1)}, config)
    del tensors["ll_.1.bias"]
    with pytest.raises(UserError, match=r"no ll_\.1\.bias"):
        to_arrays(tensors, config)


def test_only_an_existing_file_and_a_new_directory_will_do(tmp_path):
    with pytest.raises(UserError, match="exists already"):
        convert(RELEASE, tmp_path)
    with pytest.raises(UserError, match="no such file"):
        convert(tmp_path / "absent.pth", tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("hourglass.0." + "low2." * 5000 + "up1_.0.bn.weight", (1,)),
        ("lin_.0.0.weight", ()),
        ("lin_.0.0.weight", (0, 4)),
        ("reg.weight", (16,)),
        ("reg.weight", (16, 0)),
        ("hourglass.0.up1_.0.conv2.weight", (3,)),
        ("conv1_.weight", (64,)),
    ],
)
def test_tensors_of_any_shape_are_a_sentence(tmp_path, monkeypatch, name, shape):
    tensors = torch_files.read_tensors(RELEASE, release.LANDMARK) | {
        name: np.zeros(shape, np.float32)
    }
    monkeypatch.setattr(release, "read_tensors", lambda *_: tensors)
    with pytest.raises(UserError, match="another network"):
        convert("any.pth", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_that_ask_for_a_thousand_stacks_build_none(tmp_path, monkeypatch):
    tensors = torch_files.read_tensors(RELEASE, release.LANDMARK)
    tensors |= {f"hourglass.{i}.extra": np.zeros(0) for i in range(1000)}
    monkeypatch.setattr(release, "read_tensors", lambda *_: tensors)
    monkeypatch.setattr(release, "abstract_network", lambda _: pytest.fail("it was built"))
    with pytest.raises(UserError, match=r"no hourglass\.2"):
        convert("any.pth", tmp_path / "out")
