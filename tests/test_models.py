import itertools
import types

import chex
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from flax import nnx

from pose3d_jax.models import PoseNetwork
from pose3d_jax.models.layers import Common, NormRelu, max_pool, upsample
from pose3d_jax.models.residual import Residual
from pose3d_jax.models.variables import make_network

#: The smallest network with every part: two stacks, skips with and without convolution.
SMALL = {
    "input_side": 16, "stacks": 2, "modules": 1, "levels": 1, "features": 8, "depth_levels": 1,
    "depth_modules": 1,
}  # fmt: skip


def small_network(**changes):
    return PoseNetwork(**(SMALL | changes), rngs=nnx.Rngs(0))


def abstract_network(**changes):
    """A network with shapes in place of arrays; `nnx.Rngs` would take most of the time."""
    rngs = types.SimpleNamespace(params=lambda: jax.random.key(0))
    return nnx.eval_shape(lambda: PoseNetwork(**changes, rngs=rngs))


def with_random_statistics(module):
    """Gives every parameter and statistic a value of its own, as if after training."""
    rng = np.random.default_rng(0)
    graph, params, stats = nnx.split(module, nnx.Param, nnx.BatchStat)

    def perturb(path, variable):
        value = np.asarray(variable[...])
        noise = rng.normal(scale=0.2, size=value.shape).astype(np.float32)
        is_positive = path[-1] in ("scale", "var")
        return variable.replace(
            jnp.asarray(value * np.exp(noise) if is_positive else value + noise)
        )

    return nnx.merge(graph, nnx.map_state(perturb, params), nnx.map_state(perturb, stats))


def images(batch=2, side=16):
    return np.random.default_rng(0).random((batch, side, side, 3)).astype(np.float32)


@nnx.jit
def call(module, x):
    return module(x)


def shapes(network, batch, side):
    return nnx.eval_shape(
        lambda n, x: n(x), network, jax.ShapeDtypeStruct((batch, side, side, 3), jnp.float32)
    )


def count_parameters(module):
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


# A plain float64 reading of a residual's description (Newell et al.). Whole networks are compared
# with the release's, in `test_convert` and `test_train_step`.


def numbers(variable):
    return np.asarray(variable[...], np.float64)


def reference_norm_relu(module, x):
    """In evaluation mode."""
    norm = module.norm
    scaled = (x - numbers(norm.mean)) / np.sqrt(numbers(norm.var) + 1e-5)
    return np.maximum(scaled * numbers(norm.scale) + numbers(norm.bias), 0)


def reference_linear(module, x):
    return x @ numbers(module.kernel) + numbers(module.bias)


def reference_conv(module, x):
    """A 3×3 kernel, with zeros around the image."""
    kernel, (height, width) = numbers(module.kernel), x.shape[1:3]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = (
        padded[:, row : row + height, column : column + width] @ kernel[row, column]
        for row, column in np.ndindex(3, 3)
    )
    return numbers(module.bias) + sum(windows)


def reference_residual(module, x):
    y = reference_linear(module.conv1, reference_norm_relu(module.norm1, x))
    y = reference_conv(module.conv2, reference_norm_relu(module.norm2, y))
    y = reference_linear(module.conv3, reference_norm_relu(module.norm3, y))
    return y + (x if module.skip is None else reference_linear(module.skip, x))


def test_the_patch_stem_computes_what_its_description_says():
    stem, x = with_random_statistics(small_network(stem="patch").stem), images()
    stem.eval()
    patches = [
        x[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].reshape(len(x), -1)
        for row, column in np.ndindex(4, 4)
    ]
    y = reference_linear(stem.patch, np.stack(patches, 1)).reshape(len(x), 4, 4, -1)
    expected = reference_residual(stem.residual, y)
    np.testing.assert_allclose(call(stem, x), expected, atol=1e-5 * np.abs(expected).max())


def test_the_scale_of_the_outputs_is_a_factor_on_both():
    one, other = (with_random_statistics(small_network(output_scale=s)) for s in (1.0, 0.1))
    expected = jax.tree.map(lambda x: 0.1 * x, call(one, images()))
    chex.assert_trees_all_close(call(other, images()), expected, rtol=1e-4, atol=1e-6)


def test_the_papers_network_has_its_parameters_and_shapes():
    network = abstract_network()
    assert count_parameters(network) == 14_429_104
    heatmaps, depth = shapes(network, 2, 256)
    assert [maps.shape for maps in heatmaps] == [(2, 64, 64, 16)] * 2
    assert depth.shape == (2, 16)
    assert network.depth.output.kernel.shape == (4 * 4 * 256, 16)


def residual_parameters(inner, outer):
    half = outer // 2
    norms = 2 * (inner + half + half)
    convolutions = (inner + 1) * half + (9 * half + 1) * half + (half + 1) * outer
    return norms + convolutions + ((inner + 1) * outer if inner != outer else 0)


@pytest.mark.parametrize(
    ("stacks", "modules", "widths", "depth_modules", "depth_widths", "joints"),
    [
        (1, (1, 1), (16, 16), 3, (16, 16), 5),
        (3, (1, 1, 1), (16, 16, 16), 1, (16,), 16),
        (1, (2, 2, 2, 2), (16, 16, 16, 16), 2, (16, 16), 16),
        (1, (1, 2, 3), (8, 16, 12), 2, (6, 10), 16),
    ],
)
def test_parameters_and_shapes_of_other_sizes(
    stacks, modules, widths, depth_modules, depth_widths, joints
):
    network = abstract_network(
        input_side=64, stacks=stacks, levels=len(widths) - 1, features=widths[0],
        level_features=widths, level_modules=modules, depth_levels=len(depth_widths),
        depth_modules=depth_modules, depth_features=depth_widths, num_joints=joints,
        stem_features=4,
    )  # fmt: skip
    at, width = residual_parameters, widths[0]
    stem = (7 * 7 * 3 + 1) * 4 + 2 * 4 + at(4, 8) + at(8, 8) + at(8, width)
    hourglass = modules[-1] * at(widths[-1], widths[-1])  # In the middle.
    for outer, inner, here, below in zip(widths, widths[1:], modules, modules[1:]):
        hourglass += here * at(outer, outer)
        hourglass += at(outer, inner) + (2 * below - 1) * at(inner, inner)
        hourglass += (inner + 1) * outer if inner != outer else 0
    head = modules[0] * at(width, width) + (width + 1) * width + 2 * width + (width + 1) * joints
    merge = (width + 1) * width + (joints + 1) * width
    depth = ((16 // 2 ** len(depth_widths)) ** 2 * depth_widths[-1] + 1) * joints
    for before, after in itertools.pairwise((width, *depth_widths)):
        depth += at(before, after) + (depth_modules - 1) * at(after, after)
    assert count_parameters(network) == stem + stacks * (hourglass + head + merge) + depth
    heatmaps, depths = shapes(network, 3, 64)
    assert [maps.shape for maps in heatmaps] == [(3, 16, 16, joints)] * stacks
    assert depths.shape == (3, joints)


def test_equal_widths_are_the_network_that_one_width_makes():
    plain = small_network()
    spelt_out = small_network(level_features=(8, 8), level_modules=(1, 1), depth_features=(8,))
    chex.assert_trees_all_equal(*(nnx.to_pure_dict(nnx.state(n)) for n in (plain, spelt_out)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_side": 20}, "divisible by 8"),
        ({"levels": 4}, "divisible by 64"),
        ({"depth_levels": 4}, "divisible by 64"),
        ({"stem": "none"}, "Unknown stem 'none'; choose one of conv, patch"),
        ({"depth_head": "none"}, "Unknown depth head 'none'; choose one of flat"),
        ({"level_features": (8, 8, 8)}, "There are 3, 2 and 1"),
        ({"level_features": (16, 8)}, "the first equals `features`"),
        ({"init": "none"}, "lecun, torch7"),
    ],
)
def test_impossible_networks_say_why(changes, message):
    with pytest.raises(ValueError, match=message):
        small_network(**changes)


def build_network(seed: int, dtype: str = "float32", **changes) -> PoseNetwork:
    tree = {
        "model": SMALL | changes,
        "precision": {"compute": dtype},
        "optimizer": {"sync_batch_norm": True},
        "seed": seed,
    }
    graphdef, variables = make_network(ml_collections.ConfigDict(tree))
    return nnx.merge(graphdef, *variables)


@pytest.mark.parametrize("init", ["lecun", "torch7"])
def test_a_network_is_made_as_its_config_says(init):
    network = build_network(0, "bfloat16", zero_init_outputs=True, init=init)
    assert network.dtype == jnp.bfloat16
    for output in (network.depth.output, *(stack.heatmaps for stack in network.stacks)):
        assert not output.kernel[...].any() and not output.bias[...].any()
    same, other = build_network(0, init=init), build_network(1, init=init)
    np.testing.assert_array_equal(network.stem.conv.kernel[...], same.stem.conv.kernel[...])
    assert (network.stem.conv.kernel[...] != other.stem.conv.kernel[...]).all()


def test_the_releases_initial_values_are_uniform_and_scaled_by_the_inputs():
    """U(±1/√fan_in) for weights and biases, U(0, 1) for the scales of batch normalisation."""
    network = small_network(init="torch7", features=32)
    params = {path: np.asarray(p[...]) for path, p in nnx.to_flat_state(nnx.state(network))}
    # In units of their bounds, all weights and biases come from one distribution.
    drawn = {"kernel": [], "bias": [], "scale": []}
    for path, values in params.items():
        *layer, name = path
        kernel = params.get((*layer, "kernel"))
        if name in ("kernel", "bias") and kernel is not None:
            inputs = {2: kernel.shape[0], 4: np.prod(kernel.shape[:3])}[kernel.ndim]
            drawn[name].append(values.ravel() * np.sqrt(inputs))
        elif name == "bias":
            assert not values.any(), "batch normalisation"
        elif name == "scale":
            drawn[name].append(2 * values - 1)
    for name, parts in drawn.items():
        values = np.sort(np.concatenate(parts))
        assert len(values) > 400 and np.abs(values).max() <= 1.0, name
        quantiles = 2 * (np.arange(len(values)) + 0.5) / len(values) - 1
        # Kolmogorov's bound at one in a thousand, for a distribution on [−1, 1].
        assert np.abs(values - quantiles).max() < 2 * 1.95 / np.sqrt(len(values)), name
    statistics = [v for path, v in params.items() if path[-1] in ("mean", "var")]
    assert {float(v.min()) for v in statistics} == {float(v.max()) for v in statistics} == {0, 1}


def test_without_depth_the_depth_module_is_left_out():
    network = small_network()
    network.eval()
    heatmaps, depth = nnx.jit(lambda n, x: n(x, with_depth=False))(network, images())
    assert depth is None
    expected, _ = call(network, images())
    for mine, maps in zip(heatmaps, expected, strict=True):
        np.testing.assert_allclose(mine, maps, atol=1e-6)


@pytest.mark.parametrize("with_depth", [True, False])
def test_gradients_reach_every_parameter_that_is_used(with_depth):
    network = with_random_statistics(small_network())
    network.eval()  # batch statistics would cancel the biases before them

    @nnx.jit
    @nnx.grad
    def gradients(network, x):
        heatmaps, depth = network(x, with_depth=with_depth)
        weights = jnp.linspace(0.5, 1.5, 16)
        total = (heatmaps[-1] * weights).mean()
        return total if depth is None else total + (depth * weights).mean()

    for path, gradient in nnx.to_flat_state(gradients(network, images())):
        last_merge = path[:2] == ("stacks", 1) and path[2].startswith("merge")
        leads_to_depth = path[0] == "depth" or last_merge
        used = with_depth or not leads_to_depth
        assert bool(gradient[...].any()) == used, path


def test_bfloat16_keeps_parameters_and_outputs_float32_and_close():
    network = small_network(stacks=1)
    rounded = small_network(stacks=1, dtype=jnp.bfloat16)
    leaves = jax.tree.leaves(nnx.state(rounded))
    assert {leaf.dtype for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)} == {
        jnp.dtype("float32")
    }
    (*expected_maps, expected_depth), (*maps, depth) = (
        (*outputs[0], outputs[1]) for outputs in (call(network, images()), call(rounded, images()))
    )
    for mine, expected in zip((*maps, depth), (*expected_maps, expected_depth), strict=True):
        assert mine.dtype == jnp.float32
        error = np.linalg.norm(mine - expected) / np.linalg.norm(expected)
        assert 1e-4 < error < 0.2  # bfloat16 has 8 bits, and batch normalisation amplifies
    means = [n.stacks[0].norm.norm.mean[...] for n in (network, rounded)]
    assert means[1].dtype == jnp.float32
    np.testing.assert_allclose(means[1], means[0], atol=0.02)


@pytest.mark.parametrize(("inner", "outer"), [(6, 6), (6, 10)])
def test_a_residual_adds_to_its_input_or_to_a_projection_of_it(inner, outer):
    module = with_random_statistics(Residual(inner, outer, Common(nnx.Rngs(0))))
    assert (module.skip is None) == (inner == outer)
    module.eval()
    x = np.random.default_rng(1).normal(size=(2, 5, 7, inner)).astype(np.float32)
    np.testing.assert_allclose(call(module, x), reference_residual(module, x), atol=1e-5)


def test_max_pool_and_its_gradient():
    x = np.random.default_rng(0).normal(size=(2, 6, 4, 3)).astype(np.float32)
    pooled = max_pool(jnp.asarray(x))
    np.testing.assert_array_equal(pooled, x.reshape(2, 3, 2, 2, 2, 3).max((2, 4)))
    gradient = jax.grad(lambda v: (max_pool(v) ** 2).sum())(jnp.asarray(x))
    largest = np.asarray(pooled).repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_allclose(gradient, np.where(x == largest, 2 * x, 0))


def test_upsample_repeats_pixels():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(upsample(jnp.asarray(x)), x.repeat(2, axis=1).repeat(2, axis=2))


def norm_relu(axis_name=None):
    module = NormRelu(4, Common(nnx.Rngs(0), axis_name=axis_name))
    module.norm.scale[...] = jnp.array([0.5, 1.0, 1.5, 2.0])
    module.norm.bias[...] = jnp.array([-1.0, 0.0, 1.0, 0.5])
    return module


def batch_features():
    offsets, scales = np.arange(4), np.arange(1, 5)
    x = np.random.default_rng(0).normal(size=(8, 5, 6, 4)) * scales + offsets
    return x.astype(np.float32)


def test_training_normalises_with_the_batch_and_remembers_a_tenth_of_it():
    module, x = norm_relu(), batch_features()
    mean, variance = np.float64(x).mean((0, 1, 2)), np.float64(x).var((0, 1, 2))
    expected = (x - mean) / np.sqrt(variance + 1e-5) * [0.5, 1.0, 1.5, 2.0] + [-1, 0, 1, 0.5]
    trained = call(module, x)
    np.testing.assert_allclose(trained, np.maximum(expected, 0), atol=1e-4)
    np.testing.assert_allclose(module.norm.mean[...], 0.1 * mean, atol=1e-5)
    np.testing.assert_allclose(module.norm.var[...], 0.9 + 0.1 * variance, rtol=1e-4)

    # With the batch's own statistics, evaluation is the same; and it changes nothing.
    module.norm.mean[...] = jnp.asarray(mean, jnp.float32)
    module.norm.var[...] = jnp.asarray(variance, jnp.float32)
    module.eval()
    np.testing.assert_allclose(call(module, x), trained, atol=1e-4)
    np.testing.assert_allclose(module.norm.mean[...], mean, rtol=1e-6)


def test_a_whole_network_evaluates_as_it_trained_when_statistics_agree():
    network = small_network(stacks=1)
    before = nnx.state(network, nnx.BatchStat)
    before = jax.tree.map(jnp.copy, before)
    trained = call(network, images(4))
    after = nnx.state(network, nnx.BatchStat)
    # The running statistics moved a tenth of the way to the batch's.
    batch = jax.tree.map(lambda old, new: old + (new - old) / 0.1, before, after)
    nnx.update(network, batch)
    network.eval()
    evaluated = call(network, images(4))
    for mine, expected in zip(jax.tree.leaves(evaluated), jax.tree.leaves(trained), strict=True):
        np.testing.assert_allclose(mine, expected, atol=2e-3 * np.abs(expected).max())


def test_statistics_over_devices_are_those_of_the_whole_batch():
    x = batch_features()
    devices = 4
    graph, state = nnx.split(norm_relu(axis_name="data"))

    def step(state, share):
        module = nnx.merge(graph, state)
        return module(share), nnx.state(module, nnx.BatchStat)

    shares = x.reshape(devices, -1, *x.shape[1:])
    spread, stats = jax.pmap(
        step, axis_name="data", in_axes=(None, 0), devices=jax.devices()[:devices]
    )(state, shares)
    whole = norm_relu()
    expected = call(whole, x)
    np.testing.assert_allclose(spread.reshape(x.shape), expected, atol=1e-5)
    theirs = nnx.to_pure_dict(nnx.state(whole, nnx.BatchStat))
    for device in range(devices):
        mine = jax.tree.map(lambda statistic, i=device: statistic[i], nnx.to_pure_dict(stats))
        chex.assert_trees_all_close(mine, theirs, atol=1e-5)
    # Without the axis each device's share is normalised alone.
    assert np.abs(call(norm_relu(), x[:2]) - expected[:2]).max() > 0.01
