"""Weakly-supervised 3D human pose estimation in the wild (Zhou et al., ICCV 2017) in JAX."""
