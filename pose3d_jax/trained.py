"""Which trained network does a checkpoint argument mean?

- A name, `open`: a network of this package, from `pose3d_jax/weights`.
- A file that ends in `.safetensors`: what `pose3d_jax.export` has packed.
- Anything else: the directory of a stage, trained or converted.

A name comes first, wherever the program runs; a directory of the same name is `./open`.
"""

import os
from pathlib import Path
from typing import NamedTuple

import ml_collections
from flax import nnx

from pose3d_jax.errors import UserError
from pose3d_jax.interop.weight_files import SUFFIX, read_weights, write_weights
from pose3d_jax.models.variables import Variables, abstract_network, flatten, unflatten
from pose3d_jax.stages import get_stage
from pose3d_jax.untrusted import reason

#: The network of all commands that are not told another.
DEFAULT = "open"
#: Of the package's networks; README.md there says how each was made, and what it can do.
WEIGHTS = Path(__file__).parent / "weights"


class TrainedNetwork(NamedTuple):
    """A trained network with the config that made it.

    Attributes:
        config: of the stage, and of those before it.
        graphdef: structure of the network.
        variables: parameters and statistics.
        with_depth: whether its last stage trained the depth module.
    """

    config: ml_collections.ConfigDict
    graphdef: nnx.GraphDef
    variables: Variables
    with_depth: bool


def names() -> list[str]:
    """The networks of this package."""
    return sorted(path.stem for path in WEIGHTS.glob(f"*{SUFFIX}"))


def load(checkpoint: str | os.PathLike, *, compute: str | None = None) -> TrainedNetwork:
    """Loads what a checkpoint argument means; see the module.

    Args:
        checkpoint: a name, a packed file, or a stage's directory, whose newest checkpoint counts.
        compute: type of the arithmetic, "float32" or "bfloat16"; by default that of training.

    Raises:
        UserError: there is no such network, or it is damaged.
    """
    text = os.fspath(checkpoint)
    if text in names():
        return _load_file(WEIGHTS / f"{text}{SUFFIX}", compute)
    if text.endswith(SUFFIX):
        return _load_file(Path(text), compute)
    return _load_stage(Path(text), compute)


def load_named(name: str, *, compute: str | None = None) -> TrainedNetwork:
    """Loads a network of this package, as `load`.

    Raises:
        UserError: the package has none of that name, or its file is damaged.
    """
    if name not in names():
        raise UserError(f"There is no network {name!r} in this package; {_have()}.")
    return load(name, compute=compute)


def pack(checkpoint: str | os.PathLike, path: str | os.PathLike) -> int:
    """Writes a network as one `.safetensors` file, which `load` takes.

    Returns:
        The file's size in bytes.

    Raises:
        UserError: there is no such network, or the file cannot be written there.
    """
    trained = load(checkpoint)
    return write_weights(path, trained.config, flatten(trained.variables))


def results_place(checkpoint: str | os.PathLike) -> Path:
    """Where results of a network go by default: a stage's directory, or one below `runs`."""
    text = os.fspath(checkpoint)
    if text in names() or text.endswith(SUFFIX):
        return Path("runs", Path(text).stem)
    return Path(text)


def _load_file(path: Path, compute: str | None) -> TrainedNetwork:
    config, arrays = read_weights(path)
    try:
        # Before the network is built, which takes as long as the config says.
        if _fewest_arrays(config.model) > len(arrays):
            raise ValueError("its config describes more layers than it has tensors")
        graphdef, shapes = _structure(config, compute)
        found = TrainedNetwork(config, graphdef, unflatten(arrays, shapes), _with_depth(config))
        _ = config.data.bone_length_sum
    except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise UserError(f"{path} cannot be used: {reason(error)}.") from error
    return found


def _fewest_arrays(model: ml_collections.ConfigDict) -> int:
    """Fewer arrays than a network has: one for each residual module of hourglasses and depth."""
    per_stack = sum(model.get("level_modules") or ()) or (
        model.get("modules", 1) * model.get("levels", 1)
    )
    depth = model.get("depth_levels", 1) * model.get("depth_modules", 1)
    return model.get("stacks", 1) * per_stack + depth


def _load_stage(directory: Path, compute: str | None) -> TrainedNetwork:
    # Orbax takes long to import, and nothing else here needs it.
    from pose3d_jax.training.checkpoints import restore_network
    from pose3d_jax.training.directory import read_config

    if not directory.exists():
        raise UserError(
            f"{directory} is no stage of a run: there is no such directory, and no network of "
            f"that name in this package ({_have()})."
        )
    config = read_config(directory)
    graphdef, shapes = _structure(config, compute)
    variables = restore_network(directory, shapes)
    return TrainedNetwork(config, graphdef, variables, _with_depth(config))


def _with_depth(config: ml_collections.ConfigDict) -> bool:
    """Whether the last stage of a stage's config trains the depth module."""
    return get_stage(config, len(config.stages)).with_depth


def _structure(
    config: ml_collections.ConfigDict, compute: str | None
) -> tuple[nnx.GraphDef, Variables]:
    if compute not in (None, "float32", "bfloat16"):
        raise UserError(f"compute must be float32 or bfloat16, and is {compute!r}.")
    if compute:
        config.precision.compute = compute
    return abstract_network(config)


def _have() -> str:
    return f"it has {', '.join(names()) or 'none'}"
