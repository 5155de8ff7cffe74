"""Runs the training program as a user does, on a few embedded records with a very small network."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp

ROOT = Path(__file__).parent.parent

#: Seconds to compile and to run; everything else as in the preset `tiny`.
SMALL = {
    "model.input_side": 64,
    "model.levels": 1,
    "model.depth_levels": 1,
    "model.features": 8,
    "data.batch_size": 16,
    "stages.stage1.steps": 6,
    "stages.stage2.steps": 8,
    "stages.stage3.steps": 4,
    # Small steps: RMSprop's first ones depend on little but a gradient's sign, and would make much
    # of the last bits in which sums over devices differ.
    "stages.stage1.learning_rate": 2e-4,
    "stages.stage2.learning_rate": 2e-4,
    "stages.stage3.learning_rate": 2e-4,
    "stages.stage1.warmup_steps": 2,
    "stages.stage2.warmup_steps": 2,
    "stages.stage3.warmup_steps": 2,
    "run.log_every": 1,
    "run.save_every": 2,
    "run.evaluate_every": 100,
    "run.evaluate_images": 8,
}


def command(workdir, data_dir, *flags, stage=3, preset="tiny", **overrides) -> list[str]:
    """The command line; overrides are named with __ for the dots."""
    values = SMALL | {key.replace("__", "."): value for key, value in overrides.items()}
    return [
        sys.executable,
        "-m",
        "pose3d_jax.train",
        f"--config=configs/stage{stage}.py:{preset}",
        f"--workdir={workdir}",
        f"--config.run.data_dir={data_dir}",
        # Programs of the same session share what they compiled.
        f"--config.run.compilation_cache={Path(data_dir, 'compiled')}",
        *(f"--config.{key}={value}" for key, value in values.items()),
        *flags,
    ]


def environment(devices: int = 1) -> dict[str, str]:
    return os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_PLATFORMS": "cpu",
        # Programs of so few steps take longer to optimise than to run.
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        # What takes less than a second to compile is kept as well.
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        # Users set these for their own code; the programs pass nevertheless.
        "JAX_NUMPY_DTYPE_PROMOTION": "strict",
        "JAX_NUMPY_RANK_PROMOTION": "raise",
        "JAX_TRANSFER_GUARD": "disallow",
    }


def start(words: list[str], devices: int = 1) -> subprocess.Popen:
    return subprocess.Popen(
        words,
        cwd=ROOT,
        env=environment(devices),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def train(workdir, data_dir, *flags, devices: int = 1, code: int = 0, **options) -> str:
    """Runs the program to its end and returns what it said."""
    return finish(start(command(workdir, data_dir, *flags, **options), devices), code)


def finish(process: subprocess.Popen, code: int = 0) -> str:
    output, _ = process.communicate(timeout=3600)
    assert process.returncode == code, output
    return output


def metrics(workdir, stage: int) -> dict[int, dict[str, float]]:
    """Step → scalars, as `metrics.jsonl` has them."""
    merged: dict[int, dict[str, float]] = {}
    path = Path(workdir, f"stage{stage}", "metrics.jsonl")
    for line in path.read_text().splitlines() if path.exists() else ():
        row = json.loads(line)
        merged.setdefault(row.pop("step"), {}).update(row)
    return merged


def wait_until(process: subprocess.Popen, condition: Callable[[], bool]) -> bool:
    """Waits for a condition; False if the process ends before."""
    deadline = time.monotonic() + 600
    while not condition():
        if process.poll() is not None:
            return False
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return True


def wait_for_step(process: subprocess.Popen, workdir, stage: int, step: int) -> None:
    reached = wait_until(process, lambda: step in metrics(workdir, stage))
    assert reached, process.communicate()[0]


def stop(process: subprocess.Popen, number: signal.Signals) -> str:
    process.send_signal(number)
    return process.communicate(timeout=3600)[0]


def checkpoint(workdir, stage: int, step: int) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint, read with Orbax alone."""
    directory = Path(workdir, f"stage{stage}", "checkpoints", str(step), "state").resolve()
    return ocp.StandardCheckpointer().restore(directory)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
