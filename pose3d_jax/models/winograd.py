"""3×3 convolutions with a quarter of the multiplications, for CPUs.

Winograd's minimal filtering F(4×4, 3×3), after Lavin and Gray, *Fast Algorithms for Convolutional
Neural Networks* (2016): patches of 6×6 pixels, four pixels apart, and the kernel are transformed
linearly and multiplied place by place (over channels one product of matrices for each of the 36
places), and the products are transformed back to tiles of 4×4 pixels. In float32 the result is
within about 1e-5 of the direct method's, relative to the largest value.

Other platforms get XLA's own convolution; on GPUs cuDNN chooses the algorithm.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pose3d_jax.arrays import AnyArray

_KERNEL = 3
_TILE = 4
_PATCH = _TILE + _KERNEL - 1

# The paper's Bᵀ, G and Aᵀ for F(4, 3), each for one dimension ...
_INPUT = [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]
_WEIGHT = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
_OUTPUT = [
    [1, 1, 1, 1, 1, 0],
    [0, 1, -1, 2, -2, 0],
    [0, 1, 1, 4, 4, 0],
    [0, 1, -1, 8, -8, 1],
]
# ... applied to rows and columns at once: one matrix over a patch's 36 places.
_INPUT, _WEIGHT, _OUTPUT = (
    np.kron(matrix, matrix).astype(np.float32) for matrix in (_INPUT, _WEIGHT, _OUTPUT)
)

#: Below these, the transformations cost more than they save (measured: `benchmarks/README.md`).
_SMALLEST_SIDE = 32
_FEWEST_FEATURES = 64

#: Products of up to so many rows leave cores idle, of which these many parts side by side use some.
_FEW_ROWS = 512
_PARTS = 3


def pays(x: Float[AnyArray, "b h w in"]) -> bool:
    """Whether `convolve` takes such an input, and is faster for it than XLA's convolution."""
    _, height, width, features = x.shape
    return (
        x.dtype == jnp.float32
        and height % _TILE == width % _TILE == 0
        and min(height, width) >= _SMALLEST_SIDE
        and features >= _FEWEST_FEATURES
    )


@jax.custom_vjp
def convolve(
    x: Float[AnyArray, "b h w in"], kernel: Float[AnyArray, "3 3 in out"]
) -> Float[Array, "b h w out"]:
    """A 3×3 convolution with zeros around the image, and with gradients of the same kind.

    Args:
        x: images, whose height and width are divisible by 4; float32.
        kernel: weights.
    """
    return jax.lax.platform_dependent(x, kernel, cpu=_convolve, default=_plain)


def transform(kernel: Float[AnyArray, "3 3 in out"]) -> Float[AnyArray, "36 in out"]:
    """A kernel as `convolve_transformed` takes it: for prediction, once and for all."""
    return (_WEIGHT @ kernel.reshape(_KERNEL**2, -1)).reshape(-1, *kernel.shape[2:])


def convolve_transformed(
    x: Float[AnyArray, "b h w in"], weights: Float[AnyArray, "36 in out"]
) -> Float[Array, "b h w out"]:
    """`convolve` with a kernel from `transform`, for prediction.

    Where the products have few rows, they are made in parts. The gradient is JAX's own.
    """
    batch, height, width, _ = x.shape
    few = batch * height * width <= _FEW_ROWS * _TILE**2
    return _multiply(x, weights, _PARTS if few else 1)


def _forward(x, kernel):
    return convolve(x, kernel), (x, kernel)


def _backward(inputs, gradient):
    x, kernel = inputs
    mirrored = kernel[::-1, ::-1].swapaxes(2, 3)
    of_kernel = jax.lax.platform_dependent(
        x, gradient, cpu=_kernel_gradient, default=_plain_kernel_gradient
    )
    return convolve(gradient, mirrored), of_kernel


convolve.defvjp(_forward, _backward)


def _convolve(
    x: Float[AnyArray, "b h w in"], kernel: Float[AnyArray, "3 3 in out"]
) -> Float[Array, "b h w out"]:
    return _multiply(x, transform(kernel), parts=1)


def _multiply(
    x: Float[AnyArray, "b h w in"], weights: Float[AnyArray, "36 in out"], parts: int
) -> Float[Array, "b h w out"]:
    """The convolution, as a sum over parts of the 36 places that do not wait for one another."""
    batch, height, width, features = x.shape
    patches = _patches(x)

    def tiles_of(places: slice) -> Float[Array, "16 _"]:
        transformed = (_INPUT[places] @ patches).reshape(-1, patches.shape[1] // features, features)
        products = jnp.einsum("pni,pio->pno", transformed, weights[places])
        return _OUTPUT[:, places] @ products.reshape(len(products), -1)

    size = _PATCH**2 // parts
    starts = range(0, _PATCH**2, size)
    tiles = functools.reduce(jnp.add, (tiles_of(slice(at, at + size)) for at in starts))
    tiles = tiles.reshape(_TILE, _TILE, batch, height // _TILE, width // _TILE, -1)
    return tiles.transpose(2, 3, 0, 4, 1, 5).reshape(batch, height, width, -1)


def _kernel_gradient(
    x: Float[AnyArray, "b h w in"], gradient: Float[AnyArray, "b h w out"]
) -> Float[Array, "3 3 in out"]:
    """The transpose of `_convolve`, which is linear in the kernel, step by step."""
    batch, height, width, features = gradient.shape
    tiles = gradient.reshape(batch, height // _TILE, _TILE, width // _TILE, _TILE, features)
    tiles = tiles.transpose(2, 4, 0, 1, 3, 5).reshape(_TILE**2, -1)
    of_products = (_OUTPUT.T @ tiles).reshape(_PATCH**2, -1, features)
    patches = (_INPUT @ _patches(x)).reshape(_PATCH**2, -1, x.shape[-1])
    of_weights = jnp.einsum("pni,pno->pio", patches, of_products)
    of_kernel = _WEIGHT.T @ of_weights.reshape(_PATCH**2, -1)
    return of_kernel.reshape(_KERNEL, _KERNEL, -1, features)


def _patches(x: Float[AnyArray, "b h w in"]) -> Float[Array, "36 _"]:
    """The pixels of all patches: a row for each place in a patch."""
    _, height, width, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows = [padded[:, i : i + height - _TILE + 1 : _TILE] for i in range(_PATCH)]
    rows = jnp.stack(rows)
    patches = [rows[:, :, :, j : j + width - _TILE + 1 : _TILE] for j in range(_PATCH)]
    return jnp.stack(patches, axis=1).reshape(_PATCH**2, -1)


def _plain(
    x: Float[AnyArray, "b h w in"], kernel: Float[AnyArray, "3 3 in out"]
) -> Float[Array, "b h w out"]:
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _plain_kernel_gradient(
    x: Float[AnyArray, "b h w in"], gradient: Float[AnyArray, "b h w out"]
) -> Float[Array, "3 3 in out"]:
    kernel = jax.ShapeDtypeStruct((_KERNEL, _KERNEL, x.shape[-1], gradient.shape[-1]), x.dtype)
    (of_kernel,) = jax.linear_transpose(lambda kernel: _plain(x, kernel), kernel)(gradient)
    return of_kernel
