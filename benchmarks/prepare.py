"""How fast Human3.6M is prepared and read here: `python -m benchmarks.prepare --manual_dir DIR`.

DIR has official files of Human3.6M; one subject is enough. Preparation is measured stage by stage,
then as a whole with each number of workers, and extrapolated to the full data set. Reading: records
from ArrayRecord, with and without decoding. Stages are measured in CPU seconds, so that other
processes matter little.
"""

import argparse
import contextlib
import io
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from pose3d_jax.data.catalog import open_dataset
from pose3d_jax.images.crop import crop_square
from pose3d_jax.images.jpeg import decode_image, encode_image
from tfds_builders import work
from tfds_builders.builders import load_builder
from tfds_builders.human36m import sequence
from tfds_builders.prepare import prepare

#: Video frames of the seven subjects at 50 fps: 1,559,752 for training and 543,344 for testing, as
#: works on this data set count them (Martinez et al., ICCV 2017, and the likes).
HUMAN36M_FRAMES = 1_559_752 + 543_344
STEP = 5


def rate(function: Callable[[], object], count: int, seconds: float = 2.0) -> float:
    """How many per second of CPU, if each call does `count`; called for some seconds."""
    start = time.process_time()
    calls = 0
    while time.process_time() - start < seconds:
        function()
        calls += 1
    return calls * count / (time.process_time() - start)


def stages(root: Path, data_dir: Path) -> int:
    """Measures the stages of one video on one core, and returns its number of frames."""
    plan = load_builder("human36m", data_dir).make_plan(root, data_dir, partial=True)
    item = plan.items[0]
    video = item.inputs[0]
    frame = next(sequence.read_frames(video)).to_ndarray(format="rgb24")
    frames = sum(1 for _ in sequence.read_frames(video))
    size = os.path.getsize(video) * 8 * 50 / frames / 1e6
    center, side = np.array([487.3, 503.1]), 520.7
    crop, _ = crop_square(frame, center, side, sequence.IMAGE_SIDE)
    print(f"per CPU second ({frame.shape[1]}×{frame.shape[0]} H.264, {size:.1f} Mbit/s at 50 fps):")
    for name, function, count in (
        ("decode, video frames", lambda: list(sequence.read_frames(video)), frames),
        ("crop and resample, records",
         lambda: crop_square(frame, center, side, sequence.IMAGE_SIDE), 1),
        ("encode JPEG, records", lambda: encode_image(crop), 1),
        ("all of it, video frames", lambda: plan.process(item), frames),
    ):  # fmt: skip
        speed = rate(function, count)
        print(f"  {name:28} {speed:8,.0f}")
    hours, cpus = HUMAN36M_FRAMES / speed / 3600, os.cpu_count() or 1
    print(f"  Human3.6M: {hours:.1f} CPU hours; {hours / cpus:.1f} hours on {cpus} idle cores")
    return frames


def whole(root: Path, scratch: Path, workers: int, frames: int) -> Path:
    """Prepares the files with a number of workers, and extrapolates to all of Human3.6M.

    `frames` is the length of a video, taken as that of all videos.
    """
    data_dir = scratch / f"workers{workers}"
    plan = load_builder("human36m", data_dir).make_plan(root, scratch, partial=True)
    # The workers' start, some seconds, does not grow with the data: they are warm after an item.
    done = work.run_all(plan.process, plan.items, data_dir / "items", workers)
    first = None
    for _ in done:
        first = first or time.perf_counter()
    making = frames * (len(plan.items) - workers) / (time.perf_counter() - first)
    with contextlib.redirect_stdout(io.StringIO()):
        start = time.perf_counter()
        place = prepare("human36m", data_dir, manual_dir=root, partial=True, workers=workers)
    everything = frames * len(plan.items) / (time.perf_counter() - start)
    hours = HUMAN36M_FRAMES / making / 3600
    print(
        f"  {workers:2} workers: {making:8,.0f} video frames/s "
        f"({everything:,.0f} with start and writing); Human3.6M: {hours:.1f} hours"
    )
    return place


def reading(name: str, data_dir: Path) -> None:
    """Records per second and core."""
    dataset = open_dataset(name, data_dir)
    split = next(iter(dataset.info.splits))
    decoders = {"image": tfds.decode.SkipDecoding()}
    source = dataset.as_data_source(split, decoders=decoders)
    order = np.random.default_rng(0).permutation(len(source)).tolist()
    jpeg = source[0]["image"]
    print(f"reading {name}, per CPU second ({len(jpeg) / 1000:.0f} kB a picture):")
    read = rate(lambda: [source[i] for i in order], len(order))
    decoded = rate(lambda: [decode_image(source[i]["image"]) for i in order], len(order))
    print(f"  labels and JPEG {read:8,.0f}\n  and decoded     {decoded:8,.0f}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cpus = os.cpu_count() or 1
    parser.add_argument("--workers", type=int, nargs="+", default=sorted({1, cpus}))
    parser.add_argument("--manual_dir", type=Path, required=True, help="official files")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        frames = stages(options.manual_dir, scratch)
        print(f"prepare human36m, every {STEP}th frame:")
        for workers in options.workers:
            whole(options.manual_dir, scratch, workers, frames)
        reading("human36m", scratch / f"workers{options.workers[-1]}")


if __name__ == "__main__":
    main()
