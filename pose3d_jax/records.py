"""The record: one person in one image, the format of all data sets.

Units and axes: pixels are continuous (x right, y down; pixel i covers [i, i + 1)), so the centre
of the first pixel is (0.5, 0.5). Millimetres are in the camera frame (x right, y down, z forward).
"""

from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Bool, Float

from pose3d_jax.skeleton import NUM_JOINTS


def features() -> tfds.features.FeaturesDict:
    """The schema of a record.

    | feature | meaning |
    | --- | --- |
    | `image` | square JPEG, RGB: the person and a margin wide enough for the augmentation |
    | `joints_2d` | (16, 2) px in `image`; zeros where not annotated |
    | `joints_valid` | (16,) annotated |
    | `joints_3d` | (16, 3) mm, camera frame; zeros without `has_3d` |
    | `has_3d` | whether depth may be used as a label |
    | `box` | centre x, y and side, px in `image`: the square that becomes the network's input |
    | `head_size` | px in `image`, the unit of PCKh; 0 if unknown |
    | `image_id` | unique in the data set |
    | `subject`, `action`, `camera`, `frame` | source of the image |
    | `to_source` | (2, 3) affine map from `image` px to the source image's px |
    """
    tensor = tfds.features.Tensor
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
            "joints_2d": tensor(shape=(NUM_JOINTS, 2), dtype=np.float32),
            "joints_valid": tensor(shape=(NUM_JOINTS,), dtype=np.bool_),
            "joints_3d": tensor(shape=(NUM_JOINTS, 3), dtype=np.float32),
            "has_3d": np.bool_,
            "box": tensor(shape=(3,), dtype=np.float32),
            "head_size": np.float32,
            "image_id": tfds.features.Text(),
            "subject": tfds.features.Text(),
            "action": tfds.features.Text(),
            "camera": tfds.features.Text(),
            "frame": np.int32,
            "to_source": tensor(shape=(2, 3), dtype=np.float32),
        }
    )


def make_record(
    image: bytes,
    joints_2d: Float[np.ndarray, "16 2"],
    *,
    image_side: int,
    box_side: float,
    head_size: Any,
    image_id: str,
    to_source: Float[np.ndarray, "2 3"],
    joints_valid: Bool[np.ndarray, "16"] | None = None,
    joints_3d: Float[np.ndarray, "16 3"] | None = None,
    subject: str = "",
    action: str = "",
    camera: str = "",
    frame: int = 0,
) -> dict[str, Any]:
    """A record whose box is in the centre of its image; see `features`.

    Args:
        image: JPEG file.
        joints_2d: px in the image.
        image_side: side of the image, px.
        box_side: side of the box, px.
        head_size: px in the image; 0 if unknown.
        image_id: unique in the data set.
        to_source: affine map from image px to the source image's px.
        joints_valid: annotated joints; None for all.
        joints_3d: mm, camera frame; None without 3D labels.
        subject: source of the image.
        action: the same.
        camera: the same.
        frame: the same.
    """
    valid = np.ones(NUM_JOINTS, bool) if joints_valid is None else joints_valid
    return {
        "image": image,
        "joints_2d": np.where(valid[:, None], joints_2d, 0).astype(np.float32),
        "joints_valid": valid,
        "joints_3d": np.float32(np.zeros((NUM_JOINTS, 3)) if joints_3d is None else joints_3d),
        "has_3d": joints_3d is not None,
        "box": np.array([image_side / 2, image_side / 2, box_side], np.float32),
        "head_size": np.float32(head_size),
        "image_id": image_id,
        "subject": subject,
        "action": action,
        "camera": camera,
        "frame": frame,
        "to_source": to_source,
    }


def metadata(*, image_side: int, bone_length_sum: float, **extra: Any) -> tfds.core.MetadataDict:
    """Metadata that a builder stores beside its records.

    Args:
        image_side: side of all images, px.
        bone_length_sum: the average sum of the 14 bones over the training subjects, mm
            (`AvgSumLen` of Sec. 4.1.2); 0 if the data set has no millimetres.
        **extra: other parameters of the data set.
    """
    return tfds.core.MetadataDict(image_side=image_side, bone_length_sum=bone_length_sum, **extra)
