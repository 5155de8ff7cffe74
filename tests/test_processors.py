import os
import subprocess
import sys

import pytest


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no processes tied to processors")
def test_a_process_with_an_affinity_of_one_processor_uses_one():
    """As under Slurm on a larger node."""
    code = (
        "import os; os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1]); "
        "from pose3d_jax import processors; print(processors.usable())"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert printed == b"1\n"
