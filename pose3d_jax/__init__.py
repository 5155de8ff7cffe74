"""Weakly-supervised 3D human pose estimation in the wild (Zhou et al., ICCV 2017) in JAX."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pose3d_jax.prediction.predictor import Pose, Predictor

__all__ = ["Pose", "Predictor"]


def __getattr__(name: str) -> Any:
    # On first use: the builders need this package too, but neither JAX nor Orbax.
    if name in __all__:
        from pose3d_jax.prediction import predictor

        return getattr(predictor, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
