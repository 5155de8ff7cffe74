"""How fast poses are predicted here: `python -m benchmarks.predictor [--checkpoint DIR]`.

For 1, 8 and 64 people per call: the latency of the network alone and of the whole call on photos of
one megapixel (cutting out, transfer, crop, network, decoding), the median of the rounds, and the
people per second of the latter. Without a checkpoint, the paper's network with random weights. A
table comes first, then one line of JSON with the machine in words.
"""

import argparse
import json
import statistics

import jax
import numpy as np

from benchmarks import measure
from pose3d_jax import presets
from pose3d_jax.models.variables import make_network
from pose3d_jax.prediction.predictor import Predictor
from pose3d_jax.skeleton import HUMAN36M_BONE_LENGTH_SUM

PEOPLE = (1, 8, 64)
PHOTO = (1000, 1000, 3)


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", help="a stage's directory")
    parser.add_argument("--people", type=int, nargs="+", default=PEOPLE, help="per call")
    parser.add_argument("--rounds", type=int, default=10, help="calls of each kind, in turn")
    options = parser.parse_args()

    largest = max(options.people)
    if options.checkpoint:
        predictor = Predictor.from_checkpoint(options.checkpoint, batch_size=largest)
    else:
        predictor = untrained(largest)
    machine = measure.machine()
    print(f"{predictor.input_side} px on {machine}\n")
    print("| people | network, ms | whole call, ms | people/s |")
    print("| ---: | ---: | ---: | ---: |")
    rows = []
    for people in options.people:
        row = measure_calls(predictor, people, options.rounds)
        rows.append(row)
        print("| {people} | {network_ms} | {call_ms} | {people_per_s} |".format(**row), flush=True)
    result = {
        "benchmark": "predictor",
        "machine": machine,
        "checkpoint": options.checkpoint,
        "input_side": predictor.input_side,
        "rounds": options.rounds,
        "rows": rows,
    }
    print("\n" + json.dumps(result, ensure_ascii=False))


def measure_calls(predictor: Predictor, people: int, rounds: int) -> dict[str, float]:
    """The medians of a number of people per call."""
    photo = np.random.default_rng(0).integers(0, 256, PHOTO, np.uint8)
    boxes = np.tile([[100.0, 50.0, 700.0, 900.0]], (people, 1))
    side = predictor.input_side
    crops = jax.device_put(np.zeros((people, side, side, 3), np.float32))
    works = {
        "network": lambda: jax.block_until_ready(predictor.model(crops)),
        "call": lambda: predictor(photo, boxes),
    }
    seconds = measure.alternate(works, rounds, warm_up=1)
    network, call = (statistics.median(seconds[name]) for name in ("network", "call"))
    return {
        "people": people,
        "network_ms": round(1e3 * network, 1),
        "call_ms": round(1e3 * call, 1),
        "people_per_s": round(people / call, 1),
    }


def untrained(batch_size: int) -> Predictor:
    """The paper's network with random weights, which take as long as any others."""
    config = presets.paper()
    return Predictor(
        make_network(config, axis_name=None),
        input_side=config.model.input_side,
        bone_length_sum=HUMAN36M_BONE_LENGTH_SUM,
        batch_size=batch_size,
    )


if __name__ == "__main__":
    measure.run(main)
