"""Evaluation: predictions of a split, the paper's metrics on them, and yardsticks beside them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, UInt8

from pose3d_jax import geometry, metrics, plotting
from pose3d_jax.input_pipeline import evaluation_batches, spread
from pose3d_jax.skeleton import NECK, NUM_JOINTS, PELVIS, THORAX
from pose3d_jax.training import TrainState, split_over_devices

#: Of the table, in order.
COLUMNS = ("PCKh@0.5", "MPJPE", "MPJPE true 2D", "PA-MPJPE", "symmetry", "bone sum")


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


def read_labels(source: Sequence, side: int, limit: int) -> Labels:
    """The labels of records, as the network's crop of `side` px has them.

    Args:
        source: from `input_pipeline.open_source`.
        side: of the crop, px.
        limit: read at most this many, spread evenly over the split.
    """
    fields = ("joints_2d", "box", "joints_valid", "joints_3d", "has_3d", "head_size")
    records = [source[int(i)] for i in spread(len(source), limit)]
    return to_labels({name: np.asarray([r[name] for r in records]) for name in fields}, side)


def to_labels(batch: dict[str, np.ndarray], side: int) -> Labels:
    """The labels of stacked records, as the network's crop of `side` px has them."""
    zoom = side / batch["box"][:, 2]
    joints = (batch["joints_2d"] - batch["box"][:, None, :2]) * zoom[:, None, None] + side / 2
    return Labels(
        joints=joints,
        depth=np.asarray(geometry.depth_target(joints, batch["joints_3d"], side)),
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
    limit: int | None = None,
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
        limit: see `evaluation_batches`.

    Returns:
        Poses and labels, in the split's order.
    """
    devices = jax.local_device_count()
    batch_size = -(-batch_size // devices) * devices
    outputs, labels = [], []
    for batch, real in evaluation_batches(
        source, batch_size=batch_size, image_side=image_side, threads=threads, limit=limit
    ):
        output = jax.device_get(predict(state, split_over_devices(batch)))
        outputs.append({k: v.reshape(-1, *v.shape[2:])[:real] for k, v in output.items()})
        labels.append({k: v[:real] for k, v in batch.items() if k != "image"})
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
) -> Poses:
    """Poses from 2D joints and depths: their mm by the average skeleton's size (Sec. 4.1.2)."""
    millimetres = geometry.to_millimetres(joints, depth, side, skeleton_size)
    return Poses(joints, depth, np.asarray(millimetres))


def as_scored(poses: Poses, dataset: str) -> Poses:
    """Poses in a data set's own definition of joints.

    Human3.6M has no thorax: its test records hold the spine joint in its place, and predictions
    are scored with the midpoint of pelvis and neck there, as the release does.
    """
    if dataset.split("/")[0] != "human36m":
        return poses
    millimetres = poses.millimetres.copy()
    millimetres[:, THORAX] = (millimetres[:, PELVIS] + millimetres[:, NECK]) / 2
    return poses._replace(millimetres=millimetres)


def yardsticks(training: Labels, test: Labels, protocol: Protocol) -> dict[str, Poses]:
    """Poses that a method should beat, and one that it cannot.

    Args:
        training: labels of lab training records.
        test: labels of the records to predict.
        protocol: the crop's side and `AvgSumLen`.

    Returns:
        "mean pose" of the training records in px, depth and mm; "true 2D, mean depth"; and "true
        2D, true depth", whose error is what weak perspective and the average size leave.
    """
    count = len(test.joints)
    mean_depth = np.broadcast_to(training.depth.mean(0), test.depth.shape)
    mean_mm = np.asarray(geometry.relative_to_root(training.joints_3d)).mean(0)
    return {
        "mean pose": Poses(
            np.broadcast_to(training.joints.mean(0), test.joints.shape),
            mean_depth,
            np.broadcast_to(mean_mm, (count, *mean_mm.shape)),
        ),
        "true 2D, mean depth": as_poses(test.joints, mean_depth, *protocol[:2]),
        "true 2D, true depth": as_poses(test.joints, test.depth, *protocol[:2]),
    }


def summarise(poses: Poses, labels: Labels, protocol: Protocol) -> dict[str, float]:
    """One row of the table: the means over a split.

    Returns:
        PCKh@0.5 in percent; MPJPE, MPJPE with the true 2D joints, PA-MPJPE and symmetry in mm;
        and the ratio of the bone-length sum to the truth's. What the labels cannot tell, or the
        network has not learnt yet, is left out.
    """
    side, size = protocol.side, protocol.skeleton_size
    scores = metrics.pckh(poses.joints, labels.joints, labels.head_size, labels.valid)
    row = {"PCKh@0.5": scores["mean"]}
    chosen = np.flatnonzero(labels.has_3d)
    if protocol.with_depth:
        row["symmetry"] = np.mean([x.mean() for x in metrics.symmetry(poses.millimetres).values()])
    if protocol.with_depth and len(chosen):
        truth, valid = labels.joints_3d[chosen], labels.valid[chosen]
        ours = as_scored(poses, protocol.dataset).millimetres[chosen]
        with_true_2d = as_poses(labels.joints, poses.depth, side, size)
        with_true_2d = as_scored(with_true_2d, protocol.dataset).millimetres[chosen]
        row["bone sum"] = metrics.bone_sum_ratio(
            in_pixels(poses, side)[chosen], in_pixels(labels, side)[chosen]
        ).mean()
        row["MPJPE"] = metrics.mpjpe(ours, truth, valid).mean()
        row["MPJPE true 2D"] = metrics.mpjpe(with_true_2d, truth, valid).mean()
        row["PA-MPJPE"] = metrics.pa_mpjpe(ours, truth, valid).mean()
    return {name: float(row[name]) for name in COLUMNS if name in row}


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
    predicted = len(poses.joints)
    places = spread(predicted, count)
    records = [source[int(i)] for i in spread(len(source), predicted)[places]]
    ours = []
    for record, joints in zip(records, poses.joints[places]):
        centre, box_side = record["box"][:2], record["box"][2]
        in_image = (joints - side / 2) * box_side / side + centre
        ours.append(dict(record, joints_2d=in_image, joints_valid=np.ones(NUM_JOINTS, bool)))
    return plotting.contact_sheet([*records, *ours], columns=len(records))


def format_table(title: str, rows: dict[str, dict[str, float]]) -> str:
    """Rows of numbers under their names, aligned for a terminal; "–" where there is none."""
    columns = [name for name in COLUMNS if any(name in row for row in rows.values())]
    width = max(len(name) for name in [title, *rows])
    lines = ["  ".join([title.ljust(width), *(name.rjust(9) for name in columns)])]
    for name, row in rows.items():
        cells = [
            f"{row[c]:.{2 if c == 'bone sum' else 1}f}" if np.isfinite(row.get(c, np.nan)) else "–"
            for c in columns
        ]
        padded = (cell.rjust(max(9, len(c))) for cell, c in zip(cells, columns))
        lines.append("  ".join([name.ljust(width), *padded]))
    return "\n".join(lines)
