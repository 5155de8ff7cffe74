"""People in a video: found once, then followed from frame to frame by their own joints."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from pose3d_jax.prediction import finding
from pose3d_jax.prediction.predictor import Pose, Predictor

#: Frames from one search to the next, at least: a search takes as long as a hundred predictions.
PATIENCE = 25


class Follower:
    """Predicts frames in their order, without boxes.

    The squares of a frame are those around the joints of the frame before, so that people keep
    their places in the list of poses. The first frame is searched, and later ones while somebody
    is missing who was there, at most every `PATIENCE` frames; who comes anew is found then too.

    Args:
        predictor: that predicts.
        **options: `margin` and `bone_length_sum` of its calls.
    """

    def __init__(self, predictor: Predictor, **options: Any):
        self._predictor, self._options = predictor, options
        self._squares = np.zeros((0, 3))
        self._wanted = 1
        self._rest = 0

    def __call__(self, frames: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> Pose:
        """The poses in the next frames, RGB; `Pose.image` counts from the first of them."""
        poses = [self._follow(frame) for frame in frames]
        numbers = [np.full(len(pose), number, np.int32) for number, pose in enumerate(poses)]
        parts = (
            [getattr(pose, field.name) for pose in poses] for field in dataclasses.fields(Pose)
        )
        merged = Pose(*(np.concatenate(part) for part in parts))
        return dataclasses.replace(merged, image=np.concatenate(numbers))

    def _follow(self, frame: np.ndarray) -> Pose:
        pose = self._predict(frame, self._squares)
        self._rest -= 1
        if len(pose) < self._wanted and self._rest <= 0:
            squares, _ = self._predictor.find(frame)
            pose = self._predict(frame, np.concatenate([_squares(pose), squares]))
            self._wanted, self._rest = max(len(pose), 1), PATIENCE
        self._squares = _squares(pose)
        return pose

    def _predict(self, frame: np.ndarray, squares: np.ndarray) -> Pose:
        """The people in squares who are there, each once; whom an earlier square shows stays."""
        squares = squares[finding.inside(squares, *frame.shape[1::-1])]
        pose = self._predictor(frame, finding.as_boxes(squares), **self._options)
        kept = np.flatnonzero(pose.scores.mean(-1) >= finding.THRESHOLD)
        first = -np.arange(len(kept), dtype=np.float64)
        kept = kept[finding.distinct(pose.joints_2d[kept], first)]
        return Pose(*(getattr(pose, field.name)[kept] for field in dataclasses.fields(Pose)))


def _squares(pose: Pose) -> np.ndarray:
    return finding.squares_of(pose.joints_2d, pose.scores)
