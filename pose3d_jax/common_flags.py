"""Flags that several programs share; absl lets a flag be defined only once."""

from absl import flags

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "A stage's directory, or a converted one.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "People predicted at once, at most.")
COMPILATION_CACHE = flags.DEFINE_string(
    "compilation_cache", "~/.cache/pose3d_jax", "Where compiled programs are kept; empty for none."
)
