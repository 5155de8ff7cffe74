"""bfloat16 layers for training on CPUs, with the gradients that are fast and right there.

oneDNN multiplies bfloat16 matrices two to fourteen times as fast as XLA multiplies float32 ones
(`precision`). Passes over memory then take most of a training step, so these forms make few:

- Each kernel gradient is one matrix product. Autodiff writes that of a 3×3 convolution as another
  convolution, which oneDNN computes wrongly on CPUs with AMX (jaxlib 0.12.0, relative error 1.1).
- Each sum over pixels is a pass of its own over bfloat16 values (`_reread`). XLA would otherwise
  write a float32 copy of them that several sums share.
- Values that several operations read are stored once, in bfloat16 (`stored`).

Sums, statistics, parameters and their gradients are float32. In float64 everything is float64:
tests compare the gradients with finite differences of the same arithmetic.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pose3d_jax.arrays import AnyArray
from pose3d_jax.models.normalisation import EPSILON, over_devices, widen

#: The same values, where several operations read them: values and gradients are computed once.
stored = jax.lax.optimization_barrier


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalise_relu(
    x: Float[AnyArray, "b h w c"],
    scale: Float[AnyArray, "c"],
    bias: Float[AnyArray, "c"],
    axis_name: str | None,
) -> tuple[Float[Array, "b h w c"], Float[Array, "c"], Float[Array, "c"]]:
    """Batch normalisation and ReLU: arguments and results of `normalisation.normalise_relu`."""
    return _normalise(x, scale, bias, axis_name)[0]


def _normalise(x, scale, bias, axis_name):
    pixels = _pixels(x)
    total = widen(_reread(pixels, scale)).sum(axis=0)
    squares = jnp.square(widen(_reread(pixels, total))).sum(axis=0)
    mean, square = over_devices(jnp.stack([total, squares]) / len(pixels), axis_name)
    variance = jnp.maximum(square - mean * mean, 0.0)
    inverse = jax.lax.rsqrt(variance + EPSILON)
    factor = inverse * scale
    y = jnp.maximum(widen(pixels) * factor + (bias - mean * factor), 0.0).astype(x.dtype)
    y = stored(y)
    return (y.reshape(x.shape), mean, variance), (pixels, y, mean, inverse, scale)


def _normalise_gradient(axis_name, kept, gradients):
    pixels, y, mean, inverse, scale = kept
    shape, gradient = gradients[0].shape, _pixels(gradients[0])
    gradient = stored(jnp.where(y > 0, gradient, jnp.zeros_like(gradient)))
    of_bias = widen(_reread(gradient, scale)).sum(axis=0)
    centred = widen(_reread(pixels, of_bias)) - mean
    of_factor = (widen(_reread(gradient, of_bias)) * centred).sum(axis=0)
    # Averaged over devices here, and again with all gradients after, which changes nothing.
    of_bias, of_scale = over_devices(jnp.stack([of_bias, of_factor * inverse]), axis_name)
    # x and gradient enter linearly, so that the result is one pass with three numbers per channel.
    factor = inverse * scale
    slope = -factor * inverse * of_scale / len(pixels)
    offset = -factor * of_bias / len(pixels) - slope * mean
    of_x = widen(gradient) * factor + widen(pixels) * slope + offset
    return of_x.astype(pixels.dtype).reshape(shape), of_scale, of_bias


normalise_relu.defvjp(_normalise, _normalise_gradient)


@jax.custom_vjp
def pointwise(
    x: Float[AnyArray, "*b in"],
    kernel: Float[AnyArray, "in out"],
    bias: Float[AnyArray, "out"] | None,
) -> Float[Array, "*b out"]:
    """A 1×1 convolution as a product of matrices; kernels are rounded to the precision of `x`."""
    return _multiply(x, kernel, bias)[0]


def _multiply(x, kernel, bias):
    y = _pixels(x) @ kernel.astype(x.dtype)
    if bias is not None:
        y = (widen(y) + bias).astype(x.dtype)
    return y.reshape(*x.shape[:-1], -1), (x, kernel, bias is not None)


def _multiply_gradient(kept, gradient):
    x, kernel, has_bias = kept
    gradient = stored(gradient)
    pixels = _pixels(gradient)
    of_x = _contract(pixels, kernel.astype(x.dtype), 1).reshape(x.shape)
    of_kernel = _contract(_pixels(x), pixels, 0).astype(kernel.dtype)
    return of_x, of_kernel, widen(_reread(pixels, of_x)).sum(axis=0) if has_bias else None


pointwise.defvjp(_multiply, _multiply_gradient)


@jax.custom_vjp
def convolve(
    x: Float[AnyArray, "b h w in"], kernel: Float[AnyArray, "3 3 in out"]
) -> Float[Array, "b h w out"]:
    """A 3×3 convolution with zeros around the image and without bias."""
    return jax.lax.conv_general_dilated(
        x, kernel.astype(x.dtype), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _convolve(x, kernel):
    return convolve(x, kernel), (x, kernel)


def _convolve_gradient(kept, gradient):
    x, kernel = kept
    gradient = stored(gradient)
    of_x = convolve(gradient, kernel[::-1, ::-1].swapaxes(2, 3))
    # Three shifts of x by rows times three of the gradient by columns: nine places in one product.
    _, height, width, _ = x.shape
    rows = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)))
    columns = jnp.pad(gradient, ((0, 0), (0, 0), (1, 1), (0, 0)))
    rows = [rows[:, i : i + height] for i in range(3)]
    columns = [columns[:, :, 2 - j : 2 - j + width] for j in range(3)]
    of_kernel = _contract(*(_pixels(jnp.concatenate(parts, -1)) for parts in (rows, columns)), 0)
    of_kernel = of_kernel.reshape(3, x.shape[-1], 3, -1).transpose(0, 2, 1, 3)
    return of_x, of_kernel.astype(kernel.dtype)


convolve.defvjp(_convolve, _convolve_gradient)


@jax.custom_vjp
def convolve_stem(
    images: Float[AnyArray, "b h w 3"], kernel: Float[AnyArray, "7 7 3 out"]
) -> Float[Array, "b h/2 w/2 out"]:
    """A 7×7 convolution of stride 2 and padding 3, without bias; images get no gradient.

    It is one product, for which 2×2 blocks of pixels become channels, and 4×4 windows of them rows.
    """
    return _multiply_windows(images, kernel)[0]


def _multiply_windows(images, kernel):
    batch, height, width, channels = images.shape
    rows, columns = height // 2, width // 2
    blocks = jnp.pad(stored(images), ((0, 0), (4, 4), (4, 4), (0, 0)))
    blocks = blocks.reshape(batch, rows + 4, 2, columns + 4, 2, channels)
    blocks = stored(blocks.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows + 4, columns + 4, -1))
    windows = [blocks[:, i : i + rows, j : j + columns] for i in range(4) for j in range(4)]
    windows = stored(_pixels(jnp.concatenate(windows, axis=-1)))
    # The windows begin one pixel above and left of the kernel, which gets a row and a column there.
    matrix = jnp.pad(kernel.astype(images.dtype), ((1, 0), (1, 0), (0, 0), (0, 0)))
    matrix = matrix.reshape(4, 2, 4, 2, channels, -1).transpose(0, 2, 1, 3, 4, 5)
    y = windows @ matrix.reshape(windows.shape[1], -1)
    return y.reshape(batch, rows, columns, -1), (windows, kernel)


def _multiply_windows_gradient(kept, gradient):
    windows, kernel = kept
    of_matrix = _contract(windows, _pixels(stored(gradient)), 0)
    of_matrix = of_matrix.reshape(4, 4, 2, 2, *kernel.shape[2:]).transpose(0, 2, 1, 3, 4, 5)
    of_kernel = of_matrix.reshape(8, 8, *kernel.shape[2:])[1:, 1:]
    return None, of_kernel.astype(kernel.dtype)


convolve_stem.defvjp(_multiply_windows, _multiply_windows_gradient)


@jax.custom_vjp
def max_pool(x: Float[AnyArray, "b h w c"]) -> Float[Array, "b h/2 w/2 c"]:
    """2×2 max pooling; equal largest values share the gradient."""
    return stored(functools.reduce(jnp.maximum, _corners(x)))


def _pool_gradient(kept, gradient):
    x, y = kept
    count = sum(widen((corner == y).astype(x.dtype)) for corner in _corners(x))
    gradient = stored((widen(gradient) / count).astype(x.dtype))
    zero = jnp.zeros((), x.dtype)
    return (jnp.where(x == upsample(y), upsample(gradient), zero),)


max_pool.defvjp(lambda x: ((y := max_pool(x)), (x, y)), _pool_gradient)


@jax.custom_vjp
def upsample(x: Float[AnyArray, "b h w c"]) -> Float[Array, "b 2*h 2*w c"]:
    """Nearest-neighbour ×2 upsampling."""
    batch, height, width, channels = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None, :], (batch, height, 2, width, 2, channels))
    return x.reshape(batch, 2 * height, 2 * width, channels)


def _upsample_gradient(_, gradient):
    return (sum(map(widen, _corners(gradient))).astype(gradient.dtype),)


upsample.defvjp(lambda x: (upsample(x), None), _upsample_gradient)


def _corners(x: Float[AnyArray, "b h w c"]) -> list[Float[Array, "b h/2 w/2 c"]]:
    return [x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]


def _pixels(x: Float[AnyArray, "*b c"]) -> Float[AnyArray, "n c"]:
    return x.reshape(-1, x.shape[-1])


def _reread(x: Float[AnyArray, "n c"], after: AnyArray) -> Float[Array, "n c"]:
    """The same values once `after` is computed, which XLA does not know to be the same."""
    return jax.lax.optimization_barrier((x, after))[0]


def _contract(
    a: Float[AnyArray, "_ _"], b: Float[AnyArray, "_ _"], axis: int
) -> Float[Array, "_ _"]:
    """The product that sums over one axis of both, in their precision, as oneDNN takes it."""
    return stored(jax.lax.dot_general(a, b, (((axis,), (axis,)), ((), ()))))
