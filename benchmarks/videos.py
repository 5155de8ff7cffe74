"""Speed on a video: `python -m benchmarks.videos [--network N] [--mediapipe PYTHON]`.

A video with one person's box in every frame, from the file to all results of `pose3d_jax.predict`
(decoding, cropping, network, drawing, encoding), and to the numbers alone. Prints frames per
second, the largest memory of the process after a tenth of the frames and after all, and the time of
each stage alone, one frame after the other.

`--mediapipe` names the Python of an environment with MediaPipe (`pip install mediapipe==0.10.21
av`), which predicts the same video, alternating (`mediapipe_video.py`).
"""

from benchmarks import measure  # isort: skip  # before JAX

import argparse
import collections
import itertools
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from pose3d_jax.drawing.skeletons import draw_people
from pose3d_jax.errors import UserError
from pose3d_jax.images import videos
from pose3d_jax.prediction.inputs import Input, Options
from pose3d_jax.prediction.pipeline import predict_video
from pose3d_jax.prediction.predictor import Predictor

RATE = Fraction(25)
PHOTO = Path(__file__).parents[1] / "docs/photos/balancing.jpg"
#: Rows of the photo that fill a frame's height, and the person's x, y, width and height there, px.
ROWS = slice(200, 700)
PERSON = (190, 40, 235, 415)


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="open", help="a checkpoint, or a preset")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--size", type=int, nargs=2, default=(1280, 720), help="width, height, px")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--mediapipe", help="a Python that has MediaPipe")
    options = parser.parse_args()
    width, height = options.size
    _, predictor = measure.open_predictor(options.network, "auto", options.batch_size)

    with tempfile.TemporaryDirectory() as folder:
        long, short = Path(folder, "long.mp4"), Path(folder, "short.mp4")
        box = write(long, options.frames, width, height)
        write(short, max(options.frames // 10, 1), width, height)

        def predict(source: Path, **chosen) -> None:
            item = Input(source, Path(folder, "out"))
            predict_video(predictor, item, Options(boxes=box, **chosen))

        predict(short)  # Compiles.
        memory = [peak_memory()]
        works = {
            "all results": lambda: cost(lambda: predict(long)),
            "numbers alone": lambda: cost(lambda: predict(long, overlays=False)),
        }
        if options.mediapipe:
            works["MediaPipe, all results"] = lambda: mediapipe(options.mediapipe, long, folder)
            works["MediaPipe, numbers alone"] = lambda: mediapipe(options.mediapipe, long)
        spent = {name: [] for name in works}
        for _ in range(options.rounds):
            for name, work in works.items():
                spent[name].append(work())
        memory.append(peak_memory())
        for name, alone in measure_stages(predictor, long, box, Path(folder, "alone.mp4")).items():
            spent[f"{name} alone"] = [alone]

    rows = {}
    for name, costs in spent.items():
        whole, cores = (min(seconds) / options.frames for seconds in zip(*costs))
        rows[name] = {"frames/s": 1 / whole, "CPU ms per frame": 1e3 * cores}
    measure.report(
        "videos", rows, network=options.network, frames=options.frames, size=[width, height],
        peak_memory_mb=memory,
    )  # fmt: skip


def mediapipe(python: str, source: Path, out: str | None = None) -> tuple[float, float]:
    """MediaPipe's time for a video: seconds, and CPU seconds."""
    program = Path(__file__).with_name("mediapipe_video.py")
    arguments = [python, str(program), str(source), *([f"{out}/theirs.mp4"] if out else [])]
    # Files stay open for it: to close them Python would fork, which JAX's threads forbid.
    process = subprocess.run(arguments, capture_output=True, text=True, close_fds=False)
    if process.returncode:
        reason = process.stderr.strip().rpartition("\n")[2]
        raise UserError(
            f"{python} cannot run MediaPipe: {reason or f'exit code {process.returncode}'}. In an "
            "environment of its own: pip install mediapipe==0.10.21 av"
        )
    result = json.loads(process.stdout.splitlines()[-1])
    print(f"MediaPipe detected a person in {result['detected']} of {result['frames']} frames")
    return result["seconds"], result["cpu_seconds"]


def write(path: Path, frames: int, width: int, height: int) -> np.ndarray:
    """Writes a video of a moving photograph; returns the person's box in the middle.

    Frames of `width` × `height` px are black beside the photograph.
    """
    photo = np.asarray(Image.open(PHOTO).convert("RGB"))[ROWS]
    scale = height / len(photo)
    photo = np.asarray(Image.fromarray(photo).resize((round(scale * photo.shape[1]), height)))
    left = max(width - photo.shape[1], 0) // 2
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:, left : left + photo.shape[1]] = photo[:, :width]
    with videos.write_video(path, RATE) as add:
        for number in range(frames):
            # Back and forth by a fiftieth of the width.
            add(np.roll(picture, int(0.02 * width * np.sin(number / 20)), axis=1))
    return scale * np.array([PERSON]) + [left, 0, 0, 0]


def measure_stages(
    predictor: Predictor, source: Path, box: np.ndarray, out: Path
) -> dict[str, tuple[float, float]]:
    """Time of each stage alone over all frames: seconds, and CPU seconds."""
    spent = {}

    def decode() -> None:
        with videos.open_video(source) as video:
            collections.deque(video.frames, maxlen=0)

    spent["decoding"] = cost(decode)
    # A batch of frames again and again: to hold them all would take time of its own.
    with videos.open_video(source) as video:
        total = video.count
        some = itertools.islice(video.frames, predictor.batch_size)
        frames = [frame.image for frame in some]
    boxes = [box] * len(frames)
    batches = math.ceil(total / len(frames))
    several = cost(lambda: [predictor(frames, boxes) for _ in range(batches)])
    share = total / (batches * len(frames))
    spent["network and cropping"] = tuple(share * seconds for seconds in several)
    joints = predictor(frames, boxes).joints_2d

    def draw() -> Iterator[np.ndarray]:
        places = itertools.islice(itertools.cycle(range(len(frames))), total)
        return (draw_people(frames[i], joints[i][None]) for i in places)

    spent["drawing"] = cost(lambda: collections.deque(draw(), maxlen=0))

    def encode() -> None:
        with videos.write_video(out, RATE) as add:
            for picture in draw():
                add(picture)

    both = cost(encode)
    spent["encoding"] = tuple(a - b for a, b in zip(both, spent["drawing"]))
    return spent


def cost(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and CPU seconds, of a call."""
    start, busy = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - busy


def peak_memory() -> float:
    """The largest memory of this process, MB."""
    unit = 1 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    measure.run(main)
