"""Predictions of a split beside its labels, as each data set's protocol compares them."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, UInt8

from pose3d_jax import geometry, plotting
from pose3d_jax.input_pipeline import Chosen, evaluation_batches, spread
from pose3d_jax.progress import Pace
from pose3d_jax.skeleton import NECK, NUM_JOINTS, PELVIS, THORAX
from pose3d_jax.training import TrainState, split_over_devices

log = logging.getLogger(__name__)

#: Of progress, while a long split is predicted.
SECONDS_BETWEEN_REPORTS = 20

#: How many training records yardsticks are made of, at most.
YARDSTICK_RECORDS = 10_000

HIPS = (2, 3)
NEITHER_PELVIS_NOR_THORAX = ~np.isin(np.arange(NUM_JOINTS), (PELVIS, THORAX))


class Labels(NamedTuple):
    """What a split's records say, in the network's crop.

    Attributes:
        joints: crop px.
        depth: normalised; zeros without `has_3d`.
        valid: annotated joints.
        joints_3d: mm, camera frame.
        has_3d: which have depth.
        head_size: crop px.
    """

    joints: Float[np.ndarray, "n 16 2"]
    depth: Float[np.ndarray, "n 16"]
    valid: Bool[np.ndarray, "n 16"]
    joints_3d: Float[np.ndarray, "n 16 3"]
    has_3d: Bool[np.ndarray, "n"]
    head_size: Float[np.ndarray, "n"]


class Poses(NamedTuple):
    """Predicted poses, of the network or of a yardstick.

    Attributes:
        joints: crop px.
        depth: normalised.
        millimetres: root-relative.
    """

    joints: Float[np.ndarray, "n 16 2"]
    depth: Float[np.ndarray, "n 16"]
    millimetres: Float[np.ndarray, "n 16 3"]


class Protocol(NamedTuple):
    """What scores depend on besides poses and labels.

    Attributes:
        side: of the network's crop, px.
        skeleton_size: `AvgSumLen`, mm.
        dataset: name of the data set, which decides what joint 7 is.
        with_depth: False for a network whose depth module is not trained (stage 1).
    """

    side: int
    skeleton_size: float
    dataset: str
    with_depth: bool = True


def training_labels(source: Sequence, side: int) -> Labels:
    """The labels of training records that yardsticks are made of, evenly spaced over the split.

    Args:
        source: from `input_pipeline.open_source`.
        side: of the network's crop, px.
    """
    fields = ("joints_2d", "box", "joints_valid", "joints_3d", "has_3d", "head_size")
    chosen = Chosen(source, YARDSTICK_RECORDS)
    records = [chosen[i] for i in range(len(chosen))]
    return to_labels({name: np.asarray([r[name] for r in records]) for name in fields}, side)


def to_labels(batch: dict[str, np.ndarray], side: int) -> Labels:
    """The labels of stacked records, as the network's crop of `side` px has them."""
    zoom = side / batch["box"][:, 2]
    joints = (batch["joints_2d"] - batch["box"][:, None, :2]) * zoom[:, None, None] + side / 2
    return Labels(
        joints=joints,
        depth=np.asarray(
            geometry.depth_target(joints, batch["joints_3d"], side, batch["joints_valid"])
        ),
        valid=batch["joints_valid"],
        joints_3d=batch["joints_3d"],
        has_3d=batch["has_3d"],
        head_size=batch["head_size"] * zoom,
    )


def predict_split(
    predict: Callable[[TrainState, dict], dict],
    state: TrainState,
    source: Sequence,
    *,
    side: int,
    skeleton_size: float,
    batch_size: int,
    image_side: int,
    threads: int,
) -> tuple[Poses, Labels]:
    """Runs the network over a split.

    Args:
        predict: from `training.make_predict_step`.
        state: the network's.
        source: records, from `input_pipeline.open_source`.
        side: of the network's input, px.
        skeleton_size: `AvgSumLen`, mm.
        batch_size: rounded up to a multiple of this host's devices.
        image_side: see `evaluation_batches`.
        threads: see `evaluation_batches`.

    Returns:
        Poses and labels, in the split's order.
    """
    devices = jax.local_device_count()
    batch_size = -(-batch_size // devices) * devices
    outputs, labels = [], []
    batches = evaluation_batches(
        source, batch_size=batch_size, image_side=image_side, threads=threads
    )
    pace, told = Pace(-(-len(source) // batch_size), 0, batch_size), time.monotonic()
    for done, (batch, real) in enumerate(batches, 1):
        output = jax.device_get(predict(state, split_over_devices(batch)))
        outputs.append({k: v.reshape(-1, *v.shape[2:])[:real] for k, v in output.items()})
        labels.append({k: v[:real] for k, v in batch.items() if k != "image"})
        if done == 1:
            pace.restart(done)  # The first batch compiles.
        elif time.monotonic() - told > SECONDS_BETWEEN_REPORTS:
            log.info("%d of %d images · %s", done * batch_size, len(source), pace.text(done))
            told = time.monotonic()
    output, batch = _concatenate(outputs), _concatenate(labels)
    poses = as_poses(output["joints"], output["depth"], side, skeleton_size)
    return poses, to_labels(batch, side)


def _concatenate(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def as_poses(
    joints: Float[np.ndarray, "n 16 2"],
    depth: Float[np.ndarray, "n 16"],
    side: int,
    skeleton_size: float,
    valid: Bool[np.ndarray, "n 16"] | None = None,
) -> Poses:
    """Poses from 2D joints and depths; `geometry.to_millimetres` has the arguments."""
    millimetres = geometry.to_millimetres(joints, depth, side, skeleton_size, valid)
    return Poses(joints, depth, np.asarray(millimetres))


def as_scored(
    poses: Float[np.ndarray, "n 16 3"], truth: Float[np.ndarray, "n 16 3"], dataset: str
) -> Float[np.ndarray, "n 16 3"]:
    """Predicted poses as a data set's protocol compares them with the truth (Sec. 4.1.2).

    Human3.6M has no thorax: its test records hold the spine joint in its place, and predictions
    are scored with the midpoint of pelvis and neck there, as the release does. MPI-INF-3DHP has
    its pelvis and hips higher: the predicted ones are moved towards the neck by a fifth of the
    way from pelvis to neck; and its poses are compared at the truth's size.

    Args:
        poses: mm, root-relative.
        truth: mm.
        dataset: the data set's name.
    """
    family = dataset.split("/")[0]
    if family not in ("human36m", "mpi_inf_3dhp"):
        return poses
    poses = poses.copy()
    if family == "mpi_inf_3dhp":
        raised = 0.2 * (poses[:, NECK] - poses[:, PELVIS])
        poses[:, [PELVIS, *HIPS]] += raised[:, None]
    poses[:, THORAX] = (poses[:, PELVIS] + poses[:, NECK]) / 2
    return at_size_of(poses, truth) if family == "mpi_inf_3dhp" else poses


def at_size_of(
    poses: Float[np.ndarray, "n 16 3"], truth: Float[np.ndarray, "n 16 3"]
) -> Float[np.ndarray, "n 16 3"]:
    """Poses scaled until their bones sum to the truth's: "global scale known" (Sec. 4.1.2)."""
    sizes, wanted = (np.asarray(geometry.bone_length_sum(pose)) for pose in (poses, truth))
    return poses * (wanted / np.where(sizes > 0, sizes, 1.0))[:, None, None]


def joints_that_count(labels: Labels, dataset: str) -> Bool[np.ndarray, "n 16"]:
    """The joints whose 3D errors count; MPI-INF-3DHP leaves out pelvis and thorax."""
    counted = labels.valid & labels.has_3d[:, None]
    return counted & NEITHER_PELVIS_NOR_THORAX if dataset == "mpi_inf_3dhp" else counted


def yardsticks(training: Labels | None, test: Labels, protocol: Protocol) -> dict[str, Poses]:
    """Poses that a method should beat, and one that it cannot.

    Args:
        training: labels of lab training records; None where they are not there, and with them the
            first two yardsticks.
        test: labels of the records to predict.
        protocol: the crop's side and `AvgSumLen`.

    Returns:
        "mean pose" of the training records in px, depth and mm; "true 2D, mean depth"; and "true
        2D, true depth", whose error is what weak perspective and the average size leave.
    """
    true_depth = as_poses(test.joints, test.depth, *protocol[:2], test.valid)
    if training is None:
        return {"true 2D, true depth": true_depth}
    count = len(test.joints)
    mean_depth = np.broadcast_to(training.depth.mean(0), test.depth.shape)
    mean_mm = np.asarray(geometry.relative_to_root(training.joints_3d)).mean(0)
    return {
        "mean pose": Poses(
            np.broadcast_to(training.joints.mean(0), test.joints.shape),
            mean_depth,
            np.broadcast_to(mean_mm, (count, *mean_mm.shape)),
        ),
        "true 2D, mean depth": as_poses(test.joints, mean_depth, *protocol[:2], test.valid),
        "true 2D, true depth": true_depth,
    }


def in_pixels(poses: Poses | Labels, side: int) -> Float[np.ndarray, "n 16 3"]:
    """2D joints and depths in one unit, crop px ("3D pixels" of Table 4)."""
    return np.concatenate([poses.joints, poses.depth[..., None] * side / 2], axis=-1)


def prediction_sheet(
    source: Sequence, poses: Poses, side: int, count: int = 8
) -> UInt8[np.ndarray, "h w 3"]:
    """A picture of some records: the labelled joints above, the predicted ones below.

    Args:
        source: the records, as `predict_split` read them.
        poses: its predictions.
        side: of the network's input, px.
        count: how many records, spread evenly.
    """
    places = spread(len(source), count)
    records = [source[int(i)] for i in places]
    ours = []
    for record, joints in zip(records, poses.joints[places]):
        centre, box_side = record["box"][:2], record["box"][2]
        in_image = (joints - side / 2) * box_side / side + centre
        ours.append(dict(record, joints_2d=in_image, joints_valid=np.ones(NUM_JOINTS, bool)))
    return plotting.contact_sheet([*records, *ours], columns=len(records))
