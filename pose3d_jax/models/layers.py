"""The network's layers, with the paper's settings.

Parameters, statistics and their gradients are float32; `dtype` is the type of the arithmetic. With
bfloat16 some layers have a form for accelerators (`for_accelerators`). The forms were chosen by
measurement: `benchmarks/README.md`.
"""

import functools
import types
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from pose3d_jax.arrays import AnyArray
from pose3d_jax.models import onednn, precision
from pose3d_jax.models.normalisation import EPSILON, normalise_relu

#: Decay of the running statistics, as in the release (PyTorch's default, momentum 0.1). The running
#: variance is biased, as Flax's; PyTorch's is unbiased, which is 1 % more in the smallest layers at
#: the paper's batch size.
BATCH_NORM_MOMENTUM = 0.9


def for_onednn(dtype) -> bool:
    """Whether layers take the forms of `onednn`: bfloat16 on CPUs where oneDNN multiplies it."""
    return dtype == jnp.bfloat16 and precision.has_onednn()


def for_accelerators(dtype) -> bool:
    """Whether layers use the form with the least memory traffic on a TPU, not the CPU's fastest."""
    return dtype == jnp.bfloat16 and not for_onednn(dtype)


class Common(NamedTuple):
    """What all layers of a network share."""

    #: NNX's random streams, or a namespace whose `params` returns keys
    #: (`variables.abstract_network`).
    rngs: nnx.Rngs | types.SimpleNamespace
    dtype: Any = jnp.float32  # of the arithmetic
    #: `pmap` axis over which batch statistics are averaged; None for statistics of each device's
    #: own images.
    axis_name: str | None = None

    @property
    def wide(self) -> "Common":
        """The same with at least float32, for outputs."""
        return self._replace(dtype=jnp.promote_types(self.dtype, jnp.float32))


class RunningStatistic(nnx.BatchStat):
    """A statistic of `nnx.BatchNorm` that assignment replaces as a whole.

    A plain `BatchStat` reads the sharding of the new value. For a traced value JAX 0.10 then
    searches the whole trace: the paper's training step took 29 s to trace instead of 4 s.
    """

    def __setitem__(self, index, value):
        """Replaces the value; `nnx.BatchNorm` assigns to `[...]` only."""
        if index is not Ellipsis:
            raise IndexError("A running statistic can only be assigned to as a whole, with [...].")
        self.set_value(value)


class ScaleShift(nnx.Module):
    """A scale and a shift per channel, computed in float32: batch normalisation after `folding`.

    Args:
        scale: per channel.
        shift: per channel.
        dtype: of the result.
    """

    def __init__(self, scale: Float[AnyArray, "c"], shift: Float[AnyArray, "c"], *, dtype):
        self.scale, self.shift = nnx.Param(scale), nnx.Param(shift)
        self.dtype = dtype

    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        """Applies the layer in float32, and casts the result."""
        return (x * self.scale[...] + self.shift[...]).astype(self.dtype)


class NormRelu(nnx.Module):
    """Batch normalisation, then ReLU.

    `folding` replaces `norm` by a `ScaleShift`, or by None where the previous layer contains it.

    Args:
        features: channels.
        common: with the type of the result; statistics are always computed in float32.
    """

    def __init__(self, features: int, common: Common):
        self.norm = nnx.BatchNorm(
            features, epsilon=EPSILON, momentum=BATCH_NORM_MOMENTUM, **common._asdict()
        )
        self.norm.mean = RunningStatistic(self.norm.mean[...])
        self.norm.var = RunningStatistic(self.norm.var[...])

    def __call__(
        self, x: Float[Array, "*b c"], bias: Float[AnyArray, "c"] | None = None
    ) -> Float[Array, "*b c"]:
        """Normalises with the batch's statistics in training mode, else with the running ones.

        Args:
            x: features.
            bias: of the layer before, if that layer left it out. The batch's statistics cancel it;
                it moves the running mean alone.
        """
        norm = self.norm
        if norm is None or isinstance(norm, ScaleShift) or norm.use_running_average:
            x = x if bias is None else x + bias.astype(x.dtype)
            return nnx.relu(x if norm is None else norm(x))
        normalise = onednn.normalise_relu if for_onednn(x.dtype) else normalise_relu
        y, mean, variance = normalise(x, norm.scale[...], norm.bias[...], norm.axis_name)
        mean = mean if bias is None else mean + bias
        for running, new in zip((norm.mean, norm.var), (mean, variance), strict=True):
            running[...] = norm.momentum * running[...] + (1 - norm.momentum) * new
        return y


class Pointwise(nnx.Linear):
    """A 1×1 convolution as a product of two matrices.

    The pixels are flattened: XLA's CPU backend takes twice as long for the kernel's gradient as a
    contraction over three dimensions. On accelerators it is a convolution: a TPU would copy a
    flattened image into the layout of the 3×3 convolutions beside it.
    """

    def __init__(self, in_features: int, out_features: int, common: Common, **options):
        super().__init__(in_features, out_features, dtype=common.dtype, rngs=common.rngs, **options)

    def __call__(self, x: Float[Array, "b h w in"]) -> Float[Array, "b h w out"]:
        """Applies the layer."""
        if for_onednn(self.dtype):
            return onednn.pointwise(x.astype(self.dtype), self.kernel[...], self.bias[...])
        if for_accelerators(self.dtype):
            x, kernel, bias = self.promote_dtype(
                (x, self.kernel[...], self.bias[...]), dtype=self.dtype
            )
            return _convolve(x, kernel[None, None]) + bias
        y = super().__call__(x.reshape(-1, x.shape[-1]))
        return y.reshape(*x.shape[:-1], y.shape[-1])


class Conv3x3(nnx.Conv):
    """A 3×3 convolution that keeps the image's size."""

    def __init__(self, in_features: int, out_features: int, common: Common):
        super().__init__(
            in_features, out_features, kernel_size=(3, 3), dtype=common.dtype, rngs=common.rngs
        )


def _convolve(
    x: Float[Array, "b h w in"], kernel: Float[Array, "k k in out"]
) -> Float[Array, "b h w out"]:
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)


def max_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h/2 w/2 c"]:
    """2×2 max pooling as a maximum of four strided slices.

    On CPUs the gradient of XLA's pooling (select-and-scatter) is slow, that of `maximum` fast. TPUs
    pool in one pass, and would write the four slices to memory.
    """
    if for_onednn(x.dtype):
        return onednn.max_pool(x)
    if for_accelerators(x.dtype):
        return nnx.max_pool(x, (2, 2), strides=(2, 2))
    slices = (x[:, i::2, j::2] for i in (0, 1) for j in (0, 1))
    return functools.reduce(jnp.maximum, slices)


def upsample(x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w c"]:
    """Nearest-neighbour ×2 upsampling."""
    if for_onednn(x.dtype):
        return onednn.upsample(x)
    batch, height, width, channels = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None, :], (batch, height, 2, width, 2, channels))
    return x.reshape(batch, 2 * height, 2 * width, channels)
