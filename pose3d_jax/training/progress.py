"""Progress logging, and scalar metrics in `metrics.jsonl` and for TensorBoard."""

import contextlib
import json
import logging
import math
import time
from pathlib import Path

import jax
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

from pose3d_jax.errors import UserError, naming
from pose3d_jax.files import atomic_write

log = logging.getLogger(__name__)

METRICS_FILE = "metrics.jsonl"


class MetricsLog:
    """Scalars of one stage, as one JSON line per step and for TensorBoard.

    A resumed run repeats some steps; their old lines are dropped. The first of several hosts
    writes for all.

    Args:
        directory: the stage's.
        step: where the run resumes.
    """

    def __init__(self, directory: Path, step: int):
        self._path, self._step = directory / METRICS_FILE, step
        self._board: _Board | None = None
        content = self._path.read_bytes() if self._path.exists() else b""
        lines, self._names = _lines_until(content, step, self._path)
        self._writes = jax.process_index() == 0
        if self._writes and lines != content:
            with atomic_write(self._path) as file:
                file.write(lines)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self._board:
            self._board.close()

    def has(self, step: int, prefix: str) -> bool:
        """Whether a scalar whose name starts with `prefix` is logged at `step`."""
        return any(name.startswith(prefix) for name in self._names.get(step, ()))

    def write(self, step: int, scalars: dict[str, float]) -> None:
        """Writes the finite scalars of a step.

        Raises:
            UserError: writing failed.
        """
        finite = {name: float(value) for name, value in scalars.items() if math.isfinite(value)}
        self._names.setdefault(step, set()).update(finite)
        if not self._writes:
            return
        try:
            # Opened each time: an open file would hide that its directory was deleted.
            with self._path.open("a") as file:
                file.write(json.dumps({"step": step, **finite}) + "\n")
            with naming(self._path.parent / "tensorboard"):
                if self._board is None:
                    self._board = _Board(self._path.parent / "tensorboard", self._step + 1)
                self._board.write(step, finite)
        except FileNotFoundError as error:
            raise UserError(
                f"{self._path.parent} is gone: it was deleted or moved during the run. Rerun the "
                "command to start again, or move it back first to resume."
            ) from error
        except OSError as error:
            where = error.filename or self._path
            raise UserError(f"Writing {where} failed: {error.strerror}.") from error


class _Board:
    """Scalars for TensorBoard, on disk when `write` returns.

    A `SummaryWriter` writes in a thread, whose errors end in a traceback. TensorBoard discards the
    other files' scalars from step `begins` on.
    """

    def __init__(self, directory: Path, begins: int):
        directory.mkdir(exist_ok=True)
        self._writer = EventsWriter(str(directory / "events"))
        self._add(Event(step=begins, file_version="brain.Event:2"))
        self._add(Event(step=begins, session_log=SessionLog(status=SessionLog.START)))

    def write(self, step: int, scalars: dict[str, float]) -> None:
        for name, value in scalars.items():
            self._add(Event(step=step, summary=scalar(name, value)))
        self._writer.flush()

    def close(self) -> None:
        with contextlib.suppress(OSError):  # `write` has raised it already.
            self._writer.close()

    def _add(self, event: Event) -> None:
        event.wall_time = time.time()
        self._writer.write_event(event)


def _lines_until(content: bytes, last: int, path: Path) -> tuple[bytes, dict[int, set[str]]]:
    """The lines of the steps up to `last`, and the names of each step's scalars."""
    kept, names = [], {}
    for number, line in enumerate(content.splitlines(keepends=True), 1):
        try:
            row = json.loads(line)
            step = row.pop("step")
            good = isinstance(step, int) and all(map(math.isfinite, row.values()))
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
            good = False
        if not good or not line.endswith(b"\n"):
            if line.endswith(b"\n"):  # A kill may cut off the last line.
                log.warning("%s: line %d holds no scalars of a step; it is dropped", path, number)
        elif step <= last:
            kept.append(line)
            names.setdefault(step, set()).update(row)
    return b"".join(kept), names


class Pace:
    """Rate and time left, measured since the last `restart`.

    Args:
        total: steps of the whole.
        done: steps done so far.
        per_step: images per step.
    """

    def __init__(self, total: int, done: int, per_step: int):
        self.total, self.per_step = total, per_step
        self.restart(done)

    def restart(self, done: int) -> None:
        """Starts the measurement, after compiling or evaluating."""
        self._start, self._since = time.monotonic(), done

    def text(self, done: int) -> str:
        """For example `84 images/s, 3 min 10 s left`."""
        rate = (done - self._since) / max(time.monotonic() - self._start, 1e-9)
        if rate == 0:
            return "rate not known yet"
        return f"{rate * self.per_step:.0f} images/s, {duration((self.total - done) / rate)} left"


def duration(seconds: float) -> str:
    """For example `2 h 5 min`, `3 min 10 s` or `42 s`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
