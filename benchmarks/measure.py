"""Shared code of the benchmarks: the machine's description, alternating timings, tables, JSON.

Import it before JAX: it keeps memory as the programs do, and on a GPU leaves memory for PyTorch.
"""

import pose3d_jax.programs.start  # noqa: F401  # isort: skip  # first

import argparse
import importlib.util
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np
from flax import nnx

from pose3d_jax import presets
from pose3d_jax.checkpoints import loading
from pose3d_jax.data.loader import HostBatch
from pose3d_jax.models.variables import Variables, make_network
from pose3d_jax.prediction.predictor import Predictor
from pose3d_jax.programs.run import exit_code
from pose3d_jax.skeleton import HUMAN36M_BONE_LENGTH_SUM
from pose3d_jax.stages import Stage
from pose3d_jax.training.state import (
    Metrics,
    TrainState,
    check_batch_size,
    hyperparameters,
    initial_state,
    make_optimizer,
    replicate,
    split_over_devices,
)
from pose3d_jax.training.steps import make_train_step

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

#: Side of random images in sides of the input: room for the augmentation.
IMAGE_MARGIN = 1.5


def options(description: str, **defaults) -> argparse.ArgumentParser:
    """The command line that the benchmarks share; `defaults` replaces some of its defaults."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--preset", choices=presets.PRESETS, default="paper")
    parser.add_argument("--batch_size", type=int, help="default: the preset's; 64 on a GPU")
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16"), help="default: bfloat16 on a GPU"
    )
    parser.add_argument("--rounds", type=int, default=10, help="calls of each kind, in turn")
    parser.set_defaults(**defaults)
    return parser


def run(main: Callable[[], None]) -> None:
    """Runs a benchmark; a user's mistake becomes one sentence."""
    raise SystemExit(exit_code(main))


def on_gpu() -> bool:
    """Whether JAX computes on a GPU."""
    return jax.default_backend() == "gpu"


def make_config(chosen: argparse.Namespace) -> ml_collections.ConfigDict:
    """The preset's config, with the batch size and precision of the command line."""
    config = presets.experiment(3, chosen.preset)
    large = on_gpu() and chosen.preset != "tiny"
    config.data.batch_size = chosen.batch_size or (64 if large else config.data.batch_size)
    config.precision.compute = chosen.precision or ("bfloat16" if on_gpu() else "float32")
    check_batch_size(config.data.batch_size, ("lab", "wild"))
    return config


def open_predictor(
    name: str, precision: str, batch_size: int
) -> tuple[loading.TrainedNetwork, Predictor]:
    """A checkpoint's network, or a preset's with random weights; predictions of one pass."""
    if name not in presets.PRESETS or name in loading.bundled_names():
        trained = loading.load(name, compute=precision)
    else:
        config = presets.experiment(3, name)
        config.precision.compute = precision
        config.model.zero_init_outputs = False  # Zeros always agree.
        network = make_network(config, axis_name=None)
        trained = loading.TrainedNetwork(config, *network, with_depth=True)
    predictor = Predictor(
        trained.graphdef,
        trained.variables,
        input_side=trained.config.model.input_side,
        bone_length_sum=trained.config.data.bone_length_sum or HUMAN36M_BONE_LENGTH_SUM,
        batch_size=batch_size,
    )
    return trained, predictor


def random_records(config: ml_collections.ConfigDict) -> HostBatch:
    """A host batch of records with random images and poses, half lab and half wild."""
    rng = np.random.default_rng(0)
    batch, side = config.data.batch_size, config.model.input_side
    full = int(IMAGE_MARGIN * side)
    joints = rng.uniform(0.3 * full, 0.7 * full, (batch, 16, 2))
    return {
        "image": rng.integers(0, 256, (batch, full, full, 3), np.uint8),
        "box": np.tile(np.float32([full / 2, full / 2, side]), (batch, 1)),
        "joints_2d": joints.astype(np.float32),
        "joints_valid": np.ones((batch, 16), bool),
        "joints_3d": rng.normal(0.0, 500.0, (batch, 16, 3)).astype(np.float32),
        "has_3d": np.arange(batch) % 2 == 0,
        "head_size": np.full(batch, 0.1 * side, np.float32),
    }


def make_training(
    config: ml_collections.ConfigDict, graphdef: nnx.GraphDef, variables: Variables, stage: Stage
) -> tuple[Callable, TrainState]:
    """The training step of a stage, and a first state, which the step consumes."""
    optimizer = make_optimizer(config, stage)
    # A copy: several steps of one network may be measured.
    fresh = jax.tree.map(np.array, initial_state(variables, optimizer))
    return make_train_step(config, graphdef, optimizer, stage), replicate(fresh)


def make_trainer(
    config: ml_collections.ConfigDict, graphdef: nnx.GraphDef, variables: Variables, stage: Stage
) -> Callable[[HostBatch], Metrics]:
    """A function that trains on a batch, from the state of the call before, without waiting."""
    step, state = make_training(config, graphdef, variables, stage)
    hyper = hyperparameters(stage)

    def train(batch):
        nonlocal state
        state, metrics = step(state, split_over_devices(batch), hyper)
        return metrics

    return train


def alternate(
    works: dict[str, Callable[[], object]], rounds: int, warm_up: int = 2, rest: float = 0.0
) -> dict[str, list[float]]:
    """Seconds of alternating calls, so that other work on the machine affects all alike.

    Args:
        works: what to call, by name.
        rounds: timed calls of each.
        warm_up: calls of each before.
        rest: seconds of sleep before each timed call.
    """
    for work in works.values():
        for _ in range(warm_up):
            work()
    seconds = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            time.sleep(rest)
            start = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def machine() -> str:
    """Processor, device and versions, in one line."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("jax", "flax")]
    if has("torch"):
        versions.append(f"torch {importlib.metadata.version('torch')}")
    device = jax.devices()[0]
    devices = f"{jax.device_count()} × {device.device_kind}, " if on_gpu() else ""
    return (
        f"{devices}{os.cpu_count()} cores of {_processor()}; Python {platform.python_version()}, "
        + ", ".join(versions)
    )


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def has(module: str) -> bool:
    """Whether an optional module is installed."""
    return importlib.util.find_spec(module) is not None


def baseline_settings(
    choice: str | None, precision: str, *, compiled: bool
) -> dict[str, dict[str, bool]]:
    """Variants of the PyTorch baseline: name, and arguments of `torch_baseline`.

    Args:
        choice: "eager", "compiled", "both" or "none"; None for a default by what is installed.
        precision: of the arithmetic, by name.
        compiled: whether compiling pays.
    """
    if choice is None:
        choice = "none" if not has("torch") else "both" if compiled else "eager"
    ways = {"PyTorch": ("eager", "both"), "PyTorch, compiled": ("compiled", "both")}
    return {
        name: {"bfloat16": precision == "bfloat16", "compiled": "compiled" in name}
        for name, choices in ways.items()
        if choice in choices
    }


def setting(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """What the speed of a config's network depends on."""
    model = config.model
    return {
        "batch_size": config.data.batch_size,
        "precision": config.precision.compute,
        "input_side": model.input_side,
        "stacks": model.stacks,
        "features": model.features,
    }


def report(title: str, rows: dict[str, dict[str, float | str]], **facts: Any) -> None:
    """Prints facts, a table with a row per name, and the same as one line of JSON."""
    print(f"\n{title}: {', '.join(f'{name} {value}' for name, value in facts.items())}")
    print(f"on {machine()}\n")
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    print(f"| | {' | '.join(columns)} |\n|{' --- |' * (len(columns) + 1)}")
    for name, row in rows.items():
        values = (row.get(column, "") for column in columns)
        cells = (value if isinstance(value, str) else f"{value:.4g}" for value in values)
        print(f"| {name} | {' | '.join(cells)} |")
    result = {"benchmark": title, "machine": machine(), **facts, "rows": rows}
    print("\n" + json.dumps(result, ensure_ascii=False), flush=True)


def timing_rows(seconds: dict[str, list[float]], images: int) -> dict[str, dict[str, float]]:
    """Median and shortest call, images per second, and each one's time relative to the first's."""
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    ours = next(iter(medians.values()))
    return {
        name: {
            "median, ms": 1e3 * medians[name],
            "shortest, ms": 1e3 * min(times),
            "images/s": images / medians[name],
            "time / ours": medians[name] / ours,
        }
        for name, times in seconds.items()
    }
