"""Conversion of the authors' PyTorch networks: names, layouts and input range of their layers."""

import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import ml_collections
import numpy as np

from pose3d_jax import presets
from pose3d_jax.checkpoints.stage import StageCheckpoints
from pose3d_jax.errors import UserError
from pose3d_jax.files import check_can_write
from pose3d_jax.interop.torch_files import read_tensors
from pose3d_jax.models.network import STRIDE
from pose3d_jax.models.variables import abstract_network, unflatten
from pose3d_jax.skeleton import HUMAN36M_BONE_LENGTH_SUM
from pose3d_jax.stages import get_stage
from pose3d_jax.training.directory import claim_directory
from pose3d_jax.training.state import initial_state, make_optimizer
from pose3d_jax.untrusted import reason

Arrays = Mapping[str, np.ndarray]

#: Input side of the release, px; the weights do not determine it.
INPUT_SIDE = 256
#: The release divides pixels by 256, this package by 255.
VALUE_RANGE = 255.0 / 256.0
STAGE = 3
#: A tensor of every network of the paper.
LANDMARK = "conv1_.weight"


class Layer(NamedTuple):
    """A layer's names."""

    theirs: str  # name in the PyTorch file
    ours: str  # name in a checkpoint
    kind: str  # "conv", "linear" (their 1×1 convolution), "norm" or "flat" (after flattening)


def convert(weights: str | os.PathLike, directory: str | os.PathLike) -> None:
    """Writes a stage directory with the weights of a PyTorch file.

    Args:
        weights: a pickled model or a state dict, in either container (`torch_files`).
        directory: a new stage directory; it appears when it is complete.

    Raises:
        UserError: the file is refused or of another network, or the directory exists or cannot be
            written.
    """
    directory = Path(directory)
    if directory.exists():
        raise UserError(f"{directory} exists already; name a new directory.")
    check_can_write(directory.parent)
    tensors = read_tensors(weights, LANDMARK)
    try:
        config = make_config(tensors)
        # Checked before the network is built: names can request any size.
        arrays = to_arrays(tensors, config)
    except (LookupError, ValueError, ArithmeticError) as error:
        why = reason(error)
        why = f"it has no {why}" if isinstance(error, LookupError) else why
        raise UserError(f"{weights} is of another network than the paper's: {why}.") from error
    _, shapes = abstract_network(config)
    state = initial_state(
        unflatten(arrays, shapes), make_optimizer(config, get_stage(config, STAGE))
    )
    state = state._replace(step=np.int32(config.stages[f"stage{STAGE}"].steps))

    partial = directory.with_name(f".{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        claim_directory(partial, config, STAGE)
        with StageCheckpoints(partial) as checkpoints:
            checkpoints.save(int(state.step), state)
        partial.rename(directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def make_config(tensors: Arrays) -> ml_collections.ConfigDict:
    """The preset `paper` with the sizes of these weights.

    Raises:
        KeyError: a layer is missing.
        ValueError: sizes contradict each other.
    """
    config = presets.paper()
    config.preset = "paper"
    config.data.bone_length_sum = HUMAN36M_BONE_LENGTH_SUM
    features = tensors["lin_.0.0.weight"].shape[0]
    first = tensors["conv1_.weight"].shape[0]
    modules = _count(tensors, r"hourglass\.0\.up1_\.(\d+)\.")
    # Their linear layer has side² inputs per channel: a quarter of the input's side, halved
    # `depth_levels` times.
    pixels = tensors["reg.weight"].shape[1] / features
    depth_levels = round(math.log2(INPUT_SIDE / STRIDE / math.sqrt(pixels)))
    residuals = _count(tensors, r"reg_\.(\d+)\.")
    levels = 1 + max(name.count("low2.") for name in tensors)
    if levels > math.log2(INPUT_SIDE / STRIDE):
        raise ValueError(f"its hourglasses halve the resolution {levels} times")
    if depth_levels < 1:
        raise ValueError(f"its depth head has {pixels:g} pixels: it reduces nothing")
    if residuals % depth_levels:
        raise ValueError(f"{residuals} residual modules on {depth_levels} levels of the depth head")
    config.model.update(
        input_side=INPUT_SIDE,
        stacks=_count(tensors, r"hourglass\.(\d+)\."),
        modules=modules,
        levels=levels,
        features=features,
        depth_levels=depth_levels,
        depth_modules=residuals // depth_levels,
    )
    if 4 * first != features:
        config.model.stem_features = first
    return config


def _count(tensors: Arrays, pattern: str) -> int:
    """Number of indices in the names that match a pattern."""
    matches = (re.match(pattern, name) for name in tensors)
    indices = {int(match[1]) for match in matches if match}
    if not indices:
        raise KeyError(f"there is no {pattern}")
    return len(indices)


def to_arrays(tensors: Arrays, config: ml_collections.ConfigDict) -> dict[str, np.ndarray]:
    """Converts tensors to this package's names, layouts and input range.

    Raises:
        UserError: a tensor is missing or unexpected.
    """
    left = {name for name in tensors if not name.endswith("num_batches_tracked")}
    arrays, features = {}, config.model.features
    for layer in layers(config.model):
        parts = ("weight", "bias", *(("running_mean", "running_var") * (layer.kind == "norm")))
        names = {part: f"{layer.theirs}.{part}" for part in parts}
        missing = [name for name in names.values() if name not in tensors]
        if missing:
            raise UserError(f"These are not the weights of the paper's network: no {missing[0]}.")
        left -= set(names.values())
        own = {part: tensors[name] for part, name in names.items()}
        arrays |= _layer_arrays(layer, own, features)
    if left:
        raise UserError(
            f"These are not the weights of the paper's network: {min(left)} is unexpected."
        )
    kernel = arrays["params/stem/conv/kernel"]
    arrays["params/stem/conv/kernel"] = kernel[:, :, ::-1] * np.float32(VALUE_RANGE)
    return {f"{name}/value": np.array(array, np.float32) for name, array in arrays.items()}


def _layer_arrays(layer: Layer, tensors: Arrays, features: int) -> dict[str, np.ndarray]:
    params, weight = f"params/{layer.ours}", tensors["weight"]
    if layer.kind == "norm":
        stats = f"stats/{layer.ours}/norm"
        return {
            f"{params}/norm/scale": weight,
            f"{params}/norm/bias": tensors["bias"],
            f"{stats}/mean": tensors["running_mean"],
            f"{stats}/var": tensors["running_var"],
        }
    if layer.kind == "flat":
        # The release flattens (channels, height, width), this package (height, width, channels).
        kernel = weight.reshape(len(weight), features, -1).transpose(2, 1, 0)
        kernel = kernel.reshape(-1, len(weight))
    else:
        kernel = weight.transpose(2, 3, 1, 0)  # (out, in, height, width)
        if layer.kind == "linear":
            kernel = kernel[0, 0]
    return {f"{params}/kernel": kernel, f"{params}/bias": tensors["bias"]}


def layers(model: ml_collections.ConfigDict) -> Iterator[Layer]:
    """The layers of the network of a config's `model` section."""
    yield Layer("conv1_", "stem/conv", "conv")
    yield Layer("bn1", "stem/norm", "norm")
    half = (model.get("stem_features") or model.features // 4) * 2
    yield from _residual("r1", "stem/residual1", skip=True)
    yield from _residual("r4", "stem/residual2")
    yield from _residual("r5", "stem/residual3", skip=half != model.features)
    for s in range(model.stacks):
        ours = f"stacks/{s}"
        yield from _hourglass(f"hourglass.{s}", f"{ours}/hourglass", model.levels, model.modules)
        for i in range(model.modules):
            theirs = f"Residual.{s * model.modules + i}"
            yield from _residual(theirs, f"{ours}/residuals/layers/{i}")
        yield Layer(f"lin_.{s}.0", f"{ours}/linear", "linear")
        yield Layer(f"lin_.{s}.1", f"{ours}/norm", "norm")
        yield Layer(f"tmpOut.{s}", f"{ours}/heatmaps", "linear")
        yield Layer(f"ll_.{s}", f"{ours}/merge_features", "linear")
        yield Layer(f"tmpOut_.{s}", f"{ours}/merge_heatmaps", "linear")
    for i in range(model.depth_levels * model.depth_modules):
        level, place = divmod(i, model.depth_modules)
        yield from _residual(f"reg_.{i}", f"depth/stages/{level}/layers/{place}")
    yield Layer("reg", "depth/output", "flat")


def _hourglass(theirs: str, ours: str, levels: int, modules: int) -> Iterator[Layer]:
    places = {"up1_": "up", "low1_": "low_in", "low3_": "low_out"}
    if levels == 1:
        places["low2_"] = "inner"
    else:
        yield from _hourglass(f"{theirs}.low2", f"{ours}/inner", levels - 1, modules)
    for their_place, our_place in places.items():
        for i in range(modules):
            yield from _residual(f"{theirs}.{their_place}.{i}", f"{ours}/{our_place}/layers/{i}")


def _residual(theirs: str, ours: str, *, skip: bool = False) -> Iterator[Layer]:
    for number, kind in enumerate(("linear", "conv", "linear"), 1):
        # Their normalisations are bn, bn1 and bn2.
        yield Layer(f"{theirs}.bn{number - 1 or ''}", f"{ours}/norm{number}", "norm")
        yield Layer(f"{theirs}.conv{number}", f"{ours}/conv{number}", kind)
    if skip:
        yield Layer(f"{theirs}.conv4", f"{ours}/skip", "linear")
