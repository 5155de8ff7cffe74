"""Networks made for prediction against the ones that were trained."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from test_models import images, small_network, with_random_statistics

from pose3d_jax.models.folding import fold, transform_kernels
from pose3d_jax.models.layers import Conv3x3
from pose3d_jax.models.variables import Network

pytestmark = pytest.mark.usefixtures("compile_quickly")


def network_of(model) -> Network:
    return Network(*nnx.split(with_random_statistics(model), nnx.Param, nnx.BatchStat))


def outputs(network: Network, x):
    @jax.jit
    def apply(params, stats, x):
        model = nnx.merge(network.graphdef, params, stats)
        model.eval()
        heatmaps, depth = model(x)
        return [*heatmaps, depth]

    return apply(network.params, network.stats, x)


def assert_same_outputs(network: Network, other: Network, x, tolerance: float):
    for mine, expected in zip(outputs(network, x), outputs(other, x), strict=True):
        np.testing.assert_allclose(mine, expected, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("stem", ["conv", "patch"])
def test_a_folded_network_has_no_statistics_and_the_same_outputs(stem):
    widths = {"levels": 2, "level_features": (8, 12, 16), "depth_features": (12,)}
    network = network_of(small_network(stem=stem, input_side=32, **widths))
    folded = fold(network)
    assert jax.tree.leaves(network.stats) and not jax.tree.leaves(folded.stats)
    assert_same_outputs(folded, network, images(side=32), 1e-5)


def test_folding_leaves_the_network_as_it_was():
    network = network_of(small_network())
    before = jax.tree.map(np.array, (network.params, network.stats))
    fold(network)
    same = jax.tree.map(np.array_equal, before, (network.params, network.stats))
    assert all(jax.tree.leaves(same))


def test_folding_again_changes_nothing():
    once = fold(network_of(small_network()))
    again = fold(once)
    same = jax.tree.map(np.array_equal, once.params, again.params)
    assert all(jax.tree.leaves(same)) and again.graphdef == once.graphdef


def test_in_bfloat16_the_outputs_are_as_close_as_its_rounding():
    exact = network_of(small_network(stacks=1))
    rounded = network_of(small_network(stacks=1, dtype=jnp.bfloat16))
    for network in (rounded, fold(rounded)):
        for mine, expected in zip(outputs(network, images()), outputs(exact, images())):
            assert np.linalg.norm(mine - expected) / np.linalg.norm(expected) < 0.2


def test_kernels_are_transformed_where_winograds_method_is_used():
    """64 channels at 32 px are enough; 32 channels, or 16 px, are not."""
    sizes = {"input_side": 128, "features": 128, "stacks": 1, "stem": "conv"}
    network = network_of(small_network(**sizes))
    folded = fold(network)
    transformed = transform_kernels(folded)
    convolutions = {
        path: module
        for path, module in nnx.iter_modules(nnx.merge(*transformed))
        if isinstance(module, Conv3x3)
    }
    found = {path for path, module in convolutions.items() if module.transformed is not None}
    assert ("stem", "residual3", "conv2") in found  # 64 channels at 32 px.
    assert ("stem", "residual1", "conv2") not in found  # 32 channels at 64 px.
    assert ("stacks", 0, "hourglass", "low_in", "layers", 0, "conv2") not in found  # 16 px.
    assert all((convolutions[path].kernel is None) == (path in found) for path in convolutions)
    assert_same_outputs(transformed, network, images(batch=1, side=128), 5e-5)
