"""From a video and its poses to records."""

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
from pose3d_jax.images.crop import crop_square, square_around, to_crop
from pose3d_jax.images.jpeg import encode_image
from pose3d_jax.untrusted import are_plausible, read_isolated, reason
from tfds_builders import work
from tfds_builders.human36m.release import DAMAGED_BEFORE_2020, Sequence36m

#: The network's input: a record is the box, without resampling in training or evaluation.
IMAGE_SIDE = 256
#: Side of the box in units of the joints' extent: room for feet, hands and the crown of the head,
#: and the factor that MPII's boxes have.
BOX_MARGIN = 1.25
NUM_SOURCE_JOINTS = 32
_SHORTER = "video shorter than its poses, the frames that have both are used"
#: Which of Human3.6M's 32 joints are the skeleton's 16; joint 7 is their spine.
JOINTS = np.array([3, 2, 1, 6, 7, 8, 0, 12, 13, 15, 27, 26, 25, 17, 18, 19])


@dataclasses.dataclass(frozen=True)
class Task:
    """What makes the records of a sequence.

    Attributes:
        sequence: whose.
        step: take every so many frames.
        shoulder_thorax: see `thorax_between_shoulders`.
    """

    sequence: Sequence36m
    step: int
    shoulder_thorax: bool


def make_records(item: work.Item) -> work.Made:
    """The records of one sequence; `item.inputs` are its video, 2D poses and 3D poses."""
    if item.task.sequence != DAMAGED_BEFORE_2020:
        return _make_records(item)
    try:
        made = _make_records(item)
    except UserError as error:
        if item.inputs[0] not in str(error):  # It is not the video that is damaged.
            raise
    else:
        # A decoder may pass over frames that it cannot read: the others are not their poses' then.
        if all(remark.why != _SHORTER for remark in made.remarks):
            return made
    why = "damaged in the release of before September 2020, left out"
    return work.Made([], (work.Remark(item.name, why),))


def _make_records(item: work.Item) -> work.Made:
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
    made, seen = [], 0
    for frame in itertools.islice(read_frames(video), last + 1):
        if seen % task.step == 0:
            image = videos.pixels(video, frame)
            made.append(_record(task, seen, image, joints_2d[seen], joints_3d[seen]))
        seen += 1
    if seen <= last:
        remarks.append(work.Remark(f"{item.name} ({seen} of {count} frames)", _SHORTER))
    return work.Made(made, tuple(remarks))


def _record(
    task: Task,
    index: int,
    image: UInt8[np.ndarray, "height width 3"],
    joints_2d: Float[np.ndarray, "16 2"],
    joints_3d: Float[np.ndarray, "16 3"],
) -> dict:
    center, side = square_around(joints_2d, BOX_MARGIN)
    crop, to_source = crop_square(image, center, side, IMAGE_SIDE)
    in_crop = to_crop(joints_2d, to_source)
    head = in_crop[skeleton.HEAD_TOP] - in_crop[skeleton.NECK]
    sequence = task.sequence
    name = f"{sequence.subject}_{sequence.name.replace(' ', '-')}_{sequence.camera}_{index:06d}"
    return {
        "image": encode_image(crop),
        "joints_2d": in_crop,
        "joints_valid": np.ones(skeleton.NUM_JOINTS, bool),
        "joints_3d": joints_3d.astype(np.float32),
        "has_3d": True,
        "box": np.array([IMAGE_SIDE / 2, IMAGE_SIDE / 2, IMAGE_SIDE], np.float32),
        "head_size": np.float32(np.linalg.norm(head)),
        "image_id": name,
        "subject": sequence.subject,
        "action": sequence.action,
        "camera": sequence.camera,
        "frame": index,
        "to_source": to_source,
    }


def thorax_between_shoulders(
    joints_2d: Float[np.ndarray, "frames 16 2"], joints_3d: Float[np.ndarray, "frames 16 3"]
) -> tuple[Float[np.ndarray, "frames 16 2"], Float[np.ndarray, "frames 16 3"]]:
    """Puts joint 7 midway between the shoulders, in space and, consistently, in the image.

    The projection of a midpoint is the mean of the projections weighted by depth.
    """
    joints_2d, joints_3d = joints_2d.copy(), joints_3d.copy()
    shoulders = [skeleton.RIGHT_SHOULDER, skeleton.LEFT_SHOULDER]
    depth = joints_3d[:, shoulders, 2:]
    joints_3d[:, skeleton.THORAX] = joints_3d[:, shoulders].mean(axis=1)
    joints_2d[:, skeleton.THORAX] = (joints_2d[:, shoulders] * depth).sum(1) / depth.sum(1)
    return joints_2d, joints_3d


def read_poses(path: str | Path, dimensions: int) -> Float[np.ndarray, "frames 32 dimensions"]:
    """The variable `Pose` of a CDF file: px for 2 dimensions, mm (camera frame) for 3.

    Raises:
        UserError: damaged, or not poses of 32 joints.
    """
    # Apart: damage can make cdflib take minutes and gigabytes.
    poses = read_isolated(_read_cdf, path, memory=1 << 30, seconds=10)
    if not are_plausible(poses):
        raise UserError(f"{path} is damaged: a joint is where none can be.")
    try:
        # (1, T, n), (T, n) or (1, 1, T, n), depending on how the file was written.
        return poses.reshape(-1, NUM_SOURCE_JOINTS, dimensions)
    except ValueError as error:
        raise UserError(f"{path} holds no such poses, or is damaged: {reason(error)}.") from error


def _read_cdf(path: str) -> np.ndarray:
    try:
        import cdflib
    except ImportError as error:
        raise UserError("Reading .cdf needs cdflib: pip install 'pose3d_jax[prepare]'") from error
    try:
        return np.asarray(cdflib.CDF(path).varget("Pose"), np.float64)
    except MemoryError:
        raise
    except Exception as error:  # Whatever cdflib runs into: a damaged file has many faces.
        raise UserError(f"{path} holds no such poses, or is damaged: {reason(error)}.") from error


def read_frames(path: str | Path) -> Iterator[Any]:
    """All frames of a video in order, as PyAV's; their place in the file is their index.

    Times, frame rates and counts in the container are not looked at, and nothing is sought.

    Raises:
        UserError: not a whole video.
    """
    # Workers are processes: one core each.
    with videos.open_stream(path, threads=1) as (_, frames):
        yield from frames
