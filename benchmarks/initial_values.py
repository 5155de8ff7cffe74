"""Whether a network begins to learn: both starts, both widths of the heat-maps.

`python -m benchmarks.initial_values [--features 32] [--steps 200]` trains stage 1 of the preset
`paper`, narrowed, on the built-in synthetic benchmark's small wild records (prepare them first:
`python -m tfds_builders.prepare synthetic`), and prints the heat-map loss relative to that of
predicting zero. All four trainings see the same images.
"""

from benchmarks import measure  # isort: skip  # before JAX

import argparse
import functools
import itertools

import jax
import numpy as np

from pose3d_jax import presets
from pose3d_jax.data.batches import training_batches
from pose3d_jax.data.examples import Example
from pose3d_jax.data.sources import open_domain
from pose3d_jax.models.network import INITS
from pose3d_jax.models.variables import Network, abstract_network
from pose3d_jax.models.variables import make_network as initialise
from pose3d_jax.stages import get_stage
from pose3d_jax.training.state import hyperparameters, initial_state, make_optimizer, replicate
from pose3d_jax.training.steps import augmented_examples, make_train_step

SIGMAS = (1.0, 1.75)
#: Over how many steps, up to those named, the printed losses are averaged.
AVERAGED = 10


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", type=int, default=32)
    parser.add_argument("--modules", type=int, default=2)
    parser.add_argument("--input_side", type=int, default=128)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--data_dir", default="")
    chosen = parser.parse_args()
    config = presets.paper()
    config.data.wild = presets.tiny().data.wild
    for name in ("features", "modules", "input_side"):
        config.model[name] = getattr(chosen, name)

    batches = records(config, chosen.steps, chosen.data_dir)
    optimizer = make_optimizer(config)
    # One program for all: what differs are the parameters and the targets, which come from outside.
    step = make_train_step(
        config, abstract_network(config), optimizer, get_stage(config, 1), given_examples
    )
    print(measure.machine())
    print(f"{'start':8}{'sigma':>6}   loss / loss of predicting zero, after steps")
    for init, sigma in itertools.product(INITS, SIGMAS):
        ratios = train(config, step, make_network(config, init), optimizer, sigma, batches)
        shown = {"1": ratios[0]} | {
            str(n): np.mean(ratios[n - AVERAGED : n])
            for n in range(chosen.steps // 4, chosen.steps + 1, chosen.steps // 4)
        }
        told = "  ".join(f"{n}: {ratio:.3g}" for n, ratio in shown.items())
        print(f"{init:8}{sigma:6}   {told}", flush=True)


def records(config, count: int, data_dir: str) -> list[dict[str, np.ndarray]]:
    """The first batches of wild training records."""
    domain = open_domain(config.data.wild, data_dir)
    stream = training_batches(
        [domain.train],
        batch_size=config.data.batch_size,
        seed=0,
        start=0,
        image_side=domain.image_side,
        threads=2,
        process_index=0,
        process_count=1,
    )
    return list(itertools.islice(stream, count))


def make_network(config, init: str) -> Network:
    """A freshly initialised network."""
    config = config.copy_and_resolve_references()
    config.model.init = init
    return initialise(config)


def given_examples(config, examples, keys) -> Example:
    """Inputs and targets that were made before."""
    return examples


def train(config, step, network, optimizer, sigma: float, batches) -> list[float]:
    """Trains, and returns each step's loss relative to that of predicting zero."""
    stage = get_stage(config, 1)
    make = jax.jit(functools.partial(augmented_examples, targets(config, sigma)))
    state = replicate(initial_state(network, optimizer))
    ratios = []
    for i, batch in enumerate(batches):
        keys = jax.random.split(jax.random.key(i), config.data.batch_size)
        examples = make(batch, keys)
        zero = config.model.stacks * float((examples.heatmaps**2).mean())
        examples = jax.tree.map(lambda x: x[None], examples)
        state, metrics = step(state, examples, hyperparameters(stage, i))
        ratios.append(float(metrics["heatmap_loss"]) / zero)
    return ratios


def targets(config, sigma: float):
    """The config with another width of the heat-maps."""
    config = config.copy_and_resolve_references()
    config.targets.sigma = sigma
    return config


if __name__ == "__main__":
    measure.run(main)
