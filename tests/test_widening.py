import jax.numpy as jnp
import numpy as np
import pytest
import small_checkpoint

from pose3d_jax.errors import UserError
from pose3d_jax.models.inference import predict
from pose3d_jax.models.variables import flatten, make_network, unflatten
from pose3d_jax.models.widening import widen


def network(features, seed, **model):
    config = small_checkpoint.config()
    config.seed = seed
    config.model.update({"features": features, "level_features": (features, 2 * features), **model})
    config.model.depth_features = (16,)
    return make_network(config, axis_name=None)


def test_a_widened_network_computes_the_same():
    small, variables = network(8, seed=0)
    wide, initial = network(12, seed=1)
    arrays = widen(flatten(variables), flatten(initial))
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8))
    for one, other in zip(
        predict(small, variables, images), predict(wide, unflatten(arrays, initial), images)
    ):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_new_channels_keep_their_initial_values():
    _, variables = network(8, seed=0)
    _, initial = network(12, seed=1)
    before, after = flatten(initial), widen(flatten(variables), flatten(initial))
    name = "params/stem/patch/kernel/value"
    np.testing.assert_array_equal(after[name][:, 8:], before[name][:, 8:])


def test_heads_that_the_trained_network_lacks_stay_initial():
    _, variables = network(8, seed=0)
    _, initial = network(8, seed=1, lifter_features=(16,))
    after = widen(flatten(variables), flatten(initial))
    for name, array in flatten(initial).items():
        np.testing.assert_array_equal(after[name], flatten(variables).get(name, array))


def test_a_narrower_network_is_refused():
    (_, wide), (_, small) = network(12, seed=0), network(8, seed=1)
    with pytest.raises(UserError, match="does not fit"):
        widen(flatten(wide), flatten(small))
