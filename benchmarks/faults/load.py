"""Load: a predictor that many threads share, many pictures, a long video, and Ctrl-C amid them.

Pictures and videos go through the program `predict`, with a very small network. How many there are
follows from the minutes that the threads are given.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.faults import samples
from benchmarks.faults.rows import Row
from benchmarks.faults.runs import PATIENCE
from pose3d_jax.images import videos
from pose3d_jax.images.files import FORMATS, read_image
from pose3d_jax.prediction.outputs import OVERLAY, POSES, VIDEO
from pose3d_jax.prediction.predictor import Pose, Predictor
from pose3d_jax.programs.run import INTERRUPTED
from tests import programs, small_checkpoint

THREADS = 8
#: For every minute of the threads; and so many at least.
PICTURES, FEWEST_PICTURES = 400, 40
FRAMES, FEWEST_FRAMES = 2000, 200
#: One picture of so many is bad.
ONE_BAD_OF = 20
#: Bytes by which a video's second half may need more memory than its first.
MARGIN = 16 << 20


def rows(seed: int, rounds: int, folder: Path, minutes: float) -> Iterator[Row]:
    """A row for each kind of load, and for `rounds` times Ctrl-C in it; see the package."""
    # A shell has Ctrl-C ignored in what it runs in the background, and so would be its children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stage, out = folder / "stage3", folder / "out"
    small_checkpoint.write(stage)
    yield _share(stage, seed, minutes)
    count = max(FEWEST_PICTURES, round(PICTURES * minutes))
    bad = _write_pictures(folder / "pictures", count, seed)
    frames = max(FEWEST_FRAMES, round(FRAMES * minutes))
    _write_video(folder / "long.mp4", frames)
    program = [sys.executable, "-m", "pose3d_jax.predict", f"--checkpoint={stage}"]
    program += [f"--compilation_cache={folder / 'compiled'}", "--nofigures", f"--out={out}"]
    pictures = [*program, "--nofind", str(folder / "pictures")]
    video = [*program, str(folder / "long.mp4")]

    growing = out / "pictures"
    ended = _run(pictures, growing)
    total = max(done for done, _ in ended.memory)
    wrong = _wrong_pictures(ended, growing, count, bad)
    yield _row(f"{count} pictures, {len(bad)} of them bad", count, ended, wrong, len(bad))
    yield _interrupt("Ctrl-C amid pictures", pictures, out, growing, total, seed, rounds)

    shutil.rmtree(out)
    growing = out / "long.mp4" / ".partial" / POSES
    ended = _run(video, growing)
    total = max(done for done, _ in ended.memory)
    wrong = _wrong_video(ended, out, frames)
    yield _row(f"{frames} frames of a video", frames, ended, wrong)
    yield _interrupt("Ctrl-C amid a video", video, out, growing, total, seed, rounds)


def _share(stage: Path, seed: int, minutes: float) -> Row:
    """Threads that share a predictor: every call must give what it gave to one thread alone."""
    row = Row(f"calls of a predictor that {THREADS} threads share")
    predictor = Predictor.from_checkpoint(stage, batch_size=4)
    photos = [small_checkpoint.photo(40 + 9 * i, 90 - 7 * i, seed=i) for i in range(5)]
    calls = [(photos, None), (photos[0], "auto"), *((photo, None) for photo in photos)]
    calls += [(photo, [(5, 5, 20 + i, 30)] * i) for i, photo in enumerate(photos)]
    alone = [_bytes(predictor(*call)) for call in calls]
    lock, end = threading.Lock(), time.monotonic() + 60 * minutes

    def work(number: int) -> None:
        rng = np.random.default_rng((seed, number))
        while time.monotonic() < end:
            which, began, wrong = int(rng.integers(len(calls))), time.monotonic(), []
            try:
                if _bytes(predictor(*calls[which])) != alone[which]:
                    wrong = [f"call {which} differs"]
            except Exception as error:
                wrong = [f"call {which}: {error!r}"]
            with lock:
                row.wrong += wrong
                row.survived += not wrong
                row.seconds = max(row.seconds, time.monotonic() - began)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return row


def _bytes(pose: Pose) -> list[bytes]:
    return [array.tobytes() for array in vars(pose).values()]


def _write_pictures(folder: Path, count: int, seed: int) -> set[Path]:
    """Writes pictures, and returns those that are bad."""
    folder.mkdir()
    good = [samples.picture(format_) for format_ in FORMATS]
    spoilt = (b"", b"no picture", good[0][:500], good[1][:40], b"%!PS-Adobe-3.0 EPSF-3.0\n")
    rng, bad = np.random.default_rng(seed), set()
    for number in range(count):
        path = folder / f"{number:05d}.jpg"  # What a file holds is what counts.
        if number % ONE_BAD_OF == ONE_BAD_OF // 2:
            bad.add(path)
        contents = spoilt if path in bad else good
        path.write_bytes(contents[rng.integers(len(contents))])
    return bad


def _write_video(path: Path, frames: int) -> None:
    photo = small_checkpoint.photo(72, 96)
    with videos.write_video(path, Fraction(25)) as add:
        for number in range(frames):
            add(np.roll(photo, number, axis=1))


class Ended(NamedTuple):
    """How a program ended; `memory` is how far it was, and what it held then, from time to time."""

    code: int
    output: str
    seconds: float
    memory: list[tuple[int, int]]


def _run(command: list[str], growing: Path, stop_at: int | None = None) -> Ended:
    """Runs a program, and interrupts it where a file or a directory has grown so far."""
    began, memory = time.monotonic(), []
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command, cwd=programs.ROOT, env=programs.environment(), stdout=said, stderr=said
        )
        while process.poll() is None:
            done = _size(growing)
            with contextlib.suppress(OSError, IndexError):  # It has just ended.
                pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
                memory.append((done, pages * os.sysconf("SC_PAGE_SIZE")))
            if stop_at is not None and done >= stop_at:
                stop_at = None
                process.send_signal(signal.SIGINT)
            if time.monotonic() - began > PATIENCE:
                process.kill()
            time.sleep(0.01)
        said.seek(0)
        return Ended(process.returncode, said.read(), time.monotonic() - began, memory)


def _size(growing: Path) -> int:
    """Of a file in bytes, of a directory in entries; 0 where there is neither."""
    try:
        return len(os.listdir(growing)) if growing.is_dir() else growing.stat().st_size
    except OSError:
        return 0


def _row(name: str, tried: int, ended: Ended, wrong: list[str], refused: int = 0) -> Row:
    memory = max((held for _, held in ended.memory), default=0) / 2**20
    survived = max(tried - refused - len(wrong), 0)
    return Row(name, survived, refused, wrong, ended.seconds, memory)


def _wrong_pictures(ended: Ended, place: Path, count: int, bad: set[Path]) -> list[str]:
    wrong = [f"{path.name} is not named" for path in bad if str(path) not in ended.output]
    there = {path.name for path in place.iterdir()}
    missing = {f"{number:05d}.jpg" for number in range(count)} - there
    wrong += [f"{name}: no results" for name in missing ^ {path.name for path in bad}]
    if found := _unfinished(place):
        wrong.append(found)
    last = f"error: {len(bad)} of {count} inputs failed"
    if ended.code != 1 or last not in ended.output or "Traceback" in ended.output:
        wrong.append(f"exit code {ended.code}, {ended.output[-300:]!r}")
    return wrong


def _wrong_video(ended: Ended, out: Path, frames: int) -> list[str]:
    wrong = []
    if ended.code:
        return [f"exit code {ended.code}, {ended.output[-300:]!r}"]
    if found := _unfinished(out):
        wrong.append(found)
    poses = json.loads((out / "long.mp4" / POSES).read_text())["frames"]
    if [row["frame"] for row in poses] != list(range(frames)):
        wrong.append(f"{len(poses)} of {frames} frames have results")
    half = max(done for done, _ in ended.memory) / 2
    first = max(held for done, held in ended.memory if done < half)
    second = max(held for done, held in ended.memory if done >= half)
    if second > first + MARGIN:
        wrong.append(f"{second >> 20} MiB in its second half, {first >> 20} in its first")
    return wrong


def _interrupt(
    name: str, command: list[str], out: Path, growing: Path, total: int, seed: int, rounds: int
) -> Row:
    """Interrupts a program at random moments, each time from the beginning."""
    row, rng = Row(name), np.random.default_rng(seed)
    for attempt in range(rounds):
        shutil.rmtree(out, ignore_errors=True)
        ended = _run(command, growing, stop_at=int(rng.integers(1, total)))
        row.seconds = max(row.seconds, ended.seconds)
        stopped = ended.code == 128 + signal.SIGINT
        found = _unfinished(out)
        if "Traceback" in ended.output or not (stopped or ended.code in (0, 1)):
            found = f"exit code {ended.code}, {ended.output[-600:]!r}"
        elif stopped and not ended.output.endswith(f"{INTERRUPTED}\n"):
            found = f"it said {ended.output[-300:]!r}"
        if found:
            row.wrong.append(f"attempt {attempt}: {found}")
        row.refused += stopped and not found
        row.survived += not stopped and not found
    return row


def _unfinished(out: Path) -> str | None:
    """What below a directory is not whole, or lacks what belongs to it."""
    for place in {path.parent for path in out.rglob("*") if path.is_file()}:
        names = {path.name for path in place.iterdir()}
        if names not in ({POSES, OVERLAY}, {POSES, VIDEO}):
            return f"{place} has {', '.join(sorted(names))}"
        json.loads((place / POSES).read_text())
        if OVERLAY in names:
            read_image(place / OVERLAY)
            continue
        with videos.open_video(place / VIDEO) as video:
            for _ in video.frames:
                pass
    return None
