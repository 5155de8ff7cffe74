"""Smoothing over time: the One-Euro filter (Casiez et al., CHI 2012)."""

import math

import numpy as np
from jaxtyping import Bool, Float


class OneEuro:
    """A low-pass filter whose cut-off rises with speed: still when still, quick when quick.

    Works on arrays of any one shape, each number on its own.

    Args:
        min_cutoff: cut-off at rest, Hz; lower is stiller.
        beta: how much the cut-off rises, Hz per unit per second; higher follows faster.
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
        fresh: Bool[np.ndarray, "n"] | None = None,
    ) -> Float[np.ndarray, "n ..."]:
        """The filtered values after the next sample; the first passes as it is.

        Args:
            sample: of n people, or whatever else is filtered.
            seconds: since the sample before, above 0.
            fresh: whose place is another's now: they begin anew.
        """
        if self._value is None:
            self._value, self._speed = sample, np.zeros_like(sample)
            return sample
        if fresh is not None and fresh.any():
            chosen = fresh.reshape(-1, *[1] * (sample.ndim - 1))
            self._value = np.where(chosen, sample, self._value)
            self._speed = np.where(chosen, 0.0, self._speed)
        speed = (sample - self._value) / seconds
        self._speed = self._speed + _weight(self.speed_cutoff, seconds) * (speed - self._speed)
        cutoff = self.min_cutoff + self.beta * np.abs(self._speed)
        self._value = self._value + _weight(cutoff, seconds) * (sample - self._value)
        return self._value


def _weight(cutoff, seconds: float):
    """The weight of a new sample in an exponential average with this cut-off."""
    return 1.0 / (1.0 + 1.0 / (2.0 * math.pi * cutoff * seconds))
