"""Import side effect: ends the program with one sentence where the extra `train` is missing.

To be imported first by programs that read or write data sets: their other imports would fail.
"""

import importlib.util
import sys

MODULES = ("array_record", "grain", "tensorboardX", "tensorflow_datasets")

if missing := [name for name in MODULES if importlib.util.find_spec(name) is None]:
    sys.exit(f"error: This needs {', '.join(missing)}: pip install 'pose3d_jax[train]'")
