"""Whether memory stays with the process, seen by the system's count of page faults."""

import platform
import subprocess
import sys

import pytest

#: Ten calls of a program with a temporary of 64 MB, which are 16,384 pages, after some that settle.
PROGRAM = """
import resource
import jax, jax.numpy as jnp

work = jax.jit(lambda x: jnp.roll(jax.lax.optimization_barrier(x + 1), 1, axis=0) @ jnp.ones(64))
x = jnp.zeros((2**18, 64))
for calls in range(34):
    if calls == 24:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work(x).block_until_ready()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(program: str) -> int:
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc")
def test_temporaries_are_not_mapped_anew_in_every_call():
    if page_faults(PROGRAM) < 10 * 2**14:
        pytest.skip("this system keeps memory anyway, or has larger pages")
    assert page_faults(f"import pose3d_jax.programs.memory\n{PROGRAM}") < 5 * 2**14
