"""Import side effect on CPUs: stops glibc from returning freed memory to the OS.

XLA's CPU backend allocates all temporaries of a program as one block, anew in every call, and glibc
returns so large a block to the system when it is freed. In the next call every page of it is mapped
and zeroed again: a third of the time of `tiny`'s training step (`benchmarks/README.md`).

To be imported before NumPy: glibc fixes the number of its arenas when the first thread starts.
"""

import ctypes
import importlib.util
import platform

#: `mallopt`'s parameters (glibc's malloc.h), and their values here.
_SETTINGS = {
    -8: 1,  # M_ARENA_MAX: one arena, because the others cannot hold blocks as large as XLA's
    -4: 0,  # M_MMAP_MAX: no block is a mapping of its own, which goes when it is freed
    -1: -1,  # M_TRIM_THRESHOLD: what is freed at the end of the heap stays
}


def _keep_freed_memory() -> None:
    accelerated = any(importlib.util.find_spec(name) for name in ("jax_plugins", "libtpu"))
    if platform.libc_ver()[0] == "glibc" and not accelerated:
        for parameter, value in _SETTINGS.items():
            ctypes.CDLL(None).mallopt(parameter, value)


_keep_freed_memory()
