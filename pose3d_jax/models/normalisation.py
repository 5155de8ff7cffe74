"""Batch normalisation and ReLU with few passes over memory.

On accelerators, memory traffic bounds a training step of this network, not arithmetic. The gradient
below stores only the input, in its own precision, and computes the normalised values from it again;
the compiler fuses that into the convolutions before and after.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pose3d_jax.arrays import AnyArray

#: PyTorch's default, which the release was trained with.
EPSILON = 1e-5


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalise_relu(
    x: Float[AnyArray, "*b c"],
    scale: Float[AnyArray, "c"],
    bias: Float[AnyArray, "c"],
    axis_name: str | None,
) -> tuple[Float[Array, "*b c"], Float[Array, "c"], Float[Array, "c"]]:
    """Normalises with the batch's statistics, then ReLU.

    Args:
        x: features. All else is computed in float32, or finer where `x` is.
        scale: deviation of each channel's result.
        bias: mean of each channel's result.
        axis_name: the `pmap` axis over which statistics are averaged, or None.

    Returns:
        The result, in the precision of `x`; and each channel's mean and biased variance in `x`,
        through which no gradient passes.
    """
    return _forward(x, scale, bias, axis_name)[0]


def _forward(x, scale, bias, axis_name):
    wide = widen(x)
    mean, square = over_devices(_channel_means(wide, wide * wide), axis_name)
    variance = jnp.maximum(square - mean * mean, 0.0)
    inverse = jax.lax.rsqrt(variance + EPSILON)
    result = jax.nn.relu((wide - mean) * (inverse * scale) + bias).astype(x.dtype)
    return (result, mean, variance), (x, mean, inverse, scale, bias)


def _backward(axis_name, kept, gradients):
    x, mean, inverse, scale, bias = kept
    normalised = (widen(x) - mean) * inverse
    gradient = jnp.where(normalised * scale + bias > 0, widen(gradients[0]), 0.0)
    own = _channel_means(gradient, gradient * normalised)
    of_shift, of_size = over_devices(own, axis_name)
    of_x = inverse * scale * (gradient - of_shift - normalised * of_size)
    of_bias, of_scale = own * (x.size // x.shape[-1])
    return of_x.astype(x.dtype), of_scale, of_bias


normalise_relu.defvjp(_forward, _backward)


def widen(x: Float[AnyArray, "*b c"]) -> Float[Array, "*b c"]:
    """The same in float32, or finer where `x` is."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _channel_means(*arrays: Float[Array, "*b c"]) -> Float[Array, "n c"]:
    return jnp.stack([jnp.mean(x, axis=range(x.ndim - 1)) for x in arrays])


def over_devices(means: Float[Array, "n c"], axis_name: str | None) -> Float[Array, "n c"]:
    """The means over the devices of a `pmap` axis; the same where there is none."""
    return means if axis_name is None else jax.lax.pmean(means, axis_name)
