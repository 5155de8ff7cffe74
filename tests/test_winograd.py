"""Winograd's convolution against the definition, and its gradients against the adjoint identity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from pose3d_jax.models import winograd
from pose3d_jax.models.layers import Conv3x3, never

#: Relative to the largest value; direct float32 convolutions are at about 1e-6.
TOLERANCE = 3e-5


def by_definition(x, kernel):
    """A float64 convolution, a shifted image per place of the kernel."""
    x, kernel = np.float64(x), np.float64(kernel)
    _, height, width, _ = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return sum(
        padded[:, i : i + height, j : j + width] @ kernel[i, j] for i in range(3) for j in range(3)
    )


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


@jax.jit
def gradients(x, kernel, weights):
    """Of the products of `weights` with the convolution."""
    return jax.vjp(winograd.convolve, x, kernel)[1](weights)


@st.composite
def problems(draw):
    """Images and a kernel of sizes that `convolve` takes; few, as each is compiled."""
    batch, rows, columns = (draw(st.sampled_from((1, 3))) for _ in range(3))
    features, out = draw(st.sampled_from((1, 6))), draw(st.sampled_from((1, 7)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.normal(size=(batch, 4 * rows, 4 * columns, features)).astype(np.float32)
    return x, rng.normal(size=(3, 3, features, out)).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(problems())
def test_is_the_convolution(problem):
    assert_close(jax.jit(winograd.convolve)(*problem), by_definition(*problem))


@settings(max_examples=15, deadline=None)
@given(problems())
def test_in_parts_is_the_convolution(problem):
    x, kernel = problem
    weights = winograd.transform(kernel)
    assert_close(jax.jit(winograd.convolve_transformed)(x, weights), by_definition(*problem))


def test_products_of_many_rows_are_not_made_in_parts():
    def products(tiles):
        x, weights = jnp.zeros((1, 4, 4 * tiles, 2)), jnp.zeros((36, 2, 3))
        text = jax.jit(winograd.convolve_transformed).lower(x, weights).as_text()
        return text.count("stablehlo.dot_general")

    # Of one part, and of three: the transformation of the input, the products, and that back.
    assert (products(513), products(512)) == (3, 9)


@settings(max_examples=15, deadline=None)
@given(problems())
def test_gradients_are_the_adjoints(problem):
    # A convolution is linear in the image and in the kernel: its value at any direction is the
    # gradient's product with that direction.
    x, kernel = problem
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(*x.shape[:3], kernel.shape[-1])).astype(np.float32)
    of_x, of_kernel = gradients(x, kernel, weights)
    for place in np.ndindex(3, 3):
        direction = np.zeros_like(kernel)
        direction[place] = rng.normal(size=kernel.shape[2:])
        expected = (weights * by_definition(x, direction)).sum()
        size = np.abs(weights * by_definition(x, direction)).sum()
        assert np.vdot(of_kernel, direction) == pytest.approx(expected, abs=TOLERANCE * size)
    mirrored = kernel[::-1, ::-1].swapaxes(2, 3)
    assert_close(of_x, by_definition(weights, mirrored))


def test_other_platforms_get_a_plain_convolution():
    x, kernel = jnp.zeros((1, 8, 8, 2)), jnp.zeros((3, 3, 2, 2))

    def loss(x, kernel):
        return winograd.convolve(x, kernel).sum()

    program = jax.jit(jax.grad(loss, argnums=(0, 1)))
    convolutions = {
        platform: jax.export.export(program, platforms=[platform])(x, kernel).mlir_module()
        for platform in ("cpu", "cuda", "tpu")
    }
    for platform, text in convolutions.items():
        assert ("stablehlo.convolution" in text) == (platform != "cpu")
        assert ("stablehlo.dot_general" in text) == (platform == "cpu")


@pytest.mark.parametrize(
    ("shape", "dtype", "pays"),
    [
        ((1, 64, 64, 128), jnp.float32, True),
        ((1, 64, 64, 128), jnp.bfloat16, False),
        ((1, 34, 64, 128), jnp.float32, False),
        ((1, 16, 64, 128), jnp.float32, False),
        ((1, 64, 64, 32), jnp.float32, False),
    ],
)
def test_where_it_pays(shape, dtype, pays):
    assert winograd.pays(jnp.zeros(shape, dtype)) == pays


def test_the_layer_does_not_depend_on_the_method():
    layer = Conv3x3(64, 65, dtype=jnp.float32, rngs=nnx.Rngs(0))
    layer.bias[...] = jnp.arange(65.0)
    x = jax.random.normal(jax.random.key(1), (2, 32, 36, 64))
    fast = layer(x)
    layer.pays = never
    plain = layer(x)
    assert (fast != plain).any()
    assert_close(fast, plain)
