"""Networks made for prediction against the ones that were trained."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from test_models import images, small_network, with_random_statistics

from pose3d_jax.models.folding import fold
from pose3d_jax.models.variables import split


def network_of(model):
    return split(with_random_statistics(model))


def outputs(graphdef, variables, x):
    @jax.jit
    def apply(variables, x):
        model = nnx.merge(graphdef, *variables)
        model.eval()
        heatmaps, depth = model(x)
        return [*heatmaps, depth]

    return apply(variables, x)


def assert_same_outputs(network, other, x, tolerance: float):
    for mine, expected in zip(outputs(*network, x), outputs(*other, x), strict=True):
        np.testing.assert_allclose(mine, expected, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("stem", ["conv", "patch"])
def test_a_folded_network_has_no_statistics_and_the_same_outputs(stem):
    widths = {"levels": 2, "level_features": (8, 12, 16), "depth_features": (12,)}
    network = network_of(small_network(stem=stem, input_side=32, **widths))
    folded = fold(*network)
    assert jax.tree.leaves(network[1].stats) and not jax.tree.leaves(folded[1].stats)
    assert_same_outputs(folded, network, images(side=32), 1e-5)


def test_folding_leaves_the_network_as_it_was():
    graphdef, variables = network_of(small_network())
    before = jax.tree.map(np.array, variables)
    fold(graphdef, variables)
    same = jax.tree.map(np.array_equal, before, variables)
    assert all(jax.tree.leaves(same))


def test_folding_again_changes_nothing():
    graphdef, variables = fold(*network_of(small_network()))
    again, same = fold(graphdef, variables)
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, variables, same)))
    assert again == graphdef and hash(again) == hash(graphdef)


def test_in_bfloat16_the_outputs_are_as_close_as_its_rounding():
    exact = network_of(small_network(stacks=1))
    rounded = network_of(small_network(stacks=1, dtype=jnp.bfloat16))
    for network in (rounded, fold(*rounded)):
        for mine, expected in zip(outputs(*network, images()), outputs(*exact, images())):
            assert np.linalg.norm(mine - expected) / np.linalg.norm(expected) < 0.2
