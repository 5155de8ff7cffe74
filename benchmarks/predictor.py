"""How fast poses are predicted here: `python -m benchmarks.predictor [--checkpoint DIR]`.

For 1, 8 and 64 people per call: the latency of the network alone and of the whole call on photos of
one megapixel (cutting out, transfer, crop, network, decoding), the median of the rounds, and the
people per second of the latter. Without a checkpoint, a preset's network with random weights.

`--profile` adds the time of cutting the people out alone.
"""

from benchmarks import measure  # isort: skip  # before JAX

import argparse
import statistics

import jax
import numpy as np

from pose3d_jax import presets
from pose3d_jax.models.variables import make_network
from pose3d_jax.prediction.predictor import Predictor
from pose3d_jax.skeleton import HUMAN36M_BONE_LENGTH_SUM

PEOPLE = (1, 8, 64)
PHOTO = (1000, 1000, 3)
#: x, y, width and height, px: a large person, who is to be reduced by 7 for an input of 128 px.
BOX = (100.0, 50.0, 700.0, 900.0)


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", help="a stage's directory")
    parser.add_argument("--preset", choices=presets.PRESETS, default="paper", help="without one")
    parser.add_argument("--people", type=int, nargs="+", default=PEOPLE, help="per call")
    parser.add_argument("--rounds", type=int, default=10, help="calls of each kind, in turn")
    parser.add_argument("--batch_size", type=int, help="by default the most people")
    parser.add_argument("--profile", action="store_true", help="cutting out alone, too")
    options = parser.parse_args()

    batch_size = options.batch_size or max(options.people)
    if options.checkpoint:
        predictor = Predictor.from_checkpoint(
            options.checkpoint, batch_size=batch_size, flip=False, scales=(1.0,)
        )
    else:
        predictor = untrained(options.preset, batch_size)
    rows = {
        f"{people} people": measure_calls(predictor, people, options.rounds, options.profile)
        for people in options.people
    }
    network = options.checkpoint or options.preset
    measure.report(
        "predictor", rows, network=network, input_side=predictor.input_side, rounds=options.rounds
    )


def measure_calls(
    predictor: Predictor, people: int, rounds: int, profile: bool = False
) -> dict[str, float]:
    """The medians of a number of people per call."""
    photo = np.random.default_rng(0).integers(0, 256, PHOTO, np.uint8)
    boxes = np.tile([BOX], (people, 1))
    side = predictor.input_side
    crops = jax.device_put(np.zeros((people, side, side, 3), np.float32))
    works = {
        "network, ms": lambda: jax.block_until_ready(predictor.model(crops)),
        "call, ms": lambda: predictor(photo, boxes),
    }
    if profile:
        index, squares = np.zeros(people, np.int32), predictor.squares(photo, boxes)
        works["crop, ms"] = lambda: predictor.network.crop([photo], index, squares)
    seconds = measure.alternate(works, rounds, warm_up=1)
    row = {name: 1e3 * statistics.median(times) for name, times in seconds.items()}
    call = row["call, ms"]
    return row | {"call / network": call / row["network, ms"], "people/s": 1e3 * people / call}


def untrained(preset: str, batch_size: int) -> Predictor:
    """A preset's network with random weights, which take as long as any others."""
    config = presets.experiment(3, preset)
    return Predictor(
        *make_network(config, axis_name=None),
        input_side=config.model.input_side,
        bone_length_sum=HUMAN36M_BONE_LENGTH_SUM,
        batch_size=batch_size,
    )


if __name__ == "__main__":
    measure.run(main)
