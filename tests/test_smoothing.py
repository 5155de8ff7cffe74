import numpy as np
import pytest
from small_checkpoint import pose_of

from pose3d_jax.prediction.smoothing import OneEuro, PoseSmoother, size_in_image

RATE = 25


def walk(height, jitter, frames=100):
    """A person who walks half a height per second, with noise of a share of the height; px."""
    random = np.random.default_rng(0)
    shape = random.uniform(-0.5, 0.5, (1, 16, 2)) * (0.4, 1)
    shape[0, :2, 1] = -0.5, 0.5
    moved = np.arange(frames)[:, None, None, None] / RATE * np.array([0.5, 0])
    return height * (shape + moved), height * jitter * random.normal(size=(frames, 1, 16, 2))


def smoothed(samples):
    smooth = PoseSmoother()
    ids = range(samples.shape[1])
    return np.array([smooth(pose_of(x, id=ids), n / RATE).joints_2d for n, x in enumerate(samples)])


def test_filter_does_not_depend_on_resolution():
    """The same share of the jitter remains at 50 and at 2,400 px."""
    remaining = []
    for height in (50, 200, 2400):
        truth, noise = walk(height, 0.01)
        result = smoothed(truth + noise)
        jitter = [np.diff(x, n=2, axis=0).std() for x in (result, truth + noise)]
        remaining.append(jitter[0] / jitter[1])
        lag = smoothed(truth) - truth
        assert np.abs(lag).max() < 0.1 * height
    np.testing.assert_allclose(remaining, remaining[0], rtol=1e-3)
    assert remaining[0] < 0.6


def test_people_of_one_frame_have_units_of_their_own():
    near, far = (np.add(*walk(height, 0.01)) for height in (1000, 100))
    together = smoothed(np.concatenate([near, far], axis=1))
    np.testing.assert_allclose(together[:, :1], smoothed(near))
    np.testing.assert_allclose(together[:, 1:], smoothed(far))


def test_smoothing_keeps_people_apart():
    shape = np.random.default_rng(0).uniform(-40, 40, (16, 2))

    def people(places: dict[int, float]):
        """People who stand at places along x, by identity."""
        joints = np.array([shape + place for place in places.values()])
        return pose_of(joints, np.pad(joints, ((0, 0), (0, 0), (0, 1))), id=list(places))

    smooth = PoseSmoother()
    for frame in range(20):
        smooth(people({0: 100, 1: 500}), frame / 25)
    # One leaves and another comes, in the same frame; the order changes.
    new = people({2: 900, 1: 503})
    found = smooth(new, 20 / 25)
    np.testing.assert_array_equal(found.joints_2d[0], new.joints_2d[0])
    for name in ("joints_2d", "joints_3d"):
        assert (getattr(found, name)[1, :, 0] < getattr(new, name)[1, :, 0] - 0.5).all()
    assert found.id.tolist() == [2, 1]
    # A person who returns after a while is not drawn to the old place.
    later = people({0: 300})
    np.testing.assert_array_equal(smooth(later, 5.0).joints_2d, later.joints_2d)


def test_size_is_the_larger_extent():
    joints = np.zeros((2, 16, 2))
    joints[0, 3], joints[0, 9] = (30, 10), (-10, 20)
    np.testing.assert_array_equal(size_in_image(joints), [40, 1])
    assert size_in_image(np.zeros((0, 16, 2))).shape == (0,)


@pytest.mark.parametrize("unit", [1.0, 200.0])
def test_one_euro_follows_its_definition(unit):
    """Casiez et al. 2012, algorithm 1, for one number at a time."""
    rate, least, beta = 50.0, 0.8, 0.02 * unit
    samples = np.random.default_rng(0).normal(size=(40, 3)).cumsum(0) * 20
    ours = OneEuro(min_cutoff=least, beta=beta)
    filtered = np.array([ours(sample, 1 / rate, unit=unit) for sample in samples])

    def weight(cutoff):
        return 1 / (1 + rate / (2 * np.pi * cutoff))

    for column in range(3):
        value, speed = samples[0, column], 0.0
        for i, sample in enumerate(samples[1:, column], 1):
            speed = weight(1.0) * (sample - value) * rate + (1 - weight(1.0)) * speed
            a = weight(least + 0.02 * abs(speed))
            value = a * sample + (1 - a) * value
            np.testing.assert_allclose(filtered[i, column], value)
