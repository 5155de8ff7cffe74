"""A trained network as one safetensors file: arrays, and as text its config and their SHA-256.

What has two dimensions or more is kept in half precision, which moves a weight by at most a
2,048th of itself; biases and batch normalisation's numbers stay float32. Such a file is half a
megabyte per 250,000 parameters, holds nothing that runs, and is the same bytes whenever the same
network is written.
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

from pose3d_jax import config_values
from pose3d_jax.errors import UserError
from pose3d_jax.files import written_whole
from pose3d_jax.untrusted import check_file, reason

SUFFIX = ".safetensors"
#: The one entry of the file's metadata, whose order would otherwise be the library's choice.
_ENTRY = "pose3d_jax"


def write_weights(
    path: str | os.PathLike, config: ml_collections.ConfigDict, arrays: Mapping[str, np.ndarray]
) -> int:
    """Writes a network, whole or not at all.

    Args:
        path: of the file.
        config: that made the network.
        arrays: parameters and statistics by name, float32.

    Returns:
        The file's size in bytes.

    Raises:
        UserError: its directory does not exist, or it is a directory itself.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise UserError(f"There is no directory {path.parent}.")
    if path.is_dir():
        raise UserError(f"{path} is a directory; name a file.")
    stored = {name: _halved(np.asarray(array)) for name, array in arrays.items()}
    tree = json.loads(config.to_json_best_effort())
    text = json.dumps({"config": tree, "sha256": _digest(tree, stored)}, sort_keys=True)
    data = save(stored, metadata={_ENTRY: text})
    with written_whole(path) as file:
        file.write(data)
    return len(data)


def read_weights(
    path: str | os.PathLike,
) -> tuple[ml_collections.ConfigDict, dict[str, np.ndarray]]:
    """Reads what `write_weights` wrote.

    Returns:
        The config, and the parameters and statistics by name, float32.

    Raises:
        UserError: there is no such file, it is damaged, or it holds something else.
    """
    check_file(path)
    try:
        with safetensors.safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # The library's own, or NumPy's of types that it has not.
        raise UserError(f"{path} is damaged, or no safetensors file: {reason(error)}.") from error
    if _ENTRY not in metadata:
        raise UserError(
            f"{path} holds tensors of another program; a network's file is made by "
            "`python -m pose3d_jax.export STAGE_DIR FILE.safetensors`."
        )
    try:
        text = json.loads(metadata[_ENTRY])
        tree, expected = text["config"], text["sha256"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is damaged: its config cannot be read.") from error
    if _digest(tree, stored) != expected:
        raise UserError(f"{path} is damaged: its contents do not have the SHA-256 that it names.")
    try:  # Whoever made the file made its SHA-256, too.
        config_values.check(tree)
        config = ml_collections.ConfigDict(tree)
        arrays = {name: np.asarray(array, np.float32) for name, array in stored.items()}
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path} cannot be used: {reason(error)}.") from error
    return config, arrays


def _halved(array: np.ndarray) -> np.ndarray:
    """In half precision, where that is only a matter of precision."""
    if array.ndim < 2 or np.abs(array).max(initial=0.0) > np.finfo(np.float16).max:
        return array
    return array.astype(np.float16)


def _digest(tree: Any, arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of a config and of arrays with their names, types and shapes."""
    digest = hashlib.sha256(json.dumps(tree, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()
