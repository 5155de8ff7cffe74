"""Speed of preparing Human3.6M: `python -m benchmarks.prepare --manual_dir DIR`.

DIR has official files of Human3.6M; one subject is enough. Preparation is measured stage by stage,
then as a whole with each number of workers, and extrapolated to the full data set. Stages are
measured in CPU seconds, so that other processes matter little. `benchmarks.end_to_end` measures
reading.
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

from pose3d_jax.images.crop import crop_square
from pose3d_jax.images.jpeg import encode_image
from tfds_builders import work
from tfds_builders.builders import load_builder
from tfds_builders.human36m import sequence
from tfds_builders.prepare import prepare

#: Video frames of the seven subjects at 50 fps, for training and testing (Martinez et al., ICCV
#: 2017).
HUMAN36M_FRAMES = 1_559_752 + 543_344


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


def whole(root: Path, scratch: Path, workers: int, frames: int) -> None:
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
        prepare("human36m", data_dir, manual_dir=root, partial=True, workers=workers)
    everything = frames * len(plan.items) / (time.perf_counter() - start)
    hours = HUMAN36M_FRAMES / making / 3600
    print(
        f"  {workers:2} workers: {making:8,.0f} video frames/s "
        f"({everything:,.0f} with start and writing); Human3.6M: {hours:.1f} hours"
    )


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
        print("prepare human36m, every 5th frame:")
        for workers in options.workers:
            whole(options.manual_dir, scratch, workers, frames)


if __name__ == "__main__":
    main()
