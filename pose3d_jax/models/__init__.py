"""Flax NNX modules: residual, hourglass, depth head, and the whole network."""

from pose3d_jax.models.network import PoseNetwork, build_network

__all__ = ["PoseNetwork", "build_network"]
