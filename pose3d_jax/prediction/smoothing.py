"""Smoothing over time: the One-Euro filter (Casiez et al., CHI 2012)."""

import dataclasses
import math

import numpy as np
from jaxtyping import Float

from pose3d_jax.prediction.pose import Pose

#: How fast the filter follows: Hz per (unit/s), in sizes of the person, and in mm.
BETA_2D, BETA_3D = 6.0, 0.005
#: Smoothing starts again for a person not seen for so many seconds.
MAX_GAP = 0.5
#: Shortest time between two frames, s: the times of a damaged video may repeat.
MIN_SECONDS = 1e-3


class OneEuro:
    """A low-pass filter whose cut-off increases with speed: little jitter at rest, little lag.

    It filters arrays of a fixed shape element by element.

    Args:
        min_cutoff: cut-off at rest, Hz; lower values remove more jitter.
        beta: increase of the cut-off, Hz per unit per second; higher values reduce the lag.
        speed_cutoff: cut-off of the speed's own filter, Hz.
    """

    def __init__(self, *, min_cutoff: float = 1.0, beta: float, speed_cutoff: float = 1.0):
        self.min_cutoff, self.beta, self.speed_cutoff = min_cutoff, beta, speed_cutoff
        self._value: np.ndarray | None = None
        self._speed: np.ndarray | None = None

    def __call__(
        self,
        sample: Float[np.ndarray, "n ..."],
        seconds: float,
        unit: Float[np.ndarray, "n"] | float = 1.0,
    ) -> Float[np.ndarray, "n ..."]:
        """Filters the next sample, of n people; the first one is returned unchanged.

        `seconds` are those since the previous sample, above 0. `unit` is that of the speed, in the
        sample's unit: the size of each person, so that the filter does not depend on the resolution
        (see `size_in_image`).
        """
        if self._value is None:
            self._value, self._speed = sample, np.zeros_like(sample)
            return sample
        speed = (sample - self._value) / seconds
        self._speed = self._speed + _weight(self.speed_cutoff, seconds) * (speed - self._speed)
        unit = np.reshape(unit, (-1, *[1] * (sample.ndim - 1)))
        cutoff = self.min_cutoff + self.beta * np.abs(self._speed) / unit
        self._value = self._value + _weight(cutoff, seconds) * (sample - self._value)
        return self._value


def size_in_image(joints_2d: Float[np.ndarray, "n 16 2"]) -> Float[np.ndarray, "n"]:
    """The size of people in an image: the larger extent of their joints, px; at least 1."""
    return np.maximum(np.ptp(joints_2d, axis=1).max(axis=-1, initial=0.0), 1.0)


def _weight(cutoff, seconds: float):
    """The weight of a new sample in an exponential average with this cut-off."""
    return 1.0 / (1.0 + 1.0 / (2.0 * math.pi * cutoff * seconds))


class PoseSmoother:
    """Smooths the poses of each identity over time; a new person starts unfiltered."""

    def __init__(self):
        self._filters: dict[int, tuple[OneEuro, OneEuro]] = {}
        self._times: dict[int, float] = {}

    def __call__(self, pose: Pose, time: float) -> Pose:
        """Smooths the people of the next frame, which have identities; `time` is s."""
        joints_2d, joints_3d = pose.joints_2d.copy(), pose.joints_3d.copy()
        for row, number in enumerate(pose.id.tolist()):
            seconds = time - self._times.get(number, -np.inf)
            if seconds > MAX_GAP:
                self._filters[number] = OneEuro(beta=BETA_2D), OneEuro(beta=BETA_3D)
            self._times[number] = time
            filter_2d, filter_3d = self._filters[number]
            own, seconds = slice(row, row + 1), max(seconds, MIN_SECONDS)
            size = size_in_image(pose.joints_2d[own])
            joints_2d[own] = filter_2d(pose.joints_2d[own], seconds, unit=size)
            joints_3d[own] = filter_3d(pose.joints_3d[own], seconds)
        return dataclasses.replace(pose, joints_2d=joints_2d, joints_3d=joints_3d)
