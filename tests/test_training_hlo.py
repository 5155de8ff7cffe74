"""What the compiled training step holds: its all-reduces, and its memory per device.

Whatever the size of the network, the counts follow from its structure.
"""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import small_checkpoint

from pose3d_jax import presets
from pose3d_jax.models.variables import make_network
from pose3d_jax.stages import get_stage
from pose3d_jax.training.state import (
    hyperparameters,
    initial_state,
    make_optimizer,
    replicate,
    split_over_devices,
)
from pose3d_jax.training.steps import make_train_step

# Without optimisation nothing joins all-reduces that the step itself does not.
PER_DEVICE = 2
MOST_CHANNELS = 8


def config(synchronised=True):
    tree = presets.tiny()
    tree.optimizer.sync_batch_norm = synchronised
    tree.model.update({"input_side": 32, "levels": 1, "depth_levels": 1, "features": MOST_CHANNELS})
    return tree


@functools.cache
def compiled_step(synchronised=True):
    """The step of stage 3 over all devices, and the number of the network's parameters."""
    tree = config(synchronised)
    stage = get_stage(tree, 3)
    graphdef, variables = make_network(tree)
    optimizer = make_optimizer(tree, stage)
    step = make_train_step(tree, graphdef, optimizer, stage)
    state = replicate(initial_state(variables, optimizer))
    batch = small_checkpoint.records(jax.local_device_count() * PER_DEVICE)
    arguments = (state, split_over_devices(batch), hyperparameters(stage))
    return step.lower(*arguments).compile(), sum(p.size for p in jax.tree.leaves(variables.params))


def all_reduces(compiled) -> list[int]:
    """Numbers in each all-reduce."""
    pattern = r"= \(?f32\[([\d,]*)\][^=]* all-reduce(?:-start)?\("
    shapes = re.findall(pattern, compiled.as_text())
    return [int(np.prod([int(n) for n in shape.split(",") if n])) for shape in shapes]


def norms() -> int:
    """Batch normalisations of the network: each has a running mean and a running variance."""
    return len(jax.tree.leaves(make_network(config())[1].stats)) // 2


@pytest.mark.parametrize("synchronised", [False, True])
def test_gradients_cross_devices_in_one_all_reduce(synchronised):
    compiled, parameters = compiled_step(synchronised)
    sizes = all_reduces(compiled)
    # The gradients go with the statistics and the scalars.
    assert sum(size >= parameters for size in sizes) == 1
    if synchronised:
        # Beside it, each normalisation's mean and mean square forward, and their gradients back.
        assert len(sizes) <= 1 + 2 * norms()
        assert sorted(sizes)[-2] <= 2 * MOST_CHANNELS
    else:
        assert len(sizes) == 1


def test_memory_per_device_does_not_grow_with_devices():
    several = memory()
    alone = subprocess.run(
        [sys.executable, "-c", "import test_training_hlo as t; print(*t.memory())"],
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "1"},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    single = [int(size) for size in alone.stdout.split()]
    assert jax.device_count() == 8
    for found, expected in zip(several, single):
        assert found <= 1.1 * expected


def memory() -> tuple[int, int]:
    """Bytes per device of the step's arguments and of its temporaries."""
    analysis = compiled_step()[0].memory_analysis()
    return analysis.argument_size_in_bytes, analysis.temp_size_in_bytes
