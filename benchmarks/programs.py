"""Whole programs side by side: `python -m benchmarks.programs --mediapipe PYTHON --onnx PYTHON`.

The same photographs and the same video, from files to poses in files, without pictures:

- `pose3d_jax predict`, which detects people; the same with given boxes, as by default (several
  passes over each person are averaged) and in one pass;
- MediaPipe's pose landmarker (the package's model "full"), which detects one person;
- ONNX Runtime with our exported network, given boxes and one pass.

The last two have environments of their own (`other_programs.py`). The programs alternate, each with
one photograph, all photographs, one frame and all frames. Printed are the CPU seconds of whole
processes (the least of the rounds), what a further photograph or frame takes, and the peak memory.
After `taskset -c 0`, all have one core.

The inputs are made from `docs/photos/balancing.jpg`, which moves slowly; `--photos` replaces the
photographs.
"""

from benchmarks import measure  # isort: skip  # before JAX

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from pose3d_jax.errors import UserError
from pose3d_jax.images.videos import write_video
from pose3d_jax.programs.start import KEEP_MEMORY

PHOTO = Path(__file__).parents[1] / "docs/photos/balancing.jpg"
#: A frame is a window of the photo: its middle place (left, top, right, bottom), the largest shift
#: to either side, and the person's x, y, width and height in the middle frame, px.
WINDOW, SHIFT, PERSON = (9, 150, 609, 870), 9, (181, 90, 235, 415)


class Cost(NamedTuple):
    """CPU seconds of a process, and its peak memory in MB."""

    seconds: float
    memory: float


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=60, help="photographs, and frames")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photos", type=Path, help="a folder of photographs, instead of ours")
    parser.add_argument("--boxes", type=Path, help="their boxes, as of `pose3d_jax predict`")
    parser.add_argument("--mediapipe", help="a Python with: pip install mediapipe==0.10.21 av")
    parser.add_argument("--onnx", help="a Python with: pip install onnxruntime av pillow")
    parser.add_argument("--network", default="pose.onnx", help="`pose3d_jax export open pose.onnx`")
    options = parser.parse_args()
    if (options.photos is None) != (options.boxes is None):
        parser.error("--photos and --boxes belong together")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        boxes = write_video_files(folder, options.count)
        boxes |= write_photographs(folder, options.count, options.photos, options.boxes)
        (folder / "boxes.json").write_text(json.dumps(boxes))
        inputs = {
            "1 photo": folder / "one",
            f"{len(boxes) - 2} photos": folder / "all",
            "1 frame": folder / "one.mp4",
            f"{options.count} frames": folder / "all.mp4",
        }
        costs: dict[tuple[str, str], Cost] = {}
        for _ in range(options.rounds):
            for kind, source in inputs.items():
                for program, command in programs(folder / "boxes.json", options).items():
                    spent = run([*command, str(source), "--out", str(folder / "out")])
                    people = count_people(folder / "out")
                    print(f"{program}, {kind}: {people} people, {spent.seconds:.2f} s", flush=True)
                    shutil.rmtree(folder / "out")
                    costs[program, kind] = min(spent, costs.get((program, kind), spent))
    measure.report("programs", table(costs), rounds=options.rounds)


def programs(boxes: Path, options: argparse.Namespace) -> dict[str, list[str]]:
    """The commands by name, without input and output."""
    predict = [sys.executable, "-m", "pose3d_jax", "predict", "--nooverlays", "--nofigures"]
    given = ["--boxes", str(boxes)]
    commands = {
        "predict": predict,
        "predict, boxes": [*predict, *given],
        "predict, boxes, one pass": [*predict, *given, "--noflip", "--scales", "1"],
    }
    other = str(Path(__file__).with_name("other_programs.py"))
    if options.mediapipe:
        commands["MediaPipe"] = [options.mediapipe, other]
    if options.onnx:
        commands["ONNX Runtime, boxes"] = [
            options.onnx,
            other,
            "--network",
            options.network,
            *given,
        ]
    return commands


def write_video_files(folder: Path, count: int) -> dict[str, list]:
    """Writes `one.mp4` and `all.mp4`; returns the box in each."""
    for name, frames in {"one.mp4": 1, "all.mp4": count}.items():
        with write_video(folder / name, Fraction(25)) as add:
            for number in range(frames):
                add(np.asarray(frame(number)[0]))
    return {"one.mp4": [PERSON], "all.mp4": [PERSON]}


def write_photographs(
    folder: Path, count: int, photos: Path | None, boxes: Path | None
) -> dict[str, list]:
    """Fills the folders `one` and `all`; returns the boxes of each photograph."""
    (folder / "one").mkdir()
    (folder / "all").mkdir()
    if photos is None:
        known = {}
        for number in range(count):
            image, box = frame(number)
            image.save(folder / "all" / f"{number:03}.jpg", quality=95)
            known[f"{number:03}.jpg"] = [box]
    else:
        given = json.loads(boxes.read_text())
        known = {name: given[name] for name in sorted(given)[:count]}
        for name in known:
            shutil.copy(photos / name, folder / "all")
    shutil.copy(folder / "all" / min(known), folder / "one")
    return known


def frame(number: int) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """A frame, and the person's box in it."""
    left, top, right, bottom = WINDOW
    shift = round(SHIFT * math.sin(number / 10))
    image = Image.open(PHOTO).convert("RGB").crop((left + shift, top, right + shift, bottom))
    return image, (PERSON[0] - shift, *PERSON[1:])


def run(command: Sequence[str]) -> Cost:
    """Runs a program; raises `UserError` if it fails."""
    # Only our programs choose how glibc keeps memory.
    environment = {key: value for key, value in os.environ.items() if key not in KEEP_MEMORY}
    with tempfile.TemporaryFile("w+") as log:
        # close_fds: to close files Python would fork, which JAX's threads forbid.
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, close_fds=False
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            raise UserError(f"{' '.join(command)} failed: {log.read().strip()[-500:]}")
    unit = 1 if sys.platform == "darwin" else 1 << 10
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 1e6)


def count_people(out: Path) -> int:
    """How many poses a program wrote."""
    results = [json.loads(path.read_text()) for path in out.rglob("poses.json")]
    return sum(len(image["people"]) for r in results for image in r.get("frames", [r]))


def table(costs: dict[tuple[str, str], Cost]) -> dict[str, dict[str, float]]:
    """A row per program: seconds, ms of a further photograph or frame, and MB."""
    rows: dict[str, dict[str, float]] = {}
    for (program, kind), spent in costs.items():
        row = rows.setdefault(program, {})
        row[f"{kind}, s"] = spent.seconds
        count, unit = kind.split(" ")
        if count != "1":
            unit = unit.removesuffix("s")
            further = spent.seconds - costs[program, f"1 {unit}"].seconds
            row[f"a further {unit}, ms"] = 1e3 * further / (int(count) - 1)
            row[f"{kind}, MB"] = spent.memory
    return rows


if __name__ == "__main__":
    measure.run(main)
