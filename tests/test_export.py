import errno
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
import small_checkpoint
from small_checkpoint import SIDE, assert_same, photo

from pose3d_jax.errors import UserError
from pose3d_jax.export import main
from pose3d_jax.interop import one_file
from pose3d_jax.interop.one_file import export, export_onnx, make_crop_program
from pose3d_jax.prediction.predictor import Predictor

#: A process that has JAX, and not this package.
READER = """
import sys
sys.modules["pose3d_jax"] = sys.modules["flax"] = None
import jax, numpy as np
program = jax.export.deserialize(open(sys.argv[1], "rb").read())
given = np.load(sys.argv[2])
for name in ("one", "three"):
    result = program.call(given["images_" + name], given["boxes_" + name])
    np.savez(f"{sys.argv[3]}/{name}.npz", *result)
"""


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.from_checkpoint(small_checkpoint.directory(), compute="float32")


def test_the_file_predicts_alone_what_the_predictor_does(predictor, tmp_path):
    pytest.importorskip("flatbuffers")
    size = export(predictor, tmp_path / "pose.jaxexport")
    assert size == (tmp_path / "pose.jaxexport").stat().st_size
    given = {
        "one": (photo(50, 70)[None], np.float32([[5, 5, 30, 40]])),
        "three": (
            np.stack([photo(40, 40, seed) for seed in range(3)]),
            np.float32([[0, 0, 40, 40], [-10, 3.5, 40, 20], [30, 30, 20, 20]]),
        ),
    }
    arrays = {f"images_{k}": v[0] for k, v in given.items()}
    arrays |= {f"boxes_{k}": v[1] for k, v in given.items()}
    np.savez(tmp_path / "given.npz", **arrays)
    words = [tmp_path / "pose.jaxexport", tmp_path / "given.npz", tmp_path]
    subprocess.run([sys.executable, "-c", READER, *map(str, words)], check=True)
    for name, (images, boxes) in given.items():
        with np.load(tmp_path / f"{name}.npz") as result:
            assert_same(list(result.values()), predictor(images, boxes))


def test_the_onnx_file_predicts_what_the_predictor_does(predictor, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("jax2onnx")
    main(["export", str(small_checkpoint.directory()), str(tmp_path / "pose.onnx")])
    session = onnxruntime.InferenceSession(tmp_path / "pose.onnx")
    for count in (1, 3):
        crops = np.stack([photo(SIDE, SIDE, seed) for seed in range(count)])
        assert_same(session.run(None, {"crops": crops}), predictor(crops))


def test_a_crops_program_is_the_boxes_program_on_crops(predictor):
    """Of which the ONNX file is made: tested without ONNX as well."""
    crops = np.stack([photo(SIDE, SIDE, seed) for seed in range(3)])
    assert_same(jax.jit(make_crop_program(predictor))(crops), predictor(crops))


@pytest.mark.parametrize("write", [export, export_onnx])
def test_a_place_that_cannot_be_written_is_a_sentence(predictor, tmp_path, write):
    with pytest.raises(UserError, match="no directory"):
        write(predictor, tmp_path / "absent" / "pose")
    with pytest.raises(UserError, match="is a directory"):
        write(predictor, tmp_path)


def test_a_disk_that_fails_leaves_the_file_that_was_there(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "pose.jaxexport"
    path.write_bytes(b"before")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        one_file._write(path, b"after")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"before"


def test_a_missing_converter_is_a_sentence(predictor, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(UserError, match=r"pose3d_jax\[onnx\]"):
        export_onnx(predictor, tmp_path / "pose.onnx")
    assert not list(tmp_path.iterdir())
