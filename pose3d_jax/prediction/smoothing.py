"""Smoothing over time: the One-Euro filter (Casiez et al., CHI 2012)."""

import math

import numpy as np
from jaxtyping import Float


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
        """Filters the next sample; the first one is returned unchanged.

        Args:
            sample: values of n people.
            seconds: since the previous sample, above 0.
            unit: of the speed, in the sample's unit: the size of each person, so that the filter
                does not depend on the resolution (see `size_in_image`).
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
