"""Normalisation with ReLU against its definition, and layers in the form for accelerators."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pose3d_jax.models.layers import Common, Pointwise, max_pool
from pose3d_jax.models.normalisation import EPSILON, normalise_relu

DEVICES = 4


def by_definition(x, scale, bias):
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    return jax.nn.relu((x - mean) / jnp.sqrt(variance + EPSILON) * scale + bias)


def arrays():
    """Features, scales, biases, and a gradient of the result."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 3, 5, 4)) * [0.5, 1, 2, 3] + [0, 1, -1, 2]
    return x, rng.uniform(0.5, 2, 4), rng.normal(size=4), rng.normal(size=x.shape)


def test_value_statistics_and_gradients_in_float64():
    with jax.enable_x64(True):
        x, scale, bias, gradient = map(jnp.asarray, arrays())
        expected, pull = jax.vjp(by_definition, x, scale, bias)
        (found, mean, variance), pull_ours = jax.vjp(
            lambda *inputs: normalise_relu(*inputs, None), x, scale, bias
        )
        np.testing.assert_allclose(found, expected, atol=1e-12)
        np.testing.assert_allclose(mean, x.mean((0, 1, 2)), atol=1e-12)
        np.testing.assert_allclose(variance, x.var((0, 1, 2)), atol=1e-12)
        of_statistics = (jnp.ones(4), jnp.ones(4))  # No gradient passes through them.
        for mine, theirs in zip(pull_ours((gradient, *of_statistics)), pull(gradient)):
            np.testing.assert_allclose(mine, theirs, atol=1e-10)


def test_gradients_over_devices_are_those_of_the_whole_batch():
    x, scale, bias, gradient = map(np.float32, arrays())

    def step(x, gradient):
        _, pull = jax.vjp(lambda *inputs: normalise_relu(*inputs, "data")[0], x, scale, bias)
        of_x, *others = pull(gradient)
        return of_x, jax.lax.psum(others, "data")

    shares = (a.reshape(DEVICES, -1, *a.shape[1:]) for a in (x, gradient))
    of_x, others = jax.pmap(step, axis_name="data", devices=jax.devices()[:DEVICES])(*shares)
    expected = jax.vjp(by_definition, x, scale, bias)[1](gradient)
    np.testing.assert_allclose(of_x.reshape(x.shape), expected[0], atol=1e-4)
    for mine, theirs in zip(others, expected[1:]):
        np.testing.assert_allclose(mine[0], theirs, rtol=1e-4, atol=1e-4)


def test_in_bfloat16_only_the_ends_are_rounded():
    x, scale, bias, gradient = map(jnp.float32, arrays())
    x, gradient = x.astype(jnp.bfloat16), gradient.astype(jnp.bfloat16)
    (found, mean, _), pull = jax.vjp(lambda *a: normalise_relu(*a, None), x, scale, bias)
    assert (found.dtype, mean.dtype) == (jnp.bfloat16, jnp.float32)
    expected, pull_expected = jax.vjp(by_definition, x.astype(jnp.float32), scale, bias)
    np.testing.assert_allclose(found.astype(jnp.float32), expected, rtol=2**-8, atol=1e-4)
    of_x, *others = pull((gradient, jnp.zeros(4), jnp.zeros(4)))
    assert of_x.dtype == jnp.bfloat16
    theirs = pull_expected(gradient.astype(jnp.float32))
    np.testing.assert_allclose(of_x.astype(jnp.float32), theirs[0], rtol=2**-8, atol=1e-2)
    for mine, expected in zip(others, theirs[1:]):
        np.testing.assert_allclose(mine, expected, rtol=1e-3, atol=1e-3)


def test_a_1x1_convolution_is_the_same_in_both_forms():
    x = np.random.default_rng(1).normal(size=(2, 3, 4, 5))
    plain, other = (
        Pointwise(5, 6, Common(nnx.Rngs(0), dtype)) for dtype in (jnp.float32, jnp.bfloat16)
    )
    found = other(jnp.asarray(x, jnp.bfloat16))
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(jnp.float32), plain(jnp.float32(x)), atol=0.05)


def test_max_pool_and_its_gradient_are_the_same_in_both_forms():
    # Different values, none of which bfloat16 rounds.
    x = np.random.default_rng(2).permutation(2 * 4 * 4 * 3).reshape(2, 4, 4, 3).astype(np.float32)

    def pool(x):
        return max_pool(x).astype(jnp.float32).sum(), max_pool(x)

    (_, expected), of_expected = jax.value_and_grad(pool, has_aux=True)(x)
    (_, found), of_found = jax.value_and_grad(pool, has_aux=True)(jnp.bfloat16(x))
    np.testing.assert_array_equal(found.astype(jnp.float32), expected)
    np.testing.assert_array_equal(of_found.astype(jnp.float32), of_expected)
