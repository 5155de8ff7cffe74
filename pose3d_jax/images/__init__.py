"""Pixels: of image files and videos, of records, and of the square that the network sees."""

from pose3d_jax.images.files import read_image

__all__ = ["read_image"]
