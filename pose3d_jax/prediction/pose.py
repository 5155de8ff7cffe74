"""Predicted poses: `Pose`, its JSON form, and its joints in other data sets' order."""

import dataclasses
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from pose3d_jax import skeleton
from pose3d_jax.errors import UserError
from pose3d_jax.prediction.detection import person_confidence

_JOINT = {name: number for number, name in enumerate(skeleton.JOINT_NAMES)}
#: Each joint of a set: its name, and the MPII joints whose midpoint it is; none where MPII's joints
#: do not determine it. Bones are pairs of the set's indices.
JOINT_SETS: Mapping[str, tuple[dict[str, tuple[str, ...]], Any]] = {
    "mpii": ({name: (name,) for name in skeleton.JOINT_NAMES}, skeleton.BONES),
    # Lin et al. 2014. MPII has no face, so that nose, eyes and ears are NaN with confidence 0.
    "coco": (
        dict.fromkeys(("nose", "left_eye", "right_eye", "left_ear", "right_ear"), ())
        | {
            f"{side}_{part}": (f"{side}_{part}",)
            for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
            for side in ("left", "right")
        },
        ((5, 7), (7, 9), (6, 8), (8, 10), (5, 6), (5, 11), (6, 12), (11, 12),
         (11, 13), (13, 15), (12, 14), (14, 16)),
    ),
    # The 17 joints of Human3.6M that the literature uses. Its spine is compared with the midpoint
    # of pelvis and neck (Sec. 4.1.2 of the paper), its thorax with MPII's upper neck; the joint
    # between thorax and head top (neck or nose) has no counterpart and is their midpoint.
    "h36m": (
        {"pelvis": ("pelvis",)}
        | {f"right_{part}": (f"right_{part}",) for part in ("hip", "knee", "ankle")}
        | {f"left_{part}": (f"left_{part}",) for part in ("hip", "knee", "ankle")}
        | {"spine": ("pelvis", "upper_neck"), "thorax": ("upper_neck",)}
        | {"neck": ("upper_neck", "head_top"), "head": ("head_top",)}
        | {f"left_{part}": (f"left_{part}",) for part in ("shoulder", "elbow", "wrist")}
        | {f"right_{part}": (f"right_{part}",) for part in ("shoulder", "elbow", "wrist")},
        ((0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 6), (0, 7), (7, 8), (8, 9), (9, 10),
         (8, 11), (11, 12), (12, 13), (8, 14), (14, 15), (15, 16)),
    ),
}  # fmt: skip
#: Digits after the point in JSON, by field.
_DIGITS = {
    "squares": 2, "joints_2d": 4, "joints_3d": 3, "joints_camera": 3, "confidence": 4,
    "person_confidence": 4,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Pose:
    """The poses of N people, in the order of their images and boxes.

    Joints are MPII's sixteen, named in `joint_names`; "left" is the person's own. Iteration gives
    each person as a `Pose` of length 1.

    *Root-relative mm* means: the pelvis (joint 6) is the origin, and the axes are the camera's: x
    right, y down and z away from the camera. One image does not tell a small person from a distant
    one, so each pose is scaled until its 14 bones (`skeleton.BONES`) sum to the average skeleton's
    length, or to the `bone_length_sum` given to the call. Under weak perspective, x and y are those
    of `joints_2d`, scaled.

    Attributes:
        joints_2d: px of the source image, continuous: pixel i covers [i, i + 1).
        joints_3d: mm, root-relative.
        confidence: of each joint. For networks with a calibration (`calibration`): the probability
            that the joint is within 0.2 torso lengths of its true position. Otherwise the height
            of the heat-map's peak: about 1 for a clear joint, near 0 for an absent one.
        squares: centre x, y and side of the network's input, px of the source image.
        image: index of each person's image.
        joints_camera: mm in camera coordinates, where the camera's intrinsics were given; or None.
        id: identity of each person in a video, or None.
        joint_names: of all arrays' second axis.
        bones: pairs of joints.
    """

    joints_2d: Float[np.ndarray, "n joints 2"]
    joints_3d: Float[np.ndarray, "n joints 3"]
    confidence: Float[np.ndarray, "n joints"]
    squares: Float[np.ndarray, "n 3"]
    image: Int[np.ndarray, "n"]
    joints_camera: Float[np.ndarray, "n joints 3"] | None = None
    id: Int[np.ndarray, "n"] | None = None
    joint_names: tuple[str, ...] = skeleton.JOINT_NAMES
    bones: Int[np.ndarray, "bones 2"] = dataclasses.field(default_factory=skeleton.BONES.copy)

    def __len__(self) -> int:
        return len(self.joints_2d)

    def __iter__(self) -> Iterator["Pose"]:
        return (self[[person]] for person in range(len(self)))

    def __getitem__(self, index: Any) -> "Pose":
        """The people that a NumPy index of one axis selects; a number selects one person."""
        index = [index] if isinstance(index, int | np.integer) else index
        people = {name: value[index] for name, value in self._per_person().items()}
        return dataclasses.replace(self, **people)

    @property
    def person_confidence(self) -> Float[np.ndarray, "n"]:
        """Confidence of each person: the mean of the higher half of their joints' confidences."""
        return person_confidence(self.confidence)

    @property
    def scores(self) -> Float[np.ndarray, "n joints"]:
        """Deprecated name of `confidence`."""
        warnings.warn("Pose.scores is now Pose.confidence.", DeprecationWarning, stacklevel=2)
        return self.confidence

    def of_image(self, index: int) -> "Pose":
        """The people of one image, whose own index becomes 0."""
        chosen = self[self.image == index]
        return dataclasses.replace(chosen, image=np.zeros_like(chosen.image))

    def to(self, joint_set: str) -> "Pose":
        """The same people with another data set's joints.

        A joint between two of MPII's is their midpoint, with the lower confidence of the two. A
        joint that MPII's do not determine is NaN, with confidence 0.

        Args:
            joint_set: "mpii" (the same joints), "coco" (17 joints) or "h36m" (17 joints).

        Raises:
            UserError: the joint set is unknown.

        >>> from pose3d_jax.prediction.pose import JOINT_SETS
        >>> list(JOINT_SETS["coco"][0])[:3]
        ['nose', 'left_eye', 'right_eye']
        """
        if joint_set not in JOINT_SETS:
            raise UserError(f"Unknown joint set {joint_set!r}; use one of {', '.join(JOINT_SETS)}.")
        if joint_set == "mpii":
            return self
        joints, bones = JOINT_SETS[joint_set]
        sources = [[_JOINT[name] for name in names] for names in joints.values()]

        def positions(values):
            missing = np.full_like(values[:, 0], np.nan)
            parts = [values[:, own].mean(axis=1) if own else missing for own in sources]
            return np.stack(parts, axis=1)

        zero = np.zeros_like(self.confidence[:, 0])
        confidence = [self.confidence[:, own].min(axis=1) if own else zero for own in sources]
        camera = self.joints_camera
        return dataclasses.replace(
            self,
            joints_2d=positions(self.joints_2d),
            joints_3d=positions(self.joints_3d),
            confidence=np.stack(confidence, axis=1),
            joints_camera=None if camera is None else positions(camera),
            joint_names=tuple(joints),
            bones=np.array(bones, np.int32),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: `joint_names`, `bones` and `people`; NaN becomes None.

        A person has `image` only where there are several images.
        """
        columns = self._per_person() | {"person_confidence": self.person_confidence}
        if not self.image.any():
            del columns["image"]
        plain = {
            {"squares": "square"}.get(name, name): _plain(values, _DIGITS.get(name, 0))
            for name, values in columns.items()
        }
        return {
            "joint_names": list(self.joint_names),
            "bones": self.bones.tolist(),
            "people": [dict(zip(plain, row)) for row in zip(*plain.values())],
        }

    def save(self, path: str | os.PathLike) -> None:
        """Writes `to_dict` as a JSON file."""
        Path(path).write_text(json.dumps(self.to_dict()) + "\n")

    def _per_person(self) -> dict[str, np.ndarray]:
        of_all = ("joint_names", "bones")
        return {k: v for k, v in vars(self).items() if v is not None and k not in of_all}


def _plain(values: np.ndarray, digits: int) -> list:
    if values.dtype.kind != "f":
        return values.tolist()
    rounded = np.round(values.astype(np.float64), digits).astype(object)
    rounded[np.isnan(values)] = None
    return rounded.tolist()
