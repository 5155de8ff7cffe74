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

#: Records of each split of the fixture `data_dir`. Evaluations of as many images share programs.
RECORDS = 10
#: Of each stage.
STEPS = 6
#: Seconds to compile and to run; everything else as in the preset `tiny`.
SMALL = {
    "model.input_side": 64,
    "model.levels": 1,
    "model.depth_levels": 1,
    "model.features": 8,
    "data.batch_size": 16,
    # As many in stages 2 and 3: with the same learning rates they are one program.
    **{f"stages.stage{number}.steps": STEPS for number in (1, 2, 3)},
    # Small steps: RMSprop's first ones depend on little but a gradient's sign, and would make much
    # of the last bits in which sums over devices differ.
    **{f"stages.stage{number}.learning_rate": 2e-4 for number in (1, 2, 3)},
    **{f"stages.stage{number}.warmup_steps": 2 for number in (1, 2, 3)},
    "run.log_every": 1,
    "run.save_every": 2,
    "run.evaluate_every": 100,
    "run.evaluate_images": RECORDS,
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
        "--config.run.compilation_cache=",  # The tests', from the environment.
        *(f"--config.{key}={value}" for key, value in values.items()),
        *flags,
    ]


def environment(devices: int = 1) -> dict[str, str]:
    return os.environ | {
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_PLATFORMS": "cpu",
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


def wait_until(process: subprocess.Popen, condition: Callable[[], bool]) -> None:
    """Waits for a condition, or for the end of the process."""
    deadline = time.monotonic() + 600
    while not condition() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def stop(process: subprocess.Popen, number: signal.Signals) -> str:
    process.send_signal(number)
    return process.communicate(timeout=3600)[0]


def checkpoint(workdir, stage: int) -> dict[str, np.ndarray]:
    """The arrays of a stage's last checkpoint, read with Orbax alone."""
    directory = Path(workdir, f"stage{stage}", "checkpoints", str(STEPS), "state").resolve()
    return ocp.StandardCheckpointer().restore(directory)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
