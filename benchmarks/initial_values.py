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

from configs import curriculum
from pose3d_jax import augment, input_pipeline, training
from pose3d_jax.inference import abstract_network
from pose3d_jax.models.network import INITS
from pose3d_jax.stages import get_stage

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
    config = curriculum.paper()
    config.data.wild = curriculum.tiny().data.wild
    for name in ("features", "modules", "input_side"):
        config.model[name] = getattr(chosen, name)

    batches = records(config, chosen.steps, chosen.data_dir)
    optimizer = training.make_optimizer(config)
    # One program for all: what differs are the parameters and the targets, which come from outside.
    step = training.make_train_step(
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
    domain = input_pipeline.open_domain(config.data.wild, data_dir)
    stream = input_pipeline.training_batches(
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


def make_network(config, init: str) -> training.Network:
    """A freshly initialised network."""
    config = config.copy_and_resolve_references()
    config.model.init = init
    return training.make_network(config)


def given_examples(config, examples, keys) -> augment.Example:
    """Inputs and targets that were made before."""
    return examples


def train(config, step, network, optimizer, sigma: float, batches) -> list[float]:
    """Trains, and returns each step's loss relative to that of predicting zero."""
    stage = get_stage(config, 1)
    make = jax.jit(functools.partial(training.augmented_examples, targets(config, sigma)))
    state = training.replicate(training.initial_state(network, optimizer))
    ratios = []
    for i, batch in enumerate(batches):
        keys = jax.random.split(jax.random.key(i), config.data.batch_size)
        examples = make(batch, keys)
        zero = config.model.stacks * float((examples.heatmaps**2).mean())
        examples = jax.tree.map(lambda x: x[None], examples)
        state, metrics = step(state, examples, training.hyperparameters(stage, i))
        ratios.append(float(metrics["heatmap_loss"]) / zero)
    return ratios


def targets(config, sigma: float):
    """The config with another width of the heat-maps."""
    config = config.copy_and_resolve_references()
    config.targets.sigma = sigma
    return config


if __name__ == "__main__":
    measure.run(main)
