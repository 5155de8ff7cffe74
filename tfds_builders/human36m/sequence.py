"""Records of one sequence: a video and its poses."""

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from pose3d_jax import skeleton
from pose3d_jax.errors import UserError
from pose3d_jax.images import videos
from pose3d_jax.images.crop import square_around
from pose3d_jax.untrusted import are_plausible, read_isolated
from tfds_builders import work
from tfds_builders.base import crop_record
from tfds_builders.downloads import reading
from tfds_builders.human36m.release import DAMAGED_BEFORE_2020, Sequence36m

#: The network's input: the record is the box, so training and evaluation do not resample it.
IMAGE_SIDE = 256
#: Side of the box in units of the joints' extent, the factor of MPII's boxes: feet, hands and the
#: top of the head extend beyond the joints.
BOX_MARGIN = 1.25
NUM_SOURCE_JOINTS = 32
_POSES = "poses of Human3.6M"
_SHORTER = "video shorter than its poses, the frames that have both are used"
#: Index among Human3.6M's 32 joints of each of the skeleton's 16; joint 7 is its spine.
JOINTS = np.array([3, 2, 1, 6, 7, 8, 0, 12, 13, 15, 27, 26, 25, 17, 18, 19])


@dataclasses.dataclass(frozen=True)
class Task:
    """Arguments of `make_records`."""

    sequence: Sequence36m  # the sequence
    step: int  # keep every `step`-th frame
    shoulder_thorax: bool  # see `thorax_between_shoulders`


def make_records(item: work.Item) -> work.Output:
    """The records of one sequence; `item.inputs` are its video, 2D poses and 3D poses."""
    if item.task.sequence != DAMAGED_BEFORE_2020:
        return _make_records(item)
    try:
        output = _make_records(item)
    except UserError as error:
        if item.inputs[0] not in str(error):  # The poses are damaged, not the video.
            raise
    else:
        # A decoder may skip unreadable frames; the later ones would then get the wrong poses.
        if all(remark.why != _SHORTER for remark in output.remarks):
            return output
    why = "damaged in the release of before September 2020, left out"
    return work.Output([], (work.Remark(item.name, why),))


def _make_records(item: work.Item) -> work.Output:
    task: Task = item.task
    video, poses_2d, poses_3d = item.inputs
    joints_2d = read_poses(poses_2d, 2)[:, JOINTS]
    joints_3d = read_poses(poses_3d, 3)[:, JOINTS]
    count = min(len(joints_2d), len(joints_3d))
    remarks = []
    if len(joints_2d) != len(joints_3d):
        remarks.append(work.Remark(item.name, "2D and 3D poses differ in number, the fewer used"))
    joints_2d, joints_3d = joints_2d[:count], joints_3d[:count]
    if task.shoulder_thorax:
        joints_2d, joints_3d = thorax_between_shoulders(joints_2d, joints_3d)
    last = count - 1 if item.limit is None else min(count - 1, (item.limit - 1) * task.step)
    records, index = [], 0
    for frame in itertools.islice(read_frames(video), last + 1):
        if index % task.step == 0:
            image = videos.pixels(video, frame)
            records.append(_record(task, index, image, joints_2d[index], joints_3d[index]))
        index += 1
    if index <= last:
        remarks.append(work.Remark(f"{item.name} ({index} of {count} frames)", _SHORTER))
    return work.Output(records, remarks)


def _record(
    task: Task,
    index: int,
    image: UInt8[np.ndarray, "height width 3"],
    joints_2d: Float[np.ndarray, "16 2"],
    joints_3d: Float[np.ndarray, "16 3"],
) -> dict:
    sequence = task.sequence
    name = f"{sequence.subject}_{sequence.name.replace(' ', '-')}_{sequence.camera}_{index:06d}"
    return crop_record(
        image,
        joints_2d,
        *square_around(joints_2d, BOX_MARGIN),
        image_side=IMAGE_SIDE,
        image_id=name,
        joints_3d=joints_3d,
        subject=sequence.subject,
        action=sequence.action,
        camera=sequence.camera,
        frame=index,
    )


def thorax_between_shoulders(
    joints_2d: Float[np.ndarray, "frames 16 2"], joints_3d: Float[np.ndarray, "frames 16 3"]
) -> tuple[Float[np.ndarray, "frames 16 2"], Float[np.ndarray, "frames 16 3"]]:
    """Moves joint 7 to the midpoint of the shoulders, in 3D and consistently in 2D.

    The projection of a midpoint is the mean of the projections, weighted by depth.
    """
    joints_2d, joints_3d = joints_2d.copy(), joints_3d.copy()
    shoulders = [skeleton.RIGHT_SHOULDER, skeleton.LEFT_SHOULDER]
    depth = joints_3d[:, shoulders, 2:]
    joints_3d[:, skeleton.THORAX] = joints_3d[:, shoulders].mean(axis=1)
    joints_2d[:, skeleton.THORAX] = (joints_2d[:, shoulders] * depth).sum(1) / depth.sum(1)
    return joints_2d, joints_3d


def read_poses(path: str | Path, dimensions: int) -> Float[np.ndarray, "frames 32 dimensions"]:
    """Reads the variable `Pose` of a CDF file: px for 2 dimensions, mm (camera frame) for 3.

    Raises:
        UserError: the file is damaged or has other poses.
    """
    # A damaged file can make cdflib take minutes and gigabytes.
    poses = read_isolated(_read_cdf, path, memory=1 << 30, seconds=10)
    if not are_plausible(poses):
        raise UserError(f"{path} is damaged: a joint has impossible coordinates.")
    with reading(path, _POSES):
        # (1, T, n), (T, n) or (1, 1, T, n), depending on the program that wrote the file.
        return poses.reshape(-1, NUM_SOURCE_JOINTS, dimensions)


def _read_cdf(path: str) -> np.ndarray:
    with reading(path, _POSES):
        import cdflib

        return np.asarray(cdflib.CDF(path).varget("Pose"), np.float64)


def read_frames(path: str | Path) -> Iterator[Any]:
    """All frames of a video as PyAV decodes them; the index of a frame is its position.

    The container's times, frame rate and frame count are not used, because they may be wrong.

    Raises:
        UserError: the video is damaged.
    """
    # One thread, because each worker process has one core.
    with videos.open_stream(path, threads=1) as (_, frames):
        yield from frames
