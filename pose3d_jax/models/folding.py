"""Batch normalisation folded into the layers beside it, for prediction.

In evaluation mode batch normalisation is one scale and one shift per channel. Where its input is
the output of a single convolution, scale and shift go into that convolution's kernel and bias. The
normalisation at the start of a residual module reads a sum that the skip connection also needs; it
becomes a plain scale and shift. Outputs are equal up to rounding, and no statistics remain.
"""

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float

from pose3d_jax.models.layers import NormRelu, ScaleShift
from pose3d_jax.models.network import ConvStem, Stack
from pose3d_jax.models.residual import Residual
from pose3d_jax.models.variables import Variables, split


def fold(graphdef: nnx.GraphDef, variables: Variables) -> tuple[nnx.GraphDef, Variables]:
    """Removes batch normalisation from a network in evaluation mode.

    Args:
        graphdef: structure of the network; one that is folded already is returned unchanged.
        variables: parameters and running statistics; arrays, not tracers.

    Returns:
        A structure without batch normalisation, and its variables (NumPy arrays, no statistics).
    """
    model = nnx.merge(graphdef, *jax.tree.map(np.asarray, variables), copy=True)
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
    return split(model)


def _fold_into(layer: nnx.Conv | nnx.Linear, norm: NormRelu) -> None:
    """Moves a normalisation into the layer before it, whose output nothing else reads."""
    if norm.norm is None:
        return
    scale, shift = _scale_and_shift(norm.norm)
    layer.kernel.set_value(np.float32(layer.kernel[...] * scale))
    layer.bias.set_value(np.float32(layer.bias[...] * scale + shift))
    norm.norm = None


def _simplify(norm: NormRelu) -> None:
    """Replaces a normalisation by a scale and a shift."""
    if isinstance(norm.norm, ScaleShift):
        return
    scale, shift = _scale_and_shift(norm.norm)
    norm.norm = ScaleShift(np.float32(scale), np.float32(shift), dtype=norm.norm.dtype)


def _scale_and_shift(norm: nnx.BatchNorm) -> tuple[Float[np.ndarray, "c"], Float[np.ndarray, "c"]]:
    """Scale and shift per channel that equal the normalisation in evaluation mode, float64."""
    scale, bias, mean, var = (
        np.asarray(variable[...], np.float64)
        for variable in (norm.scale, norm.bias, norm.mean, norm.var)
    )
    scale = scale / np.sqrt(var + norm.epsilon)
    return scale, bias - mean * scale
