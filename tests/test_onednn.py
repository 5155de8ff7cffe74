"""bfloat16 layers for CPUs: gradients against finite differences and against float32's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.test_util import check_grads

from pose3d_jax.models import layers, network, onednn, precision, residual
from pose3d_jax.models.layers import Common, NormRelu, Pointwise
from pose3d_jax.models.normalisation import normalise_relu


def convolve(x, kernel, *, stride=1, padding="SAME"):
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=layout
    )


def pool(x):
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))


def normalise(function, *arguments):
    return function(*arguments, None)[0]


#: Each form, its definition, the shapes of its arguments, and the first that has a gradient.
FORMS = {
    "normalise_relu": (
        functools.partial(normalise, onednn.normalise_relu),
        functools.partial(normalise, normalise_relu),
        [(2, 4, 6, 5), (5,), (5,)],
        0,
    ),
    "pointwise": (onednn.pointwise, lambda x, w, b: x @ w + b, [(2, 4, 6, 5), (5, 3), (3,)], 0),
    "convolve": (onednn.convolve, convolve, [(2, 4, 6, 5), (3, 3, 5, 7)], 0),
    "max_pool": (onednn.max_pool, pool, [(2, 4, 6, 5)], 0),
    "upsample": (
        onednn.upsample,
        lambda x: x.repeat(2, axis=1).repeat(2, axis=2),
        [(2, 4, 6, 5)],
        0,
    ),
    "convolve_stem": (
        onednn.convolve_stem,
        functools.partial(convolve, stride=2, padding=((3, 3), (3, 3))),
        [(2, 8, 12, 3), (7, 7, 3, 5)],
        1,
    ),
}


def draw(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes]


def relative_error(actual, expected):
    actual, expected = np.float64(actual), np.float64(expected)
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("form", FORMS)
def test_values_and_gradients_in_float64(form):
    """Values by the definition, gradients by finite differences."""
    function, definition, shapes, first = FORMS[form]
    with jax.enable_x64(True):
        arguments = [jnp.array(x) for x in draw(shapes)]
        np.testing.assert_allclose(
            function(*arguments), definition(*arguments), rtol=1e-10, atol=1e-12
        )
        form = jax.jit(functools.partial(function, *arguments[:first]))
        check_grads(form, arguments[first:], order=1, modes=["rev"], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_in_bfloat16_are_float32s_up_to_rounding(form):
    function, definition, shapes, first = FORMS[form]
    # Values that bfloat16 holds exactly, so that both start from the same.
    x, *parameters = (jnp.asarray(x, jnp.bfloat16).astype(jnp.float32) for x in draw(shapes))
    y = definition(x, *parameters)
    cotangent = jnp.asarray(draw([y.shape], seed=1)[0], jnp.bfloat16)
    of_forms = jax.vjp(function, x.astype(jnp.bfloat16), *parameters)[1](cotangent)
    expected = jax.vjp(definition, x, *parameters)[1](cotangent.astype(jnp.float32))
    for actual, gradient in zip(of_forms[first:], expected[first:], strict=True):
        assert relative_error(actual, gradient) < 0.02
    assert all(of.dtype == p.dtype for of, p in zip(of_forms[1:], parameters, strict=True))


def test_equal_maxima_share_the_gradient():
    x = jnp.zeros((1, 2, 2, 1)).at[0, 0].set(3.0)
    gradient = jax.grad(lambda x: onednn.max_pool(x).sum())(x)
    np.testing.assert_array_equal(gradient[0, ..., 0], [[0.5, 0.5], [0, 0]])


@pytest.mark.parametrize("stem", ["conv", "patch"])
def test_a_network_trains_as_with_the_plain_layers_in_float64(stem, monkeypatch):
    """Outputs, gradients and running statistics, also where layers leave biases out."""
    images = np.random.default_rng(0).random((2, 16, 16, 3))
    results = []
    with jax.enable_x64(True):
        for forms in (False, True):
            for module in (layers, residual, network):
                monkeypatch.setattr(module, "for_onednn", lambda _, forms=forms: forms)
            model = network.PoseNetwork(
                input_side=16, stacks=1, modules=1, levels=1, features=8, level_features=(8, 12),
                depth_levels=1, depth_modules=1, init="torch7", stem=stem, dtype=jnp.float64,
                rngs=nnx.Rngs(0),
            )  # fmt: skip
            graph, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)
            params = jax.tree.map(lambda x: x.astype(jnp.float64), params)

            def outputs(params, graph=graph, stats=stats):
                model = nnx.merge(graph, params, stats, copy=True)
                maps, depth = model(jnp.asarray(images))
                loss = (maps[-1] ** 2).mean() + (depth**2).mean()
                return loss, nnx.state(model, nnx.BatchStat)

            (loss, stats), gradients = jax.jit(jax.value_and_grad(outputs, has_aux=True))(params)
            results.append([loss, *jax.tree.leaves(gradients), *jax.tree.leaves(stats)])
    for actual, expected in zip(*results, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-9)


def test_a_bias_that_was_left_out_counts_in_both_modes():
    norm = NormRelu(3, Common(nnx.Rngs(0)))
    x, bias = jnp.asarray(draw([(2, 4, 4, 3)])[0], jnp.float32), jnp.array([1.0, -2.0, 3.0])
    whole = nnx.clone(norm)
    np.testing.assert_allclose(norm(x, bias), whole(x + bias), atol=1e-5)
    np.testing.assert_allclose(norm.norm.mean[...], whole.norm.mean[...], atol=1e-6)
    norm.eval()
    np.testing.assert_allclose(norm(x, bias), norm(x + bias))


def test_pointwise_layers_take_the_form(monkeypatch):
    monkeypatch.setattr(precision, "has_onednn", lambda: True)
    layer = Pointwise(5, 3, Common(nnx.Rngs(0), jnp.bfloat16))
    x = jnp.asarray(draw([(2, 4, 4, 5)])[0], jnp.bfloat16)
    text = str(jax.make_jaxpr(layer)(x))
    assert "conv_general_dilated" not in text and "dot_general" in text
