"""MPII Human Pose."""
