import ml_collections
import numpy as np
import pytest
import small_checkpoint
from small_checkpoint import photo

from pose3d_jax import Predictor
from pose3d_jax.checkpoints import loading
from pose3d_jax.checkpoints.packed import write_packed
from pose3d_jax.errors import UserError
from pose3d_jax.models.variables import flatten
from pose3d_jax.prediction import calibration
from pose3d_jax.prediction.calibration import Calibration


def test_the_fit_finds_the_probabilities_that_made_the_data():
    rng = np.random.default_rng(0)
    truth = Calibration(6.0, 2.0, tuple(np.linspace(-5, -3, 16)))
    peaks = rng.uniform(0, 1, (6000, 16)).astype(np.float32)
    right = rng.uniform(size=peaks.shape) < truth(peaks)
    labelled = rng.uniform(size=peaks.shape) < 0.9
    fitted = calibration.fit(peaks, right | ~labelled, labelled)
    np.testing.assert_allclose(fitted.peak, truth.peak, rtol=0.05)
    np.testing.assert_allclose(fitted(peaks), truth(peaks), atol=0.06)
    rows, error = calibration.reliability(fitted(peaks).ravel(), right.ravel())
    assert rows[:, 2].sum() == right.size and error < 0.01
    np.testing.assert_allclose(rows[:, 0], rows[:, 1], atol=0.03)


def test_the_reliability_diagram_by_hand():
    confidence = np.array([0.02, 0.06, 0.55, 0.98, 1.0])
    right = np.array([False, True, True, True, True])
    rows, error = calibration.reliability(confidence, right)
    assert rows[:, 2].tolist() == [2, 0, 0, 0, 0, 1, 0, 0, 0, 2]
    np.testing.assert_allclose(rows[[0, 5, 9], :2], [[0.04, 0.5], [0.55, 1.0], [0.99, 1.0]])
    np.testing.assert_allclose(error, (2 * 0.46 + 0.45 + 2 * 0.01) / 5)
    np.testing.assert_allclose(calibration.reliability(confidence[2:3], right[2:3])[1], 0.45)


def test_a_config_carries_the_calibration():
    fitted = Calibration(1.0, 2.0, tuple(float(n) for n in range(16)))
    config = ml_collections.ConfigDict({calibration.SECTION: fitted._asdict()})
    assert Calibration.of_config(config) == fitted
    assert Calibration.of_config(ml_collections.ConfigDict()) is None
    with pytest.raises(UserError, match="16 biases"):
        Calibration.of_config(ml_collections.ConfigDict({calibration.SECTION: {"peak": 1.0}}))


def test_a_packed_network_carries_its_calibration(tmp_path):
    network = loading.load(small_checkpoint.directory())
    fitted = Calibration(5.0, 1.0, (-2.0,) * 16)
    config = ml_collections.ConfigDict(network.config.to_dict())
    config[calibration.SECTION] = fitted._asdict()
    write_packed(tmp_path / "a.safetensors", config, flatten(network.variables))
    image = photo(40, 40)
    calibrated = Predictor.from_checkpoint(tmp_path / "a.safetensors", compute="float32")(image)
    peaks = Predictor.from_checkpoint(small_checkpoint.directory(), compute="float32")(image)
    np.testing.assert_allclose(calibrated.confidence, fitted(peaks.confidence), atol=0.02)


def test_a_packed_network_carries_what_its_predictions_average(tmp_path):
    """The defaults of the file; arguments take precedence; evaluation and prediction agree."""
    network = loading.load(small_checkpoint.directory())
    config = ml_collections.ConfigDict(network.config.to_dict())
    config.passes = {"flip": True, "scales": (0.8, 1.0)}
    path = tmp_path / "a.safetensors"
    write_packed(path, config, flatten(network.variables))
    image = photo(40, 40)

    def joints(**options):
        return Predictor.from_checkpoint(path, compute="float32", **options)(image).joints_2d

    averaged = joints(flip=True, scales=(0.8, 1.0))
    assert np.abs(averaged - joints(flip=False, scales=(1.0,))).max() > 0.1
    np.testing.assert_array_equal(joints(), averaged)
    stored = loading.load(path).config
    assert loading.passes(stored) == (True, (0.8, 1.0))
    assert loading.passes(stored, flip=False, scales=[1.2]) == (False, (1.2,))
    assert loading.passes(network.config) == (False, (1.0,))


@pytest.mark.parametrize("scales", [(), (0.0,), ("1",)])
def test_impossible_scales_in_a_file_are_refused(tmp_path, scales):
    network = loading.load(small_checkpoint.directory())
    config = ml_collections.ConfigDict(network.config.to_dict())
    config.passes = {"flip": True, "scales": scales}
    write_packed(tmp_path / "a.safetensors", config, flatten(network.variables))
    with pytest.raises(UserError, match="scales"):
        loading.load(tmp_path / "a.safetensors")


def test_separable_data_has_finite_parameters():
    peaks = np.repeat([[0.1], [0.9]], 20, axis=0) * np.ones(16)
    fitted = calibration.fit(peaks, peaks > 0.5, np.ones(peaks.shape, bool))
    p = fitted(peaks)
    assert np.isfinite([fitted.peak, fitted.person]).all() and p[0, 0] < 0.1 and p[-1, 0] > 0.9
