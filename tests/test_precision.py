"""Which arithmetic a machine computes in, and whether its gradients are right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pose3d_jax.models import onednn, precision

pytestmark = pytest.mark.usefixtures("optimised")


@pytest.fixture(autouse=True)
def not_cached():
    for function in (precision.has_onednn, precision.gradients_are_right):
        function.cache_clear()
    yield
    for function in (precision.has_onednn, precision.gradients_are_right):
        function.cache_clear()


def test_automatic_is_float32_on_other_cpus(monkeypatch):
    monkeypatch.setattr(precision, "_multiplies_bfloat16", lambda: False)
    assert precision.resolve("auto") == "float32"
    assert precision.compiler_options("bfloat16") is None


def test_automatic_is_float32_where_the_compiler_refuses_the_options(monkeypatch):
    monkeypatch.setattr(precision, "_multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "ONEDNN_OPTIONS", {"xla_no_such_option": True})
    assert precision.resolve("auto") == "float32"


def test_wrong_gradients_keep_training_away(monkeypatch):
    monkeypatch.setattr(precision, "has_onednn", lambda: True)
    monkeypatch.setattr(precision, "gradients_are_right", lambda: False)
    assert precision.resolve("auto") == "bfloat16"
    assert precision.resolve("auto", training=True) == "float32"
    assert precision.compiler_options("bfloat16", training=True) is None
    assert precision.compiler_options("bfloat16") == precision.ONEDNN_OPTIONS


def test_a_wrong_gradient_is_noticed(monkeypatch):
    monkeypatch.setattr(precision, "ONEDNN_OPTIONS", {})
    assert precision.gradients_are_right()
    precision.gradients_are_right.cache_clear()
    right = onednn._contract

    def wrong(a, b, axis):
        product = right(a, b, axis)
        return product[::-1] if a.dtype == jnp.bfloat16 else product

    monkeypatch.setattr(onednn, "_contract", wrong)
    assert not precision.gradients_are_right()


def test_named_types_stay():
    assert [precision.resolve(name) for name in ("float32", "bfloat16")] == [
        "float32",
        "bfloat16",
    ]


def test_a_program_is_compiled_once_for_each_shape():
    program = precision.compile_with({}, jax.jit(lambda x: (x * 2, x.sum())))
    for size in (2, 3, 2):
        np.testing.assert_array_equal(program(jnp.ones(size))[0], np.full(size, 2.0))


@pytest.mark.skipif(not precision.has_onednn(), reason="this machine does not multiply bfloat16")
def test_gradients_are_right_on_this_machine():
    assert precision.gradients_are_right()
