"""TFDS's external sort without TensorFlow.

TFDS writes records in the order of their keys' hashes. Splits over 1 GB are sorted in temporary
files, which TFDS opens with TensorFlow even when it writes ArrayRecord. Here Python opens them; the
order is the same.
"""

import contextlib
import os
from collections.abc import Iterator
from types import SimpleNamespace

from tensorflow_datasets.core import shuffle

#: Number of temporary files, all open at once; some systems allow a process only 256.
FILES = 100


class _ResourceExhaustedError(Exception):
    """Stands in for TensorFlow's error for too many open files; never raised."""


# What `shuffle` uses of TensorFlow. Only the module's own name is replaced, so that an installed
# TensorFlow still works for everything else.
_PYTHON_FILES = SimpleNamespace(
    io=SimpleNamespace(gfile=SimpleNamespace(GFile=open, exists=os.path.exists, remove=os.remove)),
    errors=SimpleNamespace(ResourceExhaustedError=_ResourceExhaustedError),
)


@contextlib.contextmanager
def without_tensorflow() -> Iterator[None]:
    """Makes TFDS sort with Python's files."""
    before = shuffle.tf, shuffle.BUCKETS_NUMBER
    shuffle.tf, shuffle.BUCKETS_NUMBER = _PYTHON_FILES, FILES
    try:
        yield
    finally:
        shuffle.tf, shuffle.BUCKETS_NUMBER = before
