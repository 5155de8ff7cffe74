"""Flags that several programs share; absl lets a flag be defined only once in a process."""

from absl import flags

from pose3d_jax.checkpoints.loading import DEFAULT
from pose3d_jax.models import precision

CHECKPOINT = flags.DEFINE_string(
    "checkpoint", DEFAULT, "A bundled network by its name, the directory of a stage, trained or "
    "converted, or a .safetensors file."
)  # fmt: skip
OUT = flags.DEFINE_string("out", None, "Where the results go.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "Where data sets are. Default: TFDS's place.")
COMPUTE = flags.DEFINE_enum(
    "compute", "auto", precision.COMPUTE, "Type of the arithmetic; auto: bfloat16 on CPUs that "
    "multiply it fast, float32 elsewhere."
)  # fmt: skip
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 32, "People predicted at once, at most.", lower_bound=1
)
FLIP = flags.DEFINE_bool(
    "flip", False, "Average each prediction with its mirror image's: twice the work, fewer errors."
)
COMPILATION_CACHE = flags.DEFINE_string(
    "compilation_cache", "~/.cache/pose3d_jax", "Where compiled programs are kept; empty for none."
)
