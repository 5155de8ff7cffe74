"""Weakly-supervised 3D human pose estimation in the wild (Zhou et al., ICCV 2017) in JAX."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pose3d_jax.prediction.predictor import Pose, Predictor

__all__ = ["Pose", "Predictor", "__version__"]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    # Imported on first use: the data set builders need this package without JAX.
    if name in ("Pose", "Predictor"):
        from pose3d_jax.prediction import predictor

        return getattr(predictor, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
