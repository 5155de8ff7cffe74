"""The training step beside the release's, whose own steps were recorded (`data/README.md`)."""

from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from pose3d_jax.data.examples import Example
from pose3d_jax.interop.release import make_config, to_arrays
from pose3d_jax.interop.torch_files import read_tensors
from pose3d_jax.models.variables import AXIS, abstract_network, flatten, unflatten
from pose3d_jax.stages import get_stage
from pose3d_jax.training.state import Hyperparameters, initial_state, make_optimizer
from pose3d_jax.training.steps import Mean, _average, depth_diagnostics, make_train_step

DATA = Path(__file__).parent / "data"
STEPS, BATCH = 3, 6
ONE_DEVICE = Mesh(np.asarray(jax.devices()[:1]), (AXIS,))


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(DATA / "train_step.npz"))


@pytest.fixture(scope="module")
def release():
    """The release's network before its first step."""
    tensors = read_tensors(DATA / "release_network.pth", "conv1_.weight")
    return {k: v for k, v in tensors.items() if not k.endswith("num_batches_tracked")}


def in_float64(tensors, config):
    """Their tensors under our names, for images that are divided by 256 as theirs are."""
    arrays = to_arrays(tensors, config)
    kernel = np.float64(tensors["conv1_.weight"]).transpose(2, 3, 1, 0)[:, :, ::-1]
    return {name: np.float64(x) for name, x in arrays.items()} | {
        "params/stem/conv/kernel/value": kernel
    }


def recorded_example(golden, step):
    """Inputs and targets of one of the recorded steps, for one device."""
    of_step = golden["maps_index"][:, 0] == step
    place, value = golden["maps_index"][of_step, 1:], golden["maps_value"][of_step]
    maps = np.zeros((BATCH, 16, 64, 64))
    maps[tuple(place.T)] = value
    bgr = golden["coarse_bgr"][step].repeat(8, axis=1).repeat(8, axis=2)
    example = Example(
        images=bgr[..., ::-1] / 256.0,
        heatmaps=maps.transpose(0, 2, 3, 1),
        joints=golden["joints_xy_64"][step].astype(np.float64) / 32 - 1,
        valid=golden["valid"][step],
        known=golden["valid"][step],
        depth=golden["depth"][step].astype(np.float64),
        has_3d=golden["is_3d"][step],
    )
    return jax.tree.map(lambda x: x[None], example)


@pytest.fixture(scope="module")
def trained(golden, release, optimised):
    """What three steps of each stage compute, in float64: losses, and the network after them.

    One program for both stages: the learning rate drops between them.
    """
    config = make_config(release)
    config.precision.compute = "float64"
    results = {}
    with jax.enable_x64(True):
        graphdef, shapes = abstract_network(config)
        variables = unflatten(in_float64(release, config), shapes)
        before, stage = get_stage(config, 2), get_stage(config, 3)
        # Stage 3 has a tenth of stage 2's learning rate: the same after the drop.
        optimizer = make_optimizer(
            config, before._replace(schedule=before.schedule._replace(drop_at=STEPS))
        )
        step = make_train_step(
            config, graphdef, optimizer, stage, lambda config, recorded, keys: recorded
        )
        for number, count in ((2, 0), (3, STEPS)):
            hyper = Hyperparameters(
                np.int32(number), stage.lambda_reg, get_stage(config, number).lambda_geo
            )
            fresh = initial_state(variables, optimizer)
            fresh = fresh._replace(
                opt_state=optax.tree_utils.tree_set(fresh.opt_state, count=np.int32(count))
            )
            # Where the step leaves it, or the second call would compile again.
            state = jax.device_put(fresh, NamedSharding(ONE_DEVICE, P()))
            losses = []
            for i in range(STEPS):
                state, metrics = step(state, recorded_example(golden, i), hyper)
                losses.append(jax.device_get(metrics))
            results[number] = losses, flatten(state.variables)
    return results


@pytest.mark.parametrize("number", [2, 3])
def test_losses_are_the_releases(golden, trained, number):
    losses, _ = trained[number]
    for name in ("loss", "depth_loss"):
        found = [metrics[name] for metrics in losses]
        np.testing.assert_allclose(found, golden[f"stage{number}/{name}"], rtol=1e-8)


@pytest.mark.parametrize("number", [2, 3])
def test_parameters_and_statistics_are_the_releases(golden, release, trained, number):
    config = make_config(release)
    _, found = trained[number]
    recorded = {name: golden.get(f"stage{number}/{name}") for name in release}
    known = in_float64(
        {k: np.full(release[k].shape, x is not None) for k, x in recorded.items()}, config
    )
    after = {k: release[k] if x is None else x for k, x in recorded.items()}
    after = in_float64(after, config)
    compared = 0
    for name, expected in after.items():
        if not known[name].all():
            continue
        compared += 1
        if name.endswith("var/value"):
            # Theirs is unbiased. The fewest values are 4 × 4 pixels of 6 images.
            assert (found[name] <= expected * (1 + 1e-6)).all(), name
            assert (expected <= found[name] * 96 / 95 * (1 + 1e-6)).all(), name
        else:
            np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-6, err_msg=name)
    assert compared > len(after) / 3


def test_diagnostics_are_means_over_the_images_of_all_devices():
    """Three images on one device and none on another count as three, and not as nothing."""
    means = Mean(np.float32([6.0, 0.0]), np.float32([3.0, 0.0]))
    found = jax.pmap(_average, axis_name=AXIS, devices=jax.devices()[:2])({"ratio": means})
    np.testing.assert_array_equal(found["ratio"], [2.0, 2.0])


def test_diagnostics_leave_out_joints_without_annotation():
    rng = np.random.default_rng(0)
    joints = np.float32(rng.uniform(-0.8, 0.8, (4, 16, 2)))
    depth = np.float32(rng.uniform(-0.8, 0.8, (4, 16)))
    whole = Example(
        images=None,
        heatmaps=None,
        joints=joints,
        valid=np.ones((4, 16), bool),
        known=np.ones((4, 16), bool),
        depth=depth,
        has_3d=np.array([True, True, False, False]),
    )
    # Far outside the crop is where a record's zeros come to lie.
    valid = ~np.isin(np.arange(16), (0, 5, 9, 10))
    partial = whole._replace(
        joints=np.where(valid[:, None], joints, np.float32(-30)), valid=np.tile(valid, (4, 1))
    )

    def ratios(example, depth):
        return {k: total / count for k, (total, count) in depth_diagnostics(example, depth).items()}

    expected, found = ratios(whole, depth), ratios(partial, depth)
    for name, value in expected.items():
        assert abs(found[name] / value - 1) < 0.15, name
    # An image without any annotated bone says nothing.
    partial.valid[2] = False
    alone = ratios(partial, depth)["bone_ratio_wild"]
    last = [field[3:] for field in (partial.joints, partial.valid, depth)]
    one = whole._replace(joints=last[0], valid=last[1], depth=last[2], has_3d=np.array([False]))
    np.testing.assert_allclose(alone, ratios(one, last[2])["bone_ratio_wild"], rtol=1e-6)
