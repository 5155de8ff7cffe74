"""A trained network as one safetensors file: arrays, and as metadata its config and a SHA-256.

Arrays of two or more dimensions are stored in half precision. It rounds a weight by at most 2⁻¹¹
of its value, and by at most 2⁻²⁵ where the weight is smaller than 2⁻¹⁴. Biases and the numbers of
batch normalisation stay float32. The file contains no code, and equal networks give equal files.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np
import safetensors
from safetensors.numpy import save

from pose3d_jax.errors import UserError
from pose3d_jax.files import atomic_write, check_can_write
from pose3d_jax.presets.checks import check_values, complete
from pose3d_jax.untrusted import check_file, reason

SUFFIX = ".safetensors"
#: The only metadata entry: the library writes several in any order.
_ENTRY = "pose3d_jax"


def write_packed(
    path: str | os.PathLike, config: ml_collections.ConfigDict, arrays: Mapping[str, np.ndarray]
) -> int:
    """Writes a network atomically.

    Args:
        path: of the file.
        config: that the network was trained with.
        arrays: parameters and statistics by name, float32.

    Returns:
        The file's size in bytes.

    Raises:
        UserError: the directory does not exist, or the path is a directory.
    """
    path = Path(path)
    check_writable(path)
    stored = {name: _halved(np.asarray(array)) for name, array in arrays.items()}
    tree = json.loads(config.to_json_best_effort())
    text = json.dumps({"config": tree, "sha256": _digest(tree, stored)}, sort_keys=True)
    data = save(stored, metadata={_ENTRY: text})
    with atomic_write(path) as file:
        file.write(data)
    return len(data)


def check_writable(path: Path) -> None:
    """Checks that a path can name a new file.

    Raises:
        UserError: its directory does not exist or cannot be written, or it is a directory.
    """
    if not path.parent.is_dir():
        raise UserError(f"There is no directory {path.parent}.")
    if path.is_dir():
        raise UserError(f"{path} is a directory; name a file.")
    check_can_write(path.parent)


def read_packed(path: str | os.PathLike) -> tuple[ml_collections.ConfigDict, dict[str, np.ndarray]]:
    """Reads a file of `write_packed`.

    Returns:
        The config, and parameters and statistics by name, float32.

    Raises:
        UserError: the file does not exist, is damaged, or is of another program.
    """
    check_file(path)
    try:
        with safetensors.safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # The library's own, or NumPy's for types that NumPy lacks.
        raise UserError(f"{path} is damaged, or no safetensors file: {reason(error)}.") from error
    if _ENTRY not in metadata:
        raise UserError(
            f"{path} is a safetensors file of another program. Write one with "
            "`python -m pose3d_jax.export STAGE_DIR FILE.safetensors`."
        )
    try:
        text = json.loads(metadata[_ENTRY])
        tree, expected = text["config"], text["sha256"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is damaged: its config cannot be read.") from error
    if _digest(tree, stored) != expected:
        raise UserError(f"{path} is damaged: its SHA-256 differs from the recorded one.")
    try:  # A hostile file can have a valid SHA-256.
        check_values(tree)
        config = ml_collections.ConfigDict(complete(tree))
        arrays = {name: np.asarray(array, np.float32) for name, array in stored.items()}
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path} cannot be used: {reason(error)}.") from error
    return config, arrays


def _halved(array: np.ndarray) -> np.ndarray:
    """Converts a matrix or kernel to half precision, if all values are in its range."""
    if array.ndim < 2 or np.abs(array).max(initial=0.0) > np.finfo(np.float16).max:
        return array
    return array.astype(np.float16)


def _digest(tree: Any, arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of a config, and of arrays with their names, types and shapes."""
    digest = hashlib.sha256(json.dumps(tree, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()
