"""Trained networks on disk: bundled networks, packed files and Orbax stage directories."""

from pose3d_jax.checkpoints.loading import TrainedNetwork, load

__all__ = ["TrainedNetwork", "load"]
