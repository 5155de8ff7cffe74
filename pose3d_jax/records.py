"""The record: one person in one image. Every builder yields it; everything else reads it.

Units and axes: pixels are continuous (x right, y down; pixel i covers [i, i + 1)), so the centre
of the first pixel is (0.5, 0.5). Millimetres are in the camera frame (x right, y down, z forward).
"""

from typing import Any

import numpy as np
import tensorflow_datasets as tfds

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
    | `head_size` | px in `image`: what PCKh measures distances in |
    | `image_id` | unique in the data set |
    | `subject`, `action`, `camera`, `frame` | where it came from |
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


def metadata(*, image_side: int, bone_length_sum: float, **extra: Any) -> tfds.core.MetadataDict:
    """What a builder stores beside its records.

    Args:
        image_side: side of every `image`, px.
        bone_length_sum: the average sum of the 14 bones over the training subjects, mm
            (`AvgSumLen` of Sec. 4.1.2); 0 where the data set has no millimetres.
        **extra: whatever else explains how the data set was made.
    """
    return tfds.core.MetadataDict(image_side=image_side, bone_length_sum=bone_length_sum, **extra)
