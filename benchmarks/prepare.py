"""How fast data sets are prepared and read here, and what limits it.

    python -m benchmarks.prepare [--workers 1 2] [--frames 500] [--videos 8]

Preparing: Human3.6M's work on videos of its size, made here (a textured room in which something
moves), stage by stage, then whole with each number of workers, and the hours that all of
Human3.6M takes. Reading: records from ArrayRecord, with and without decoding the JPEG. Single
stages are measured in CPU seconds, so that other work on the machine does not matter.
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
from PIL import Image, ImageFilter

from pose3d_jax.data.catalog import open_dataset
from pose3d_jax.images.crop import crop_square
from pose3d_jax.images.jpeg import decode_image, encode_image
from tests import miniature
from tfds_builders import work
from tfds_builders.builders import load_builder
from tfds_builders.human36m import sequence
from tfds_builders.prepare import prepare

#: Video frames of the seven subjects at 50 fps: 1,559,752 for training and 543,344 for testing, as
#: works on this data set count them (Martinez et al., ICCV 2017, and the likes).
HUMAN36M_FRAMES = 1_559_752 + 543_344
STEP = 5


def room(frames: int) -> list[np.ndarray]:
    """Pictures of Human3.6M's size: static texture, sensor noise, and a figure that moves."""
    rng = np.random.default_rng(0)
    texture = Image.fromarray(rng.integers(40, 216, (1002, 1000, 3), dtype=np.uint8))
    texture = np.asarray(texture.filter(ImageFilter.GaussianBlur(2)))
    figure = np.asarray(Image.fromarray(texture[:420, :160]).filter(ImageFilter.GaussianBlur(1)))
    noise = rng.integers(-2, 3, (8, 1002, 1000, 1), dtype=np.int8)
    pictures = []
    for k in range(frames):
        picture = np.clip(texture + noise[k % 8].astype(np.int16), 0, 255).astype(np.uint8)
        x = 380 + int(150 * np.sin(k / 20))
        picture[300:720, x : x + 160] = 255 - figure
        pictures.append(picture)
    return pictures


def release(root: Path, frames: int, videos: int) -> list[str]:
    """A part of Human3.6M: one video and its poses, linked under several names."""
    names = [f"{action} {take}" for action in ("Walking", "Eating", "Posing", "Photo")
             for take in (1, 2)]  # fmt: skip
    names = [f"{name}.{camera}" for camera in miniature.CAMERAS for name in names][:videos]
    truth = miniature.poses(frames, seed=0)
    flat = miniature.project(truth, "54138969")
    directory = root / "S1"
    first = {"Videos": (".mp4", lambda path: miniature.write_video(path, room(frames)))}
    for kind, values in (("D2_Positions", flat), ("D3_Positions_mono", truth)):
        everything = np.zeros((frames, 32, values.shape[-1]))
        everything[:, sequence.JOINTS] = values
        flattened = everything.reshape(frames, -1)
        first[f"MyPoseFeatures/{kind}"] = (
            ".cdf", lambda path, pose=flattened: miniature.write_cdf(path, pose),
        )  # fmt: skip
    for place, (suffix, write) in first.items():
        original = directory / place / f"{names[0]}{suffix}"
        write(original)
        for name in names[1:]:
            os.link(original, directory / place / f"{name}{suffix}")
    return names


def rate(function: Callable[[], object], count: int, seconds: float = 2.0) -> float:
    """How many per second of CPU, if each call does `count`; called for some seconds."""
    start = time.process_time()
    calls = 0
    while time.process_time() - start < seconds:
        function()
        calls += 1
    return calls * count / (time.process_time() - start)


def stages(root: Path, data_dir: Path) -> None:
    """The work on one video, stage by stage, on one core."""
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
        ("all of it, video frames", lambda: plan.make(item), frames),
    ):  # fmt: skip
        speed = rate(function, count)
        print(f"  {name:28} {speed:8,.0f}")
    hours, cpus = HUMAN36M_FRAMES / speed / 3600, os.cpu_count() or 1
    print(f"  Human3.6M: {hours:.1f} CPU hours; {hours / cpus:.1f} hours on {cpus} idle cores")


def whole(root: Path, scratch: Path, workers: int, frames: int) -> Path:
    """Prepares the release with a number of workers, and extrapolates to Human3.6M."""
    data_dir = scratch / f"workers{workers}"
    plan = load_builder("human36m", data_dir).make_plan(root, scratch, partial=True)
    # The workers' start, some seconds, does not grow with the data: they are warm after an item.
    done = work.do_all(plan.make, plan.items, data_dir / "items", workers)
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
    parser.add_argument("--frames", type=int, default=500, help="of a video")
    parser.add_argument("--videos", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        root, scratch = Path(directory, "release"), Path(directory, "data")
        release(root, options.frames, options.videos)
        stages(root, scratch)
        print(f"prepare human36m, every {STEP}th frame:")
        for workers in options.workers:
            whole(root, scratch, workers, options.frames)
        reading("human36m", scratch / f"workers{options.workers[-1]}")
        miniature.write_mpii_people(scratch / "mpii", count=30)
        with contextlib.redirect_stdout(io.StringIO()):
            prepare("mpii", scratch, manual_dir=scratch / "mpii", workers=1)
        reading("mpii", scratch)


if __name__ == "__main__":
    main()
