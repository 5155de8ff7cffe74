"""Calibrated confidence: from peaks of heat-maps to probabilities that joints are right.

A joint is right where it lies within 0.2 torso lengths of its true position (PCK@0.2). The
probability is a logistic function (Platt 1999) of two features, the joint's peak and the mean peak
of its person, with a bias per joint. `python -m benchmarks.calibration` fits it on held-out
training photographs, draws the reliability diagram (Guo et al., ICML 2017) and writes the
parameters into the config of a network's file.
"""

from typing import NamedTuple

import ml_collections
import numpy as np
from jaxtyping import Bool, Float

from pose3d_jax.errors import UserError
from pose3d_jax.skeleton import NUM_JOINTS

#: Name of the config's section that holds the parameters.
SECTION = "calibration"
#: Steps of Newton's method; it converges in fewer.
_STEPS = 50
#: Ridge penalty: with separable data the likelihood has no maximum.
_RIDGE = 1e-2


class Calibration(NamedTuple):
    """Parameters of the logistic function; `_asdict` gives the config's section."""

    peak: float  # weight of the joint's peak
    person: float  # weight of the mean peak of the person
    bias: tuple[float, ...]  # of each joint

    @classmethod
    def of_config(cls, config: ml_collections.ConfigDict) -> "Calibration | None":
        """The calibration in a network's config; None without one.

        Raises:
            UserError: the section lacks a value, or a bias.
        """
        section = config.get(SECTION)
        if section is None:
            return None
        values = [section.get(name) for name in cls._fields]
        if None in values or len(values[2]) != NUM_JOINTS:
            raise UserError(
                f"The config's section {SECTION} needs {', '.join(cls._fields)}, and {NUM_JOINTS} "
                "biases; run python -m benchmarks.calibration again."
            )
        return cls(float(values[0]), float(values[1]), tuple(map(float, values[2])))

    def __call__(self, peaks: Float[np.ndarray, "n joints"]) -> Float[np.ndarray, "n joints"]:
        """Probabilities that joints are right, from the heights of the heat-maps' peaks."""
        person = peaks.mean(axis=-1, keepdims=True)
        logits = self.peak * peaks + self.person * person + np.array(self.bias)
        return (1.0 / (1.0 + np.exp(-np.clip(logits, -60, 60)))).astype(np.float32)


def fit(
    peaks: Float[np.ndarray, "n joints"],
    right: Bool[np.ndarray, "n joints"],
    labelled: Bool[np.ndarray, "n joints"],
) -> Calibration:
    """Fits a calibration by penalised maximum likelihood (Newton's method).

    Args:
        peaks: heights of the heat-maps' peaks.
        right: whether joints are within 0.2 torso lengths of their labels.
        labelled: joints that count.
    """
    count, joints = peaks.shape
    person = np.broadcast_to(peaks.mean(axis=1, keepdims=True), peaks.shape)
    one_hot = np.broadcast_to(np.eye(joints), (count, joints, joints))
    features = np.concatenate([peaks[..., None], person[..., None], one_hot], axis=-1)
    x, y = features[labelled].astype(np.float64), right[labelled].astype(np.float64)
    weights = np.zeros(x.shape[1])
    for _ in range(_STEPS):
        p = 1.0 / (1.0 + np.exp(-np.clip(x @ weights, -60, 60)))
        gradient = x.T @ (p - y) + _RIDGE * weights
        hessian = (x * (p * (1 - p))[:, None]).T @ x + _RIDGE * np.eye(len(weights))
        step = np.linalg.solve(hessian, gradient)
        weights -= step
        if np.abs(step).max() < 1e-9:
            break
    return Calibration(float(weights[0]), float(weights[1]), tuple(weights[2:].tolist()))


def reliability(
    confidence: Float[np.ndarray, "n"], right: Bool[np.ndarray, "n"], bins: int = 10
) -> tuple[Float[np.ndarray, "bins 3"], float]:
    """The reliability diagram: how often joints of each confidence are right.

    Returns:
        Per bin of equal width: mean confidence, share of right joints, and count (NaN, NaN, 0 for
        an empty bin); and the expected calibration error, the mean distance of the first two.
    """
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    counts = np.bincount(which, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = np.bincount(which, confidence, bins) / counts
        shares = np.bincount(which, right, bins) / counts
    error = np.nansum(counts * np.abs(means - shares)) / max(counts.sum(), 1)
    return np.column_stack([means, shares, counts]), float(error)
