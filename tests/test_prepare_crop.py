import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pose3d_jax.images import crop


def gradient(height, width):
    """An image whose red is its x and whose green is its y (continuous coordinates)."""
    y, x = np.mgrid[:height, :width] + 0.5
    return np.stack([x, y, np.full_like(x, 7)], axis=-1)


@given(
    center=st.tuples(st.floats(60, 140), st.floats(60, 140)),
    side=st.floats(8, 100),
    size=st.sampled_from([16, 33, 64]),
)
def test_every_pixel_shows_what_to_source_says(center, side, size):
    image = gradient(200, 200).astype(np.uint8)
    result, to_source = crop.crop_square(image, np.array(center), side, size)
    assert result.shape == (size, size, 3) and result.dtype == np.uint8
    y, x = np.mgrid[:size, :size] + 0.5
    source = np.stack([x, y], -1) @ to_source[:, :2].T + to_source[:, 2]
    np.testing.assert_allclose(result[..., :2], source, atol=1.01)  # Two roundings to uint8.
    np.testing.assert_allclose(np.diag(to_source), side / size, rtol=1e-6)


@given(
    center=st.tuples(st.floats(-50, 250), st.floats(-50, 250)), side=st.floats(1, 500)
)  # fmt: skip
def test_beyond_the_image_is_black_and_within_is_not(center, side):
    image = np.full((120, 200, 3), 200, np.uint8)
    result, to_source = crop.crop_square(image, np.array(center), side, 32)
    y, x = np.mgrid[:32, :32] + 0.5
    source = np.stack([x, y], -1) @ to_source[:, :2].T + to_source[:, 2]
    scale = side / 32
    # A pixel's distance to the border of the image, negative outside, in pixels of the result.
    depth = np.minimum(source, [200, 120] - source).min(-1) / scale
    reach = 2.5 * max(1, 1 / scale)  # The filter's own.
    assert (result[depth < -reach] == 0).all()
    assert (np.abs(result[depth > reach].astype(int) - 200) <= 1).all()


def test_the_whole_image_at_its_own_size_is_the_image():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    result, to_source = crop.crop_square(image, np.array([32.0, 32.0]), 64, 64)
    np.testing.assert_array_equal(result, image)
    np.testing.assert_array_equal(to_source, np.eye(2, 3))


def test_reduction_is_antialiased():
    """A fine chequerboard becomes its mean, not moiré."""
    y, x = np.mgrid[:512, :512]
    image = np.repeat(((x + y) % 2 * 255)[..., None], 3, axis=-1).astype(np.uint8)
    result, _ = crop.crop_square(image, np.array([256.3, 255.9]), 400.7, 64)
    assert np.abs(result[4:-4, 4:-4].astype(float) - 127.5).max() < 3


def test_a_square_far_larger_than_the_image():
    image = np.full((100, 100, 3), 255, np.uint8)
    result, _ = crop.crop_square(image, np.array([50.0, 50.0]), 5000.0, 64)
    # The image covers 1.28² pixels of the result, around the middle; light is conserved.
    np.testing.assert_allclose(result[..., 0].sum() / 255, 1.28**2, rtol=0.15)
    assert result[28:36, 28:36].sum() == result.sum()
    result, _ = crop.crop_square(image, np.array([1e5, 50.0]), 300, 64)
    assert (result == 0).all()


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.floats(10, 2000))
def test_points_into_the_crop_and_back(x, y, side):
    image = np.zeros((4, 4, 3), np.uint8)
    _, to_source = crop.crop_square(image, np.array([x, y]), side, 256)
    points = np.array([[x, y], [x - side / 2, y - side / 2], [3.0, 4.0]])
    inside = crop.to_crop(points, to_source)
    np.testing.assert_allclose(inside[:2], [[128, 128], [0, 0]], atol=2e-2)
    back = inside @ to_source[:, :2].T + to_source[:, 2]
    np.testing.assert_allclose(back, points, atol=1e-2)


def test_square_around_points():
    center, side = crop.square_around(np.array([[10.0, 20], [30, 80], [20, 40]]), 1.25)
    np.testing.assert_allclose(center, [20, 50])
    assert side == pytest.approx(75)
    assert crop.square_around(np.zeros((3, 2)), 1.25)[1] == 1
