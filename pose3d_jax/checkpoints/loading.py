"""Loads a trained network by name, from a packed file, or from a stage directory.

A checkpoint argument is one of:

- the name of a bundled network, such as `open`: a file in `pose3d_jax/weights`;
- a path that ends in `.safetensors`: a file written by `pose3d_jax.export`;
- any other path: the directory of a stage, trained or converted.

Names take precedence over directories of the same name; `./open` is a directory.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import ml_collections
from flax import nnx

from pose3d_jax.checkpoints.packed import SUFFIX, read_packed
from pose3d_jax.errors import UserError
from pose3d_jax.models import precision
from pose3d_jax.models.variables import Variables, abstract_network, unflatten
from pose3d_jax.stages import get_stage
from pose3d_jax.untrusted import reason

#: Default network of all commands.
DEFAULT = "open"
#: Directory of the bundled networks; its README.md is their model card.
WEIGHTS = Path(__file__).parent.parent / "weights"


class TrainedNetwork(NamedTuple):
    """A trained network and the config that it was trained with."""

    config: ml_collections.ConfigDict  # of the network's last stage and the stages before it
    graphdef: nnx.GraphDef  # structure of the network
    variables: Variables  # parameters and statistics
    with_depth: bool  # whether the last stage trained the depth module


def bundled_names() -> list[str]:
    """Names of the bundled networks."""
    return sorted(path.stem for path in WEIGHTS.glob(f"*{SUFFIX}"))


def bundled_file(name: str) -> Path:
    """The file of a bundled network.

    Raises:
        UserError: no bundled network has this name.
    """
    if name not in bundled_names():
        raise UserError(f"There is no bundled network {name!r}; {_available()}.")
    return WEIGHTS / f"{name}{SUFFIX}"


def load(checkpoint: str | os.PathLike, *, compute: str | None = None) -> TrainedNetwork:
    """Loads a trained network; the module lists what `checkpoint` can be.

    Args:
        checkpoint: a name, a packed file, or a stage directory (its newest checkpoint).
        compute: type of the arithmetic: "float32", "bfloat16", "auto" (`models.precision`), or None
            for that of training. The config of the result has the resolved type.

    Raises:
        UserError: there is no such network, or it is damaged.
    """
    if compute not in (None, *precision.COMPUTE):
        raise UserError(f"compute is {compute!r}, and must be auto, float32 or bfloat16.")
    text = os.fspath(checkpoint)
    if text in bundled_names():
        return _load_packed(bundled_file(text), compute)
    path = Path(text).expanduser()
    return (_load_packed if text.endswith(SUFFIX) else _load_stage)(path, compute)


def passes(
    config: ml_collections.ConfigDict,
    flip: bool | None = None,
    scales: Sequence[float] | None = None,
) -> tuple[bool, tuple[float, ...]]:
    """The passes that a network's predictions average: mirror images too, and crops of some scales.

    Args:
        config: of the network. Its section `passes`, where it has one, holds the defaults; without
            it, each person is predicted once.
        flip: also the mirror images; None for the default.
        scales: crops this many times as large; None for the default.
    """
    default = config.get("passes") or {}
    flip = default.get("flip", False) if flip is None else flip
    scales = default.get("scales", (1.0,)) if scales is None else scales
    return flip, tuple(scales)


def results_directory(checkpoint: str | os.PathLike) -> Path:
    """Default directory for results: the stage directory, or `runs/NAME` for a file or a name."""
    text = os.fspath(checkpoint)
    if text in bundled_names() or text.endswith(SUFFIX):
        return Path("runs", Path(text).stem)
    return Path(text).expanduser()


def _load_packed(path: Path, compute: str | None) -> TrainedNetwork:
    config, arrays = read_packed(path)
    try:
        # Checked first: the time to build a network grows with the sizes in its config.
        if _fewest_arrays(config.model) > len(arrays):
            raise ValueError("its config describes more layers than it has tensors")
        _ = config.data.bone_length_sum
        return _assemble(config, compute, lambda shapes: unflatten(arrays, shapes))
    except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise UserError(f"{path} cannot be used: {reason(error)}.") from error


def _fewest_arrays(model: ml_collections.ConfigDict) -> int:
    """A lower bound of a network's number of arrays: its residual modules, except the stem's."""
    per_stack = sum(model.get("level_modules") or ()) or (
        model.get("modules", 1) * model.get("levels", 1)
    )
    depth = model.get("depth_levels", 1) * model.get("depth_modules", 1)
    return model.get("stacks", 1) * per_stack + depth


def _load_stage(directory: Path, compute: str | None) -> TrainedNetwork:
    # Imported here because Orbax is an extra, and slow to import.
    from pose3d_jax.checkpoints.stage import restore_variables
    from pose3d_jax.training.directory import read_config

    if not directory.exists():
        raise UserError(
            f"{directory} is no stage of a run: there is no such directory, and no bundled network "
            f"of that name ({_available()})."
        )
    config = read_config(directory)
    return _assemble(config, compute, lambda shapes: restore_variables(directory, shapes))


def _assemble(
    config: ml_collections.ConfigDict,
    compute: str | None,
    restore: Callable[[Variables], Variables],
) -> TrainedNetwork:
    """A network of a config, with another type of arithmetic if one is given."""
    config = ml_collections.ConfigDict(config.to_dict())
    if compute:
        config.precision.compute = precision.resolve(compute)
    graphdef, shapes = abstract_network(config)
    with_depth = get_stage(config, len(config.stages)).with_depth
    return TrainedNetwork(config, graphdef, restore(shapes), with_depth)


def _available() -> str:
    return f"bundled networks: {', '.join(bundled_names()) or 'none'}"
