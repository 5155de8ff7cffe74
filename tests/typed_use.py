"""The public API as a user's program with types; mypy checks it and nothing runs it."""

from typing import assert_type

import numpy as np

import pose3d_jax
from pose3d_jax.images import read_image
from pose3d_jax.metrics import mpjpe

predictor = pose3d_jax.Predictor.from_pretrained("open", flip=True)
image = read_image("photo.jpg")
for boxes in ("auto", None, [(0.0, 0.0, 10.0, 20.0)], np.zeros((3, 4))):
    pose = predictor(image, boxes)
    assert_type(pose, pose3d_jax.Pose)
    assert_type(len(pose), int)
poses = predictor([image, image], [None, [(0, 0, 10, 20)]], margin=1.25, bone_length_sum=3900.0)
errors = mpjpe(poses.joints_3d, np.zeros_like(poses.joints_3d))
print(pose3d_jax.__version__, errors.mean())
