"""The network as Flax NNX modules, its variables, and prediction with it."""

from pose3d_jax.models.network import PoseNetwork

__all__ = ["PoseNetwork"]
