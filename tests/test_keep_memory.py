"""Whether memory stays with the process, seen by the system's count of page faults."""

import os
import platform
import subprocess
import sys

import pytest

from pose3d_jax.programs import start

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


def page_faults(variables: dict[str, str]) -> int:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc")
def test_temporaries_are_not_mapped_again_in_every_call():
    if page_faults({}) < 10 * 2**14:
        pytest.skip("this system keeps memory anyway, or has larger pages")
    assert page_faults(start.KEEP_MEMORY) < 5 * 2**14


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc")
def test_a_program_restarts_once_with_the_same_command_line(monkeypatch):
    calls = []
    monkeypatch.setattr(os, "execv", lambda *call: calls.append(call))
    monkeypatch.setattr(start, "_found", lambda *names: [name in start.MODULES for name in names])
    for name in start.KEEP_MEMORY:
        monkeypatch.setenv(name, "")  # Restored at the end.
        monkeypatch.delenv(name)
    start._start("pytest.__main__")
    assert not calls
    for _ in range(2):
        start._start("pose3d_jax.train")
    assert calls == [(sys.executable, [sys.executable, *sys.orig_argv[1:]])]
    assert start.KEEP_MEMORY.items() <= os.environ.items()


def test_a_missing_extra_is_one_sentence(monkeypatch):
    monkeypatch.setattr(start, "_found", lambda *names: [name != "grain" for name in names])
    with pytest.raises(SystemExit, match=r"^error: This needs grain: pip install 'pose3d_jax\["):
        start._start("pose3d_jax.train")
