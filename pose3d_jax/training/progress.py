"""Progress logging, and scalar metrics in `metrics.jsonl` and for TensorBoard."""

import json
import math
import time
from pathlib import Path

from tensorboardX import SummaryWriter

from pose3d_jax.errors import UserError

METRICS_FILE = "metrics.jsonl"


class MetricsLog:
    """Scalars of one stage, one JSON line per step that has any, and the same for TensorBoard.

    A resumed run writes some steps again: what the interrupted one wrote of them is dropped.

    Args:
        directory: the stage's.
        step: where the run resumes.
    """

    def __init__(self, directory: Path, step: int):
        path = directory / METRICS_FILE
        if path.exists():
            lines = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
            partial = path.with_suffix(".partial")
            partial.write_text("".join(line + "\n" for line in lines))
            partial.rename(path)
        self._file = path.open("a")
        self._board = SummaryWriter(str(directory / "tensorboard"), purge_step=step)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._file.close()
        self._board.close()

    def write(self, step: int, scalars: dict[str, float]) -> None:
        """Writes scalars of a step; those that are not finite have no value and are left out."""
        finite = {name: float(value) for name, value in scalars.items() if math.isfinite(value)}
        try:
            self._file.write(json.dumps({"step": step, **finite}) + "\n")
            self._file.flush()
        except OSError as error:
            raise UserError(f"Writing {self._file.name} failed: {error.strerror}.") from error
        for name, value in finite.items():
            self._board.add_scalar(name, value, step)


def _step_of(line: str) -> float:
    # The last line may be cut off by a kill.
    try:
        return json.loads(line)["step"]
    except ValueError:
        return math.inf


class Pace:
    """Rate and time left, over what was done since the last `restart`.

    Args:
        total: steps of the whole.
        done: steps done so far.
        per_step: images per step.
    """

    def __init__(self, total: int, done: int, per_step: int):
        self.total, self.per_step = total, per_step
        self.restart(done)

    def restart(self, done: int) -> None:
        """Measures from here on: compiling and evaluating do not count."""
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
