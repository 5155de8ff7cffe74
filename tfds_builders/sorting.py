"""TFDS's sorting of large splits, without TensorFlow.

TFDS writes records in the order of their keys' hashes. What exceeds 1 GB it sorts in temporary
files, and it opens these with TensorFlow, even where the records become ArrayRecord files. Here
Python opens them. The order is the same.
"""

import contextlib
import os
from collections.abc import Iterator
from types import SimpleNamespace

from tensorflow_datasets.core import shuffle

#: Temporary files, all open at once: far from the 256 that some systems allow a process.
FILES = 100


class _NeverRaised(Exception):
    """In place of TensorFlow's error of a process with too many open files."""


# What `shuffle` uses of TensorFlow. Its own name is replaced, not `sys.modules["tensorflow"]`:
# where TensorFlow is installed, all others go on using it.
_PYTHONS_FILES = SimpleNamespace(
    io=SimpleNamespace(
        gfile=SimpleNamespace(GFile=open, exists=os.path.exists, remove=os.remove),
    ),
    errors=SimpleNamespace(ResourceExhaustedError=_NeverRaised),
)


@contextlib.contextmanager
def with_pythons_files() -> Iterator[None]:
    """Lets TFDS sort with Python's files."""
    before = shuffle.tf, shuffle.BUCKETS_NUMBER
    shuffle.tf, shuffle.BUCKETS_NUMBER = _PYTHONS_FILES, FILES
    try:
        yield
    finally:
        shuffle.tf, shuffle.BUCKETS_NUMBER = before
