"""Import side effects at the start of a program; import it first.

1. The program ends with one sentence where it needs the extra `train` and lacks it.
2. On CPUs with glibc, the program restarts once with glibc keeping freed memory. XLA's CPU backend
   allocates all temporaries of a call as one block, and glibc returns a block of that size to the
   system when it is freed. Mapping and zeroing its pages again in every call takes a third of the
   time of a training step of `tiny` (benchmarks/README.md). glibc reads these settings from the
   environment when a process starts, hence the restart.

Neither happens where a module of a program is imported by something else.
"""

import importlib.util
import os
import platform
import sys

#: Modules of the extra `train`, and the programs that need them.
MODULES = ("array_record", "grain", "tensorboardX", "tensorflow_datasets")
NEED_TRAIN = ("pose3d_jax.train", "pose3d_jax.ablate", "pose3d_jax.evaluate",
              "tfds_builders.prepare")  # fmt: skip

#: Variables of glibc's malloc. One arena, because others cannot hold blocks as large as XLA's; no
#: block as a mapping of its own, which would be unmapped when freed; no trimming of the heap.
KEEP_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**62),
}


def _found(*modules: str) -> list[bool]:
    return [importlib.util.find_spec(name) is not None for name in modules]


def _restart_with_kept_memory() -> None:
    accelerated = any(_found("jax_plugins", "libtpu"))
    restarted = KEEP_MEMORY.keys() <= os.environ.keys()
    if platform.libc_ver()[0] == "glibc" and not accelerated and not restarted and sys.executable:
        os.environ.update(KEEP_MEMORY)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _start(program: str) -> None:
    if program in NEED_TRAIN and not all(_found(*MODULES)):
        missing = [name for name, there in zip(MODULES, _found(*MODULES)) if not there]
        sys.exit(f"error: This needs {', '.join(missing)}: pip install 'pose3d_jax[train]'")
    if program.split(".")[0] in ("pose3d_jax", "benchmarks"):
        _restart_with_kept_memory()


_start(getattr(sys.modules["__main__"].__spec__, "name", ""))
