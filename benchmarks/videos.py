"""How fast a video is predicted: `python -m benchmarks.videos [--preset P]`.

A video with one person's box in every frame, from the file to all results of `pose3d_jax.predict`:
decoding, cutting out, network, drawing and encoding. Printed are frames per second, the most memory
that the process held after a tenth of the frames and after all, and what the stages take alone, one
frame after the other, which they would take together if they did not run side by side. Then one
line of JSON with the machine in words.
"""

from benchmarks import measure  # isort: skip  # before JAX

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np

from benchmarks.predictor import untrained
from pose3d_jax import presets
from pose3d_jax.drawing.skeletons import draw_people
from pose3d_jax.images import videos
from pose3d_jax.prediction.jobs import Options, predict_video
from pose3d_jax.prediction.outputs import Job
from pose3d_jax.prediction.predictor import Predictor

RATE = Fraction(25)


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=presets.PRESETS, default="open")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--size", type=int, nargs=2, default=(1280, 720), help="width, height, px")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    width, height = options.size
    box = np.array([[width / 2 - height / 4, height / 8, height / 2, 3 * height / 4]])
    predictor = untrained(options.preset, options.batch_size)

    with tempfile.TemporaryDirectory() as folder:
        long, short = Path(folder, "long.mp4"), Path(folder, "short.mp4")
        write(long, options.frames, width, height)
        write(short, max(options.frames // 10, 1), width, height)

        def predict(source: Path) -> None:
            predict_video(predictor, Job(source, Path(folder, "out")), Options(boxes=box))

        predict(short)  # Compiles.
        memory = [peak_memory()]
        spent = [cost(lambda: predict(long)) for _ in range(options.rounds)]
        memory.append(peak_memory())
        stages = measure_stages(predictor, long, box, Path(folder, "alone.mp4"))

    whole, of_cores = (min(times) / options.frames for times in zip(*spent))
    stages = {
        name: [round(1e3 * value / options.frames, 2) for value in spent]
        for name, spent in stages.items()
    }
    result = {
        "benchmark": "videos",
        "machine": measure.machine(),
        "preset": options.preset,
        "frames": options.frames,
        "size": [width, height],
        "frames_per_s": round(1 / whole, 1),
        "ms_per_frame": round(1e3 * whole, 2),
        "core_ms_per_frame": round(1e3 * of_cores, 2),
        "stages_alone_ms_and_core_ms": stages,
        "peak_memory_mb": [round(value) for value in memory],
    }
    for name, value in result.items():
        print(f"{name}: {value}")
    print("\n" + json.dumps(result, ensure_ascii=False))


def write(path: Path, frames: int, width: int, height: int) -> None:
    """Writes a video of a picture that wanders, with some grain."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width][..., None] / 40.0
    picture = 127 + 80 * np.sin(x * [1, 2, 3]) * np.cos(y * [3, 1, 2])
    picture = np.uint8(picture + rng.normal(0, 8, picture.shape).clip(-40, 40))
    with videos.write_video(path, RATE) as add:
        for number in range(frames):
            add(np.roll(picture, 2 * number, axis=1))


def measure_stages(
    predictor: Predictor, source: Path, box: np.ndarray, out: Path
) -> dict[str, tuple[float, float]]:
    """What each stage costs over all frames, alone: seconds, and seconds of cores."""
    spent = {}
    with videos.open_video(source) as video:
        frames = []
        spent["decode"] = cost(lambda: frames.extend(video.frames))
    size = predictor.batch_size
    batches = [frames[first : first + size] for first in range(0, len(frames), size)]
    poses = []
    spent["cut and network"] = cost(
        lambda: poses.extend(predictor(batch, [box] * len(batch)) for batch in batches)
    )
    joints = np.concatenate([pose.joints_2d for pose in poses])
    drawn = []
    spent["draw"] = cost(
        lambda: drawn.extend(draw_people(frame, own[None]) for frame, own in zip(frames, joints))
    )
    with videos.write_video(out, RATE) as add:
        spent["encode"] = cost(lambda: [add(picture) for picture in drawn])
    return spent


def cost(work: Callable[[], object]) -> tuple[float, float]:
    """How long something takes, and how long it keeps cores busy, added up; seconds."""
    start, busy = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - busy


def peak_memory() -> float:
    """The most memory that this process has held, MB."""
    unit = 1 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    measure.run(main)
