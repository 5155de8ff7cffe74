"""A network as one self-contained file: StableHLO or ONNX."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from pose3d_jax import geometry
from pose3d_jax.checkpoints.packed import check_writable
from pose3d_jax.errors import UserError
from pose3d_jax.files import atomic_write
from pose3d_jax.models.inference import predict
from pose3d_jax.prediction.predictor import Predictor

PLATFORMS = ("cpu", "cuda", "tpu")


def make_program(predictor: Predictor) -> Callable[[Array, Array], tuple[Array, Array, Array]]:
    """Prediction as a pure function of images and boxes (x, y, width, height, px).

    The parameters are constants of the function. It returns joints in px of the images and in mm,
    and their confidence.
    """

    def predict_one(image: UInt8[Array, "h w 3"], box: Float[Array, "4"]):
        extent = jnp.maximum(box[2], box[3])
        centre = box[:2] + box[2:] / 2
        square = jnp.concatenate([centre, extent[None]])
        joints, millimetres, confidence = _predict(predictor, image[None], square[None])
        in_image = centre - extent / 2 + joints[0] * (extent / predictor.input_side)
        return in_image, millimetres[0], confidence[0]

    return jax.vmap(predict_one)


def make_crop_program(predictor: Predictor) -> Callable[[Array], tuple[Array, Array, Array]]:
    """The same as a function of crops of the network's input size, with joints in crop px."""
    return lambda crops: _predict(predictor, crops)


def _predict(predictor: Predictor, images: Array, squares: Array | None = None):
    joints, confidence, depth = predict(predictor.graphdef, predictor.variables, images, squares)
    millimetres = geometry.to_millimetres(
        joints, depth, predictor.input_side, predictor.bone_length_sum
    )
    return joints, millimetres, confidence


def export(predictor: Predictor, path: str | os.PathLike) -> int:
    """Writes the function of images and boxes as a StableHLO program.

    Args:
        predictor: with the network.
        path: of the file.

    Returns:
        The file's size in bytes.

    Raises:
        UserError: the directory does not exist, or flatbuffers is not installed.
    """
    path = Path(path)
    check_writable(path)
    count, height, width = jax.export.symbolic_shape("n, height, width")
    images = jax.ShapeDtypeStruct((count, height, width, 3), jnp.uint8)
    boxes = jax.ShapeDtypeStruct((count, 4), jnp.float32)
    program = jax.jit(make_program(predictor))
    exported = jax.export.export(program, platforms=PLATFORMS)(images, boxes)
    try:
        data = exported.serialize()
    except ImportError as error:
        raise UserError("Exporting needs flatbuffers: pip install 'pose3d_jax[export]'.") from error
    return _write(path, data)


def export_onnx(predictor: Predictor, path: str | os.PathLike) -> int:
    """Writes the function of crops as an ONNX model.

    Args:
        predictor: with a network that computes in float32.
        path: of the file.

    Returns:
        The file's size in bytes.

    Raises:
        UserError: the directory does not exist, or jax2onnx is not installed.
    """
    path = Path(path)
    check_writable(path)
    for converter in ("jax2onnx", "onnx_ir"):
        # Their warnings are about optional passes, and shapes that ONNX Runtime infers.
        logging.getLogger(converter).setLevel(logging.ERROR)
    try:
        from jax2onnx import to_onnx
    except (AttributeError, ImportError) as error:  # AttributeError with jax 0.12.
        raise UserError(
            "ONNX needs jax2onnx and jax below 0.12: pip install 'pose3d_jax[onnx]'."
        ) from error
    side = predictor.input_side
    model = to_onnx(
        make_crop_program(predictor),
        [jax.ShapeDtypeStruct(("n", side, side, 3), jnp.uint8)],
        model_name="pose3d_jax",
        input_names=["crops"],
        output_names=["joints_2d", "joints_3d", "scores"],
    )
    return _write(path, model.SerializeToString())


def _write(path: Path, data: bytes | bytearray) -> int:
    """Writes a file atomically; returns its size."""
    with atomic_write(path) as file:
        file.write(data)
    return len(data)
