import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pose3d_jax import heatmaps


def test_render_is_a_gaussian_around_the_joint_itself():
    rng = np.random.default_rng(0)
    joints = rng.uniform(-1, 13, (2, 3, 2)).astype(np.float32)
    valid = np.array([[True, False, True], [True, True, False]])
    maps = heatmaps.render(joints, valid, side=12, sigma=1.5)
    expected = np.zeros((2, 12, 12, 3))
    for b, row, column, j in np.ndindex(*expected.shape):
        x, y = joints[b, j]
        squared = (column + 0.5 - x) ** 2 + (row + 0.5 - y) ** 2
        expected[b, row, column, j] = valid[b, j] * np.exp(-squared / (2 * 1.5**2))
    np.testing.assert_allclose(maps, expected, atol=1e-6)


def test_targets_are_not_rounded_on_accelerators():
    """Accelerators round the factors of matrix products to 8 or 10 bits: rendering has none."""
    arguments = jnp.zeros((2, 16, 2)), jnp.ones((2, 16), bool), 64, 1.75
    lowered = jax.jit(heatmaps.render, static_argnums=2).lower(*arguments).as_text()
    assert "stablehlo.multiply" in lowered and "stablehlo.exponential" in lowered
    for rounded in ("dot_general", "convolution", "bf16", "f16"):
        assert rounded not in lowered


#: Nearer to pixel 1's outer edge, float32 cannot tell it from pixel 0, which is never shifted.
interior = st.floats(1.0625, 14.9375, width=32)


@given(st.lists(st.tuples(interior, interior), min_size=4, max_size=4), st.sampled_from([1, 4]))
def test_decoding_undoes_rendering_to_within_a_quarter_of_a_pixel(positions, stride):
    joints = jnp.array(positions)
    maps = heatmaps.render(joints, jnp.ones(4, bool), side=16, sigma=1.0)
    decoded, scores = heatmaps.decode(maps, stride)
    np.testing.assert_allclose(decoded / stride, joints, atol=0.2501)
    assert (scores > 0.75).all()  # exp(-0.25), at a pixel's corner


@given(st.lists(st.tuples(interior, interior), min_size=4, max_size=4), st.floats(0.7, 3.0))
def test_the_logarithmic_parabola_is_exact_for_a_gaussian(positions, sigma):
    """The logarithm of a Gaussian is a parabola, whatever its peak and its width."""
    joints = jnp.array(positions)
    maps = heatmaps.render(joints, jnp.ones(4, bool), side=16, sigma=sigma)
    decoded, _ = heatmaps.decode(0.3 * maps, 4, "log_parabola")
    np.testing.assert_allclose(decoded / 4, joints, atol=2e-3)


def test_the_logarithmic_parabola_of_any_map_stays_within_half_a_pixel():
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(50, 9, 9, 4)).astype(np.float32)
    maps[0], maps[1], maps[2] = 0.0, -1.0, 1.0
    decoded, _ = heatmaps.decode(maps, 1, "log_parabola")
    index = maps.reshape(50, 81, 4).argmax(1)
    pixels = np.stack([index % 9, index // 9], axis=-1) + 0.5
    assert np.abs(decoded - pixels).max() <= 0.5
    np.testing.assert_array_equal(decoded[:3], pixels[:3])


def rectangular_map(values):
    """A map of 5 rows and 9 columns with the given pixels, else 0, as (5, 9, 1)."""
    array = np.zeros((5, 9, 1), np.float32)
    for (row, column), value in values.items():
        array[row, column] = value
    return array


@pytest.mark.parametrize(
    ("neighbour", "shift"),
    [
        ((2, 7), (0.25, 0)),
        ((2, 5), (-0.25, 0)),
        ((3, 6), (0, 0.25)),
        ((1, 6), (0, -0.25)),
        ((0, 0), (0, 0)),
    ],
)
def test_the_quarter_pixel_goes_towards_the_higher_neighbour_of_each_axis(neighbour, shift):
    maps = rectangular_map({(2, 6): 1.0, neighbour: 0.5})
    decoded, scores = heatmaps.decode(maps, stride=4)
    np.testing.assert_array_equal(decoded, [[4 * (6.5 + shift[0]), 4 * (2.5 + shift[1])]])
    np.testing.assert_array_equal(scores, [1.0])


@pytest.mark.parametrize("column", [0, 8])
@pytest.mark.parametrize("row", [0, 4])
def test_no_shift_at_the_border(row, column):
    around = {
        (r, c): 0.5
        for r in range(row - 1, row + 2)
        for c in range(column - 1, column + 2)
        if 0 <= r < 5 and 0 <= c < 9
    }
    decoded, _ = heatmaps.decode(rectangular_map(around | {(row, column): 1.0}), stride=1)
    np.testing.assert_array_equal(decoded, [[column + 0.5, row + 0.5]])


def test_a_border_only_stops_the_shift_across_it():
    maps = rectangular_map({(0, 4): 1.0, (1, 4): 0.5, (0, 5): 0.5})
    decoded, _ = heatmaps.decode(maps, stride=1)
    np.testing.assert_array_equal(decoded, [[4.75, 0.5]])


def test_decode_keeps_batch_and_joints_apart_and_scores_negative_peaks():
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(2, 3, 5, 9, 4)).astype(np.float32) - 10.0
    decoded, scores = map(np.asarray, heatmaps.decode(maps, stride=1))
    assert decoded.shape == (2, 3, 4, 2)
    np.testing.assert_array_equal(scores, maps.max((2, 3)))
    for a, b, j in np.ndindex(2, 3, 4):
        row, column = np.unravel_index(maps[a, b, :, :, j].argmax(), (5, 9))
        assert np.abs(decoded[a, b, j] - [column + 0.5, row + 0.5]).max() <= 0.25
