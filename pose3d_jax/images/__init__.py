"""Images: files, videos, records, and the crops that are the network's input."""

from pose3d_jax.images.files import read_image

__all__ = ["read_image"]
