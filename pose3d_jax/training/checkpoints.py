"""Orbax checkpoints of one stage.

They lie in the stage's directory as `checkpoints/STEP/`, where STEP counts its iterations. A
checkpoint is a flat dictionary of arrays (`params/stem/patch/kernel/value`, …) with a checksum of
each. Orbax writes it beside and renames it when it is whole: an interrupted save leaves the ones
before it untouched, and `restore` recognises a damaged one and takes the one before.
What may only be passing, such as too many open files, is never taken for damage.
"""

import contextlib
import errno
import logging
import os
import re
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from pose3d_jax.errors import UserError
from pose3d_jax.models.variables import Variables, flatten, unflatten
from pose3d_jax.training import hosts

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"

#: What TensorStore says of an operation that may succeed another time.
_PASSING = re.compile(
    r"RESOURCE_EXHAUSTED|UNAVAILABLE|DEADLINE_EXCEEDED|PERMISSION_DENIED|UNAUTHENTICATED|CANCELLED"
    r"|ABORTED|INTERNAL|UNKNOWN"
)
#: What follows, for its developers.
_DETAILS = re.compile(r" \[(?:os_error_code|tensorstore_spec|source locations)=")
_SYSTEM_ERROR = re.compile(r"(?:OS error |os_error_code=')(\d+)")


class StageCheckpoints:
    """The checkpoints of one stage; a context manager that waits for the last save.

    Args:
        directory: the stage's.
        keep: how many checkpoints to keep.
        keep_every: also keep those whose iteration is divisible by this; 0 for none.
    """

    def __init__(self, directory: str | os.PathLike, keep: int = 2, keep_every: int = 0):
        self.directory = Path(directory)
        self._manager = ocp.CheckpointManager(
            os.path.abspath(self.directory / CHECKPOINTS),
            item_names=("state", "checksums"),
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep,
                keep_period=keep_every or None,
                cleanup_tmp_directories=True,
                enable_async_checkpointing=True,
            ),
        )

    def __enter__(self):
        return self

    def __exit__(self, exception_type, exception, traceback):
        if exception is None:
            self.wait()
            self._manager.close()
            return
        # An error on the way out must not hide the one that led here: closing raises that of a save
        # in the background, and on a full disk both fail.
        with contextlib.suppress(Exception):
            self._manager.close()

    def steps(self) -> list[int]:
        """The iterations of which there is a checkpoint, oldest first."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: Any) -> None:
        """Saves a state in the background.

        Raises:
            UserError: the previous save, or the start of this one, failed.
        """
        arrays = flatten(state)
        with _explained(self.directory):
            _check_room(self.directory, sum(array.nbytes for array in arrays.values()))
            # One save at a time, so that a failure is known before the next one begins.
            self._manager.wait_until_finished()
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(arrays),
                    checksums=ocp.args.JsonSave(_checksums(arrays)),
                ),
            )

    def wait(self) -> None:
        """Waits until what was saved is on disk.

        Raises:
            UserError: it could not be written.
        """
        with _explained(self.directory):
            self._manager.wait_until_finished()

    def restore(self, like: Any) -> Any | None:
        """The newest intact state, or None where there is none.

        Damaged checkpoints are reported, and moved aside so that their step can be saved again.

        Args:
            like: a state of the same structure and shapes.

        Raises:
            UserError: it is of another network, or could not be read for now.
        """
        for step in reversed(self.steps()):
            arrays = _read(
                self.directory / CHECKPOINTS / str(step),
                lambda step=step: self._manager.restore(step, args=_everything()),
            )
            if arrays is not None:
                return unflatten(arrays, like)
            self._set_aside(step)
        return None

    def _set_aside(self, step: int) -> None:
        if jax.process_index() == 0:
            names = (f"damaged-{step}{suffix}" for suffix in ("", *(f"-{i}" for i in range(2, 99))))
            free = next(name for name in names if not (self.directory / name).exists())
            (self.directory / CHECKPOINTS / str(step)).rename(self.directory / free)
        hosts.meet(f"{self.directory.name} {step} set aside")
        self._manager.reload()


def restore_network(directory: str | os.PathLike, like: Variables) -> Variables:
    """The network of a stage's newest complete checkpoint; the optimizer's state is left out.

    Nothing below the directory is changed: a run may be in progress there.

    Args:
        directory: the stage's.
        like: variables of the same structure and shapes.

    Raises:
        UserError: there is no checkpoint, none is whole, it is of another network, or it could not
            be read for now.
    """
    place = Path(os.path.abspath(directory), CHECKPOINTS)
    steps = (int(path.name) for path in place.glob("*") if path.name.isdigit())
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        for step in sorted(steps, reverse=True):
            state = _read(
                place / str(step),
                lambda step=step: checkpointer.restore(place / str(step), args=_everything()),
            )
            if state is None:
                continue
            fields = Variables._fields
            network = {name: array for name, array in state.items() if name.split("/")[0] in fields}
            return unflatten(network, like)
    raise UserError(
        f"{directory} has no complete checkpoint below {CHECKPOINTS}/. Train it to its first with "
        "pose3d_jax.train, or name another stage."
    )


def _everything() -> ocp.args.Composite:
    """What to restore of a checkpoint."""
    return ocp.args.Composite(state=ocp.args.StandardRestore(), checksums=ocp.args.JsonRestore())


def _read(place: Path, restore: Callable[[], ocp.args.Composite]) -> dict[str, np.ndarray] | None:
    """The arrays of a checkpoint; None, and a warning, where it is damaged.

    Raises:
        UserError: it could not be read, and nothing shows that it is damaged.
    """
    for last in (False, True):  # What proves damage fails every time.
        try:
            restored = restore()
            if restored.checksums != _checksums(restored.state):
                raise ValueError("checksums differ")
            return restored.state
        except Exception as error:  # Orbax and TensorStore raise many kinds.
            if not _proves_damage(error):
                raise UserError(
                    f"The checkpoint {place} could not be read: {_first_line(error)}. Nothing "
                    "shows that it is damaged, and nothing was changed. Remove the cause, and "
                    "rerun the command."
                ) from error
            if last:
                log.warning(
                    "checkpoint %s is damaged (%s); falling back to the one before",
                    place,
                    _first_line(error)[:200],
                )


def _proves_damage(error: Exception) -> bool:
    """Whether an exception shows that files are missing, cut off or changed."""
    text = str(error)
    if isinstance(error, OSError):
        return isinstance(error, FileNotFoundError)
    if found := _SYSTEM_ERROR.search(text):
        return int(found[1]) == errno.ENOENT
    kinds = (ValueError, LookupError, TypeError, AttributeError)
    return isinstance(error, kinds) and not _PASSING.match(text)


def _first_line(error: Exception) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return _DETAILS.split(line)[0]


def _checksums(arrays: dict[str, np.ndarray]) -> dict[str, int]:
    return {name: zlib.crc32(np.ascontiguousarray(array)) for name, array in arrays.items()}


def _check_room(directory: Path, size: int) -> None:
    """Refuses to begin what the disk cannot hold: half a checkpoint helps nobody."""
    if not directory.is_dir():
        raise UserError(f"{directory} is gone: it was deleted or moved during the run.")
    free = shutil.disk_usage(directory).free
    needed = round(1.1 * size) + 2**20
    if free < needed:
        raise UserError(
            f"A checkpoint needs {needed / 2**20:.0f} MiB, and the disk of {directory} has "
            f"{free / 2**20:.0f} MiB left. The checkpoints before it are whole; make room, and "
            "rerun the command."
        )


class _explained:
    """Turns a failed write into a sentence."""

    def __init__(self, directory: Path):
        self.directory = directory

    def __enter__(self):
        pass

    def __exit__(self, exception_type, error, traceback):
        if isinstance(error, Exception) and not isinstance(error, UserError):
            raise UserError(
                f"Saving a checkpoint below {self.directory} failed: {_first_line(error)[:300]}. "
                "The checkpoints before it are complete; make room or repair the disk, and rerun "
                "the command."
            ) from error
