"""Tracking: people in a video keep their identity from frame to frame.

Each frame's squares are those around the joints of the frame before. People are detected in the
first frame and about twice a second; a detection that overlaps no tracked person starts a new
identity, or continues that of a person lost nearby a short time before.
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from pose3d_jax.prediction import detection
from pose3d_jax.prediction.pose import Pose
from pose3d_jax.prediction.predictor import Predictor

#: Seconds between two detections: people are found within a second of their arrival.
INTERVAL = 0.6
#: Seconds for which the identity of a lost person is kept.
MEMORY = 2.0
#: A tracked person is lost below this share of the detection threshold.
HYSTERESIS = 0.7
#: A lost person reappears within this many sides of the last square, per second, at sizes of at
#: most this ratio.
SPEED, RATIO = 1.0, 2.0


@dataclasses.dataclass
class _Lost:
    """A person who was lost.

    Attributes:
        id: identity.
        square: the last one: centre x, y and side, px.
        time: of the last frame with this person, s.
    """

    id: int
    square: Float[np.ndarray, "3"]
    time: float


class Tracker:
    """Predicts the frames of a video in their order, without boxes.

    Args:
        predictor: that predicts.
        threshold: of detection; by default `detection.THRESHOLD`.
        max_people: tracked at once, at most; None for no limit.
        **options: further options of `Predictor.predict_squares`.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        threshold: float | None = None,
        max_people: int | None = None,
        **options: Any,
    ):
        self._predictor, self._options = predictor, options
        self._threshold = detection.THRESHOLD if threshold is None else threshold
        self._max_people = max_people
        self._squares, self._ids = np.zeros((0, 3)), np.zeros(0, np.int32)
        self._lost: list[_Lost] = []
        self._next_id, self._next_detection = 0, -np.inf

    def __call__(self, frame: UInt8[np.ndarray, "_ _ 3"], time: float) -> Pose:
        """The people of the next frame, with `Pose.id`; those tracked the longest come first.

        Args:
            frame: RGB.
            time: s; at least that of the frame before.
        """
        before = dict(zip(self._ids.tolist(), self._squares))
        pose = self._predict(frame, self._squares, self._ids)
        self._lost = [lost for lost in self._lost if time - lost.time <= MEMORY]
        kept = set(pose.id.tolist())
        self._lost += [_Lost(i, square, time) for i, square in before.items() if i not in kept]
        if time >= self._next_detection:
            self._next_detection = time + INTERVAL
            if self._max_people is None or len(pose) < self._max_people:
                pose = self._with_detections(frame, time, pose)
        self._squares = detection.squares_around(pose.joints_2d, pose.confidence)
        self._ids = pose.id
        return pose

    def _with_detections(self, frame, time: float, pose: Pose) -> Pose:
        boxes, _ = self._predictor.detect(frame, threshold=self._threshold)
        squares = boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:3]
        # Tracked people come first: of two poses of one person the first stays.
        tracked = detection.squares_around(pose.joints_2d, pose.confidence)
        everyone = np.concatenate([tracked, np.concatenate(squares, axis=1)])
        unknown = np.full(len(boxes), -1, np.int32)
        pose = self._predict(frame, everyone, np.concatenate([pose.id, unknown]))
        new = pose.id < 0
        covered = detection.overlapping(pose.joints_2d, pose.joints_2d[~new]).any(axis=1)
        pose = pose[~(new & covered)][: self._max_people]
        ids = [
            self._identify(square, time) if i < 0 else i for i, square in zip(pose.id, pose.squares)
        ]
        return dataclasses.replace(pose, id=np.array(ids, np.int32).reshape(-1))

    def _identify(self, square: np.ndarray, time: float) -> int:
        """The identity of a detected person: of a person lost nearby, or a new one."""
        for lost in self._lost:
            reach = SPEED * max(time - lost.time, 0.5) * max(square[2], lost.square[2])
            near = np.linalg.norm(square[:2] - lost.square[:2]) <= reach
            if near and 1 / RATIO <= square[2] / lost.square[2] <= RATIO:
                self._lost.remove(lost)
                return lost.id
        self._next_id += 1
        return self._next_id - 1

    def _predict(self, frame, squares: np.ndarray, ids: np.ndarray) -> Pose:
        """The people in squares, each once, without those below the threshold."""
        chosen = detection.plausible(squares, *frame.shape[1::-1])
        pose = self._predictor.predict_squares([frame], [squares[chosen]], **self._options)
        pose = dataclasses.replace(pose, id=ids[chosen])
        limit = np.where(pose.id < 0, 1.0, HYSTERESIS) * self._threshold
        pose = pose[pose.person_confidence >= limit]
        order = -np.arange(len(pose), dtype=np.float64)
        return pose[np.sort(detection.distinct(pose.joints_2d, order))]
