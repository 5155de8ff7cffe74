"""A network made for prediction: batch normalisation folded, kernels transformed beforehand.

In evaluation mode a norm is one scale and one shift per channel. Where its input is the output of
one convolution alone, they go into that convolution's kernel and bias; the norm that begins a
residual module sees a sum, which the skip needs as it is, and becomes a plain scale and shift. The
outputs are the same up to rounding, and there are no statistics left.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from pose3d_jax.models import winograd
from pose3d_jax.models.layers import Conv3x3, NormRelu, ScaleShift
from pose3d_jax.models.network import ConvStem, PoseNetwork, Stack
from pose3d_jax.models.residual import Residual
from pose3d_jax.models.variables import Network


def fold(network: Network) -> Network:
    """The network of evaluation mode without batch normalisation.

    Args:
        network: structure, parameters and running statistics; arrays, not tracers. One that is
            folded already stays as it is.

    Returns:
        A structure without norms, its parameters (NumPy's), and no statistics.
    """
    params, stats = jax.tree.map(np.asarray, (network.params, network.stats))
    model = nnx.merge(network.graphdef, params, stats, copy=True)
    for _, module in nnx.iter_modules(model):
        match module:
            case Residual():
                _fold_into(module.conv1, module.norm2)
                _fold_into(module.conv2, module.norm3)
                _simplify(module.norm1)
            case ConvStem():
                _fold_into(module.conv, module.norm)
            case Stack():
                _fold_into(module.linear, module.norm)
    return Network(*nnx.split(model, nnx.Param, nnx.BatchStat))


def transform_kernels(network: Network) -> Network:
    """The network with kernels as Winograd's method multiplies with them, where a CPU would use it.

    Otherwise each call transforms them, which takes a tenth of the time for one image. Transformed,
    they are four times as large. Only for CPUs: other platforms do not use Winograd's method.

    Args:
        network: folded.
    """
    model = nnx.merge(*network, copy=True)
    found = _where_winograd_pays(network)
    for path, module in nnx.iter_modules(model):
        if path in found:
            kernel = np.asarray(module.kernel[...])
            module.transformed = nnx.data(nnx.Param(np.asarray(winograd.transform(kernel))))
            module.kernel = None
    return Network(*nnx.split(model, nnx.Param, nnx.BatchStat))


def _where_winograd_pays(network: Network) -> set[tuple]:
    """Paths of the convolutions whose inputs are large enough."""
    found = set()

    def note(path: tuple, x: Float[Array, "b h w in"]) -> bool:
        if winograd.pays(x):
            found.add(path)
        return False

    def trace(params: nnx.State) -> None:
        model: PoseNetwork = nnx.merge(network.graphdef, params, network.stats, copy=True)
        model.eval()
        for path, module in nnx.iter_modules(model):
            if isinstance(module, Conv3x3):
                module.pays = functools.partial(note, path)
        model(jnp.zeros((1, model.input_side, model.input_side, 3)))

    jax.eval_shape(trace, network.params)
    return found


def _fold_into(layer: nnx.Conv | nnx.Linear, norm: NormRelu) -> None:
    """Moves a norm into the layer whose output it alone reads."""
    if norm.norm is None:
        return
    scale, shift = _scale_and_shift(norm.norm)
    layer.kernel.set_value(np.float32(layer.kernel[...] * scale))
    layer.bias.set_value(np.float32(layer.bias[...] * scale + shift))
    norm.norm = None


def _simplify(norm: NormRelu) -> None:
    """Turns a norm into a scale and a shift."""
    if isinstance(norm.norm, ScaleShift):
        return
    scale, shift = _scale_and_shift(norm.norm)
    norm.norm = ScaleShift(np.float32(scale), np.float32(shift), dtype=norm.norm.dtype)


def _scale_and_shift(
    norm: nnx.BatchNorm,
) -> tuple[Float[np.ndarray, "c"], Float[np.ndarray, "c"]]:
    """What a norm does to each channel in evaluation mode, in float64."""
    scale, bias, mean, var = (
        np.asarray(variable[...], np.float64)
        for variable in (norm.scale, norm.bias, norm.mean, norm.var)
    )
    scale = scale / np.sqrt(var + norm.epsilon)
    return scale, bias - mean * scale
