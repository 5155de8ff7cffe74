"""TFDS builders: one package per data set, all yielding the record of `pose3d_jax.records`."""
