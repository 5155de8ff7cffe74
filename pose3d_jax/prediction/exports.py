"""Poses for other programs: CSV, TRC (OpenSim) and BVH (Blender and other animation programs).

Every person of a video (`Pose.id`; otherwise the order of the boxes) is one trajectory. Positions
are `joints_camera` where the camera is known, and relative to the pelvis otherwise.

Conventions:

- CSV: one row per frame and person, px and mm in the axes of `Pose`.
- TRC: mm, y up. OpenSim's ground frame is right-handed with y up, so that x is the camera's right
  and z points towards the camera. Frames in which a person is not seen have empty fields.
- BVH: mm, y up, the same axes. The rest pose stands upright and faces +z with the arms down; the
  person's left is +x. Each bone is a joint of its own whose offsets are constant: bone lengths are
  medians over the trajectory. Channels of the root are Xposition Yposition Zposition, and all
  rotations are Zrotation Xrotation Yrotation, in degrees, applied as Rz·Rx·Ry. A joint position
  does not determine a bone's twist; the bone follows its parent's. Missing frames are interpolated.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from pose3d_jax.prediction.pose import JOINT_SETS, Pose
from pose3d_jax.skeleton import (
    BONE_LENGTHS,
    BONES,
    JOINT_NAMES,
    LEFT_HIP,
    NECK,
    NUM_JOINTS,
    PELVIS,
    RIGHT_HIP,
)  # fmt: skip

FORMATS = ("csv", "trc", "bvh")
#: From the camera's axes (x right, y down, z away) to y up and z towards the camera.
_Y_UP = np.array([1.0, -1.0, -1.0])
#: Directions of bones in the rest pose, by the end joint's name without its side. Bones of hips and
#: shoulders point to the person's left or right instead.
_REST = {"knee": (0, -1, 0), "ankle": (0, -1, 0), "elbow": (0, -1, 0), "wrist": (0, -1, 0),
         "upper_neck": (0, 1, 0), "head_top": (0, 1, 0)}  # fmt: skip


def write(
    folder: Path,
    formats: Sequence[str],
    times: Sequence[float],
    poses: Sequence[Pose],
    joint_set: str = "mpii",
) -> None:
    """Writes `poses.csv`, and `poses.trc` or `poses.bvh` with a suffix for each further person.

    Args:
        folder: for the files.
        formats: of `FORMATS`.
        times: of the frames, s.
        poses: of the frames.
        joint_set: of CSV and TRC, see `Pose.to`. BVH has MPII's skeleton.
    """
    if "csv" in formats:
        write_csv(folder / "poses.csv", times, poses, joint_set)
    for extension in {"trc", "bvh"} & set(formats):
        people = sorted({person for pose in poses for person in _ids(pose).tolist()})
        for number, person in enumerate(people):
            suffix = f"_{person}" if number else ""
            path = folder / f"poses{suffix}.{extension}"
            if extension == "trc":
                write_trc(path, times, poses, person, joint_set)
            else:
                write_bvh(path, times, poses, person)


def write_csv(
    path: Path, times: Sequence[float], poses: Sequence[Pose], joint_set: str = "mpii"
) -> None:
    """Writes one row per frame and person; see the module."""
    names = list(JOINT_SETS[joint_set][0])
    axes = ("x_px", "y_px", "x_mm", "y_mm", "z_mm", "confidence")
    with open(path, "w", newline="") as file:
        rows = csv.writer(file)
        head = ["frame", "time", "id", "person_confidence"]
        rows.writerow(head + [f"{name}_{axis}" for name in names for axis in axes])
        for frame, (time, pose) in enumerate(zip(times, poses)):
            joints = pose.to(joint_set)
            parts = joints.joints_2d, _in_space(joints), joints.confidence[..., None]
            table = np.concatenate(parts, -1)
            for person, confidence, values in zip(_ids(pose), pose.person_confidence, table):
                row = [frame, f"{time:.6f}", person, f"{confidence:.4f}"]
                rows.writerow(row + ["" if np.isnan(v) else f"{v:.4f}" for v in values.flat])


def write_trc(
    path: Path, times: Sequence[float], poses: Sequence[Pose], person: int, joint_set: str = "mpii"
) -> None:
    """Writes the trajectory of one person as OpenSim's marker file; see the module."""
    converted = [pose.to(joint_set) for pose in poses]
    names = converted[0].joint_names
    positions = np.array([_positions(pose, person, len(names)) for pose in converted]) * _Y_UP
    rate = _rate(times)
    head = [
        ["PathFileType", "4", "(X/Y/Z)", path.name],
        ["DataRate", "CameraRate", "NumFrames", "NumMarkers", "Units", "OrigDataRate",
         "OrigDataStartFrame", "OrigNumFrames"],
        [f"{rate:g}", f"{rate:g}", len(times), len(names), "mm", f"{rate:g}", 1, len(times)],
        ["Frame#", "Time", *(cell for name in names for cell in (name, "", ""))],
        ["", "", *(f"{axis}{n}" for n in range(1, len(names) + 1) for axis in "XYZ")],
        [],
    ]  # fmt: skip
    with open(path, "w") as file:
        for row in head:
            file.write("\t".join(map(str, row)) + "\n")
        for frame, (time, markers) in enumerate(zip(times, positions), 1):
            cells = ["" if np.isnan(value) else f"{value:.4f}" for value in markers.flat]
            file.write("\t".join([str(frame), f"{time:.6f}", *cells]) + "\n")


def write_bvh(path: Path, times: Sequence[float], poses: Sequence[Pose], person: int) -> None:
    """Writes the trajectory of one person as a skeleton with rotations; see the module."""
    positions = np.array([_positions(pose, person, NUM_JOINTS) for pose in poses]) * _Y_UP
    seen = np.flatnonzero(~np.isnan(positions).any(axis=(1, 2)))
    positions = positions[seen[0] : seen[-1] + 1]
    times = np.asarray(times)[seen[0] : seen[-1] + 1]
    even = np.linspace(times[0], times[-1], len(times)) if len(times) > 1 else times
    known = seen - seen[0]
    flat = positions[known].reshape(len(known), -1)
    columns = [np.interp(even, times[known], column) for column in flat.T]
    positions = np.array(columns).T.reshape(-1, NUM_JOINTS, 3)
    lines = ["HIERARCHY"]
    root = _root_rotation(positions)
    channels = [positions[:, PELVIS], _euler(root)]
    axes = "Xposition Yposition Zposition Zrotation Xrotation Yrotation"
    lines += ["ROOT pelvis", "{", "\tOFFSET 0 0 0", f"\tCHANNELS 6 {axes}"]
    _add_bones(PELVIS, None, root, positions, lines, channels, depth=1)
    lines += [
        "}",
        "MOTION",
        f"Frames: {len(positions)}",
        f"Frame Time: {1 / _rate(even.tolist()):.6f}",
    ]
    motion = np.concatenate(channels, axis=-1)
    lines += [" ".join(f"{value:.4f}" for value in row) for row in motion]
    path.write_text("\n".join(lines) + "\n")


def _add_bones(
    start: int, before: int | None, parent, positions, lines: list[str], channels: list, depth: int
) -> None:
    """Adds the bones that begin at a joint, and those after them, to the hierarchy of a file.

    `before` is the other end of the bone that ends at the joint `start`, and `parent` its rotation
    in space, (frames, 3, 3); `positions` are (frames, 16, 3). The bones are added to `lines` and
    `channels`, each (frames, …).
    """
    tabs = "\t" * depth
    for end, canonical in _bones_from(start, before):
        vectors = positions[:, end] - positions[:, start]
        length = float(np.median(np.linalg.norm(vectors, axis=-1)))
        name = JOINT_NAMES[end]
        side, _, part = name.partition("_")
        rest = np.array(_REST.get(name) or _REST.get(part) or (1 if side == "left" else -1, 0, 0))
        rotation = _between(np.einsum("fij,j->fi", parent, rest), vectors) @ parent
        channels.append(_euler(np.swapaxes(parent, -1, -2) @ rotation))
        offset = " ".join(f"{value:.4f}" for value in rest * (length or canonical))
        # The bone is a joint at `start`; its end is the origin of the bones after it.
        lines += [f"{tabs}JOINT {name}_bone", f"{tabs}{{", f"{tabs}\tOFFSET 0 0 0",
                  f"{tabs}\tCHANNELS 3 Zrotation Xrotation Yrotation"]  # fmt: skip
        if _bones_from(end, start):
            lines += [f"{tabs}\tJOINT {name}", f"{tabs}\t{{", f"{tabs}\t\tOFFSET {offset}",
                      f"{tabs}\t\tCHANNELS 3 Zrotation Xrotation Yrotation"]  # fmt: skip
            channels.append(np.zeros((len(positions), 3)))
            _add_bones(end, start, rotation, positions, lines, channels, depth + 2)
            lines.append(f"{tabs}\t}}")
        else:
            lines += [f"{tabs}\tEnd Site", f"{tabs}\t{{", f"{tabs}\t\tOFFSET {offset}",
                      f"{tabs}\t}}"]  # fmt: skip
        lines.append(f"{tabs}}}")


def _bones_from(joint: int, before: int | None) -> list[tuple[int, float]]:
    """The ends and canonical lengths (mm) of a joint's bones, without that to the joint before."""
    bones = zip(BONES.tolist(), BONE_LENGTHS.tolist())
    ends = [(sum(bone) - joint, length) for bone, length in bones if joint in bone]
    return [(end, length) for end, length in ends if end != before]


def _root_rotation(positions) -> Float[np.ndarray, "frames 3 3"]:
    """Rotations of the pelvis: x from right to left hip, y towards the neck."""
    x = _unit(positions[:, LEFT_HIP] - positions[:, RIGHT_HIP])
    up = positions[:, NECK] - positions[:, PELVIS]
    z = _unit(np.cross(x, up))
    return np.stack([x, np.cross(z, x), z], axis=-1)


def _between(a, b) -> Float[np.ndarray, "frames 3 3"]:
    """The smallest rotations that turn the directions `a` into `b` (Rodrigues)."""
    a, b = _unit(a), _unit(b)
    cross, cos = np.cross(a, b), (a * b).sum(-1)
    x, y, z = cross.T
    zero = np.zeros_like(x)
    skew = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(-1, 3, 3)
    rotation = np.eye(3) + skew + skew @ skew / np.maximum(1 + cos, 1e-9)[:, None, None]
    # Opposite directions: half a turn about any perpendicular axis.
    helper = np.where(np.abs(a[:, :1]) < 0.9, [[1.0, 0, 0]], [[0, 1.0, 0]])
    axis = _unit(np.cross(a, helper))
    half_turn = 2 * axis[:, :, None] * axis[:, None] - np.eye(3)
    return np.where((cos < -1 + 1e-7)[:, None, None], half_turn, rotation)


def _euler(rotation) -> Float[np.ndarray, "frames 3"]:
    """Degrees about z, x and y of rotations Rz·Rx·Ry."""
    x = np.arcsin(np.clip(rotation[:, 2, 1], -1, 1))
    z = np.arctan2(-rotation[:, 0, 1], rotation[:, 1, 1])
    y = np.arctan2(-rotation[:, 2, 0], rotation[:, 2, 2])
    return np.degrees(np.stack([z, x, y], axis=-1))


def _unit(vectors):
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def _ids(pose: Pose) -> np.ndarray:
    return np.arange(len(pose)) if pose.id is None else pose.id


def _in_space(pose: Pose) -> np.ndarray:
    return pose.joints_3d if pose.joints_camera is None else pose.joints_camera


def _positions(pose: Pose, person: int, joints: int) -> Float[np.ndarray, "joints 3"]:
    """A person's joints in one frame, mm; NaN without the person."""
    found = _in_space(pose)[_ids(pose) == person]
    return found[0] if len(found) else np.full((joints, 3), np.nan)


def _rate(times: Sequence[float]) -> float:
    """Mean frames per second; 25 for a single frame."""
    duration = times[-1] - times[0]
    return (len(times) - 1) / duration if duration > 0 else 25.0
