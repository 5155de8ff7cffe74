"""A checkpoint with the smallest network that has every part, with random weights."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import jax
import ml_collections
import numpy as np

from pose3d_jax import presets
from pose3d_jax.checkpoints.stage import StageCheckpoints
from pose3d_jax.data.examples import Example
from pose3d_jax.models.variables import make_network
from pose3d_jax.prediction.pose import Pose
from pose3d_jax.stages import get_stage
from pose3d_jax.training.directory import claim_directory
from pose3d_jax.training.state import TrainState, initial_state, make_optimizer

SIDE = 32
BONE_LENGTH_SUM = 4000.0


def config() -> ml_collections.ConfigDict:
    tree = presets.tiny()
    tree.preset = "tiny"
    tree.last_stage = 3
    tree.model.update(
        {
            "input_side": SIDE,
            "levels": 1,
            "depth_levels": 1,
            "features": 8,
            "detector_features": 8,
            "zero_init_outputs": False,
            "output_scale": 1.0,
        }
    )
    tree.data.bone_length_sum = BONE_LENGTH_SUM
    return tree


@functools.cache
def state() -> TrainState:
    """As if after stage 3."""
    _, variables = make_network(config(), axis_name=None)
    # As training leaves it: no statistic is 0 or 1.
    rng = np.random.default_rng(0)
    stats = jax.tree.map(
        lambda leaf: leaf + rng.uniform(0.1, 0.3, leaf.shape).astype(np.float32), variables.stats
    )
    fresh = initial_state(variables, make_optimizer(config(), get_stage(config(), 3)))
    return fresh._replace(stats=stats)


@functools.cache
def directory() -> Path:
    """A stage's directory, removed at the end."""
    root = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, root)
    write(root / "stage3")
    return root / "stage3"


def write(place: Path, stage: int = 3) -> None:
    claim_directory(place, config(), stage)
    with StageCheckpoints(place) as checkpoints:
        checkpoints.save(300, state())


def records(count: int) -> dict[str, np.ndarray]:
    """A host's batch: random images and poses, half of them with depth."""
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (count, 48, 48, 3), np.uint8),
        "box": np.tile(np.float32([24, 24, SIDE]), (count, 1)),
        "joints_2d": np.float32(rng.uniform(10, 38, (count, 16, 2))),
        "joints_valid": np.ones((count, 16), bool),
        "joints_3d": np.float32(rng.normal(0, 300, (count, 16, 3))),
        "has_3d": np.arange(count) % 2 == 0,
    }


def example(count: int) -> Example:
    """Float64 inputs and targets of lab and wild images with unlabelled joints."""
    rng = np.random.default_rng(0)
    valid = rng.random((count, 16)) < 0.9
    return Example(
        images=rng.random((count, SIDE, SIDE, 3)),
        heatmaps=rng.random((count, SIDE // 4, SIDE // 4, 16)),
        joints=rng.uniform(-1, 1, (count, 16, 2)),
        valid=valid,
        known=valid,
        depth=rng.uniform(-1, 1, (count, 16)),
        has_3d=np.arange(count) % 4 == 0,
    )


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth noise: what is sampled between its pixels is well defined."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width][..., None] / 7.0
    phase, fx, fy = rng.uniform(0, 6, (3, 1, 1, 3))
    return np.uint8(127 + 100 * np.sin(x * fx / 3 + phase) * np.cos(y * fy / 3 + phase))


def pose_of(joints_2d, joints_3d=None, **fields) -> Pose:
    """People with joints in px and mm (0 by default), and any further fields of `Pose`."""
    count = len(joints_2d)
    columns = {"joints_3d": (16, 3), "confidence": (16,), "squares": (3,), "image": ()}
    arrays = {name: np.zeros((count, *shape)) for name, shape in columns.items()} | fields
    if joints_3d is not None:
        arrays["joints_3d"] = joints_3d
    whole = {"image", "id"}
    return Pose(
        joints_2d=np.float32(joints_2d),
        **{n: np.asarray(x, np.int32 if n in whole else np.float32) for n, x in arrays.items()},
    )


def assert_same(found, expected, *, shift=(0, 0)) -> None:
    """Compares poses, or px, mm and confidences, with poses; those found are `shift` px off."""
    if hasattr(found, "joints_2d"):
        found = found.joints_2d, found.joints_3d, found.confidence
    np.testing.assert_allclose(np.add(found[0], shift), expected.joints_2d, atol=1e-3)
    np.testing.assert_allclose(found[1], expected.joints_3d, atol=1e-2)
    np.testing.assert_allclose(found[2], expected.confidence, atol=1e-4)
