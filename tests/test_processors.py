import os
import subprocess
import sys

import pytest


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no processes tied to processors")
def test_a_process_that_is_tied_to_one_processor_uses_one():
    """As under Slurm, on a node that has more."""
    code = (
        "import os; os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1]); "
        "from pose3d_jax import processors; print(processors.usable())"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert printed == b"1\n"
