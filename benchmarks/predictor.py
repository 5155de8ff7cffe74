"""How fast poses are predicted here: `python -m benchmarks.predictor [--checkpoint DIR]`.

For 1, 8 and 64 people per call: the latency of the network alone and of the whole call on photos of
one megapixel (cutting out, transfer, crop, network, decoding), the median of the repetitions, and
the people per second of the latter. Without a checkpoint, the paper's network with random weights.
"""

import argparse
import time
from collections.abc import Callable

import jax
import numpy as np

from configs import curriculum
from pose3d_jax import training
from pose3d_jax.inference import Predictor
from pose3d_jax.skeleton import HUMAN36M_BONE_LENGTH_SUM

PEOPLE = (1, 8, 64)
PHOTO = (1000, 1000, 3)


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", help="a stage's directory")
    parser.add_argument("--people", type=int, nargs="+", default=PEOPLE, help="per call")
    parser.add_argument("--repetitions", type=int, default=10)
    options = parser.parse_args()

    largest = max(options.people)
    if options.checkpoint:
        predictor = Predictor.from_checkpoint(options.checkpoint, batch_size=largest)
    else:
        predictor = untrained(largest)
    device = jax.devices()[0]
    print(f"{predictor.input_side} px on {device.device_kind}, JAX {jax.__version__}\n")
    print("| people | network, ms | whole call, ms | people/s |")
    print("| --- | --- | --- | --- |")
    photo = np.random.default_rng(0).integers(0, 256, PHOTO, np.uint8)
    for people in options.people:
        side = predictor.input_side
        crops = jax.device_put(np.zeros((people, side, side, 3), np.float32))
        boxes = np.tile([[100.0, 50.0, 700.0, 900.0]], (people, 1))

        def network(crops=crops):
            jax.block_until_ready(predictor.model(crops))

        def whole(boxes=boxes):
            predictor(photo, boxes)

        network_s = median_seconds(network, options.repetitions)
        whole_s = median_seconds(whole, options.repetitions)
        print(
            f"| {people} | {1e3 * network_s:.1f} | {1e3 * whole_s:.1f} | {people / whole_s:.1f} |",
            flush=True,
        )


def untrained(batch_size: int) -> Predictor:
    """The paper's network with random weights, which take as long as any others."""
    config = curriculum.paper()
    return Predictor(
        training.make_network(config, axis_name=None),
        input_side=config.model.input_side,
        bone_length_sum=HUMAN36M_BONE_LENGTH_SUM,
        batch_size=batch_size,
    )


def median_seconds(work: Callable[[], None], repetitions: int) -> float:
    """The median time of a call, after one that compiles."""
    work()
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


if __name__ == "__main__":
    main()
