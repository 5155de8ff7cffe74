"""Orbax checkpoints of one stage, in its directory as `checkpoints/STEP/`.

A checkpoint is a flat dictionary of arrays (`params/stem/patch/kernel/value`, …) with a checksum of
each. Orbax writes it to a temporary directory and renames that at the end: an interrupted save
changes no earlier checkpoint. Restoring detects a damaged checkpoint and takes the one before.
Errors that may be temporary, such as too many open files, do not count as damage.
"""

import contextlib
import errno
import json
import logging
import os
import re
import shutil
import zlib
from collections.abc import Iterator, Sequence
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

#: Beginnings of TensorStore's errors about the content of files.
_CONTENT = re.compile(
    r"DATA_LOSS|NOT_FOUND|OUT_OF_RANGE|FAILED_PRECONDITION|INVALID_ARGUMENT"
    r"|Error (?:opening|reading) .*OCDBT"
)
#: Start of TensorStore's details for developers.
_DETAILS = re.compile(r" \[(?:os_error_code|tensorstore_spec|source locations)=")
_SYSTEM_ERROR = re.compile(r"(?:OS error |os_error_code=')(\d+)")


class StageCheckpoints:
    """The checkpoints of one stage; a context manager that waits for the last save.

    Args:
        directory: the stage's.
        keep: number of newest checkpoints to keep.
        keep_every: also keep checkpoints whose step is divisible by this; 0 for none.
    """

    def __init__(self, directory: str | os.PathLike, keep: int = 2, keep_every: int = 0):
        self.directory = Path(os.path.abspath(directory))  # Orbax refuses relative paths.
        self._manager = ocp.CheckpointManager(
            self.directory / CHECKPOINTS,
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
        # Closing raises the error of a save in the background; it must not hide this exception.
        with contextlib.suppress(Exception):
            self._manager.close()

    def steps(self) -> list[int]:
        """Steps with a checkpoint, oldest first."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: Any) -> None:
        """Saves a state in the background.

        Raises:
            UserError: the previous save failed, or this one cannot start.
        """
        arrays = flatten(state)
        with _as_user_error(self.directory):
            _check_space(self.directory, sum(array.nbytes for array in arrays.values()))
            # One save at a time: a failure is reported before the next save starts.
            self._manager.wait_until_finished()
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(arrays),
                    checksums=ocp.args.JsonSave(_checksums(arrays)),
                ),
            )

    def wait(self) -> None:
        """Waits until all saves are on disk.

        Raises:
            UserError: a save failed.
        """
        with _as_user_error(self.directory):
            self._manager.wait_until_finished()

    def restore(self, like: Any) -> Any | None:
        """Restores the newest undamaged state; None if there is none.

        Damaged checkpoints are logged, and renamed so that their step can be saved again.

        Args:
            like: a state of the same structure and shapes.

        Raises:
            UserError: the checkpoint is of another network, or cannot be read at present.
        """
        for step in reversed(self.steps()):
            arrays = _read(self.directory / CHECKPOINTS / str(step))
            if arrays is not None:
                if "opt_state/0/nu" in arrays:
                    # In older versions the optimizer did not count for its learning rate.
                    arrays.setdefault("opt_state/1/count", arrays["step"])
                return unflatten(arrays, like)
            self._rename_damaged(step)
        return None

    def _rename_damaged(self, step: int) -> None:
        if jax.process_index() == 0:
            names = (f"damaged-{step}{suffix}" for suffix in ("", *(f"-{i}" for i in range(2, 99))))
            free = next(name for name in names if not (self.directory / name).exists())
            (self.directory / CHECKPOINTS / str(step)).rename(self.directory / free)
        hosts.barrier(f"{self.directory.name} {step} renamed")
        self._manager.reload()


def restore_variables(directory: str | os.PathLike, like: Variables) -> Variables:
    """Reads the network of a stage's newest undamaged checkpoint, without the optimizer's state.

    Nothing in the directory is changed: a run may be in progress there. `like` are variables of the
    same structure and shapes.

    Raises:
        UserError: there is no undamaged checkpoint, it is of another network, or it cannot be read
            at present.
    """
    root = Path(os.path.abspath(directory), CHECKPOINTS)
    steps = (int(path.name) for path in root.glob("*") if path.name.isdigit())
    for step in sorted(steps, reverse=True):
        arrays = _read(root / str(step), Variables._fields)
        if arrays is not None:
            return unflatten(arrays, like)
    raise UserError(
        f"{directory} has no complete checkpoint below {CHECKPOINTS}/. Train it to its first with "
        "pose3d_jax.train, or name another stage."
    )


def _read(path: Path, fields: Sequence[str] | None = None) -> dict[str, np.ndarray] | None:
    """Reads a checkpoint's arrays; None, with a warning, if it is damaged.

    Only arrays whose names start with one of `fields` are read; all by default.

    Raises:
        UserError: it cannot be read, and there is no proof of damage.
    """
    for last in (False, True):  # Damage is an error that occurs twice.
        try:
            arrays, checksums = _restore(path, fields)
            if {name: checksums.get(name) for name in arrays} != _checksums(arrays):
                raise _ChecksumError("checksums differ")
            return arrays
        except Exception as error:  # Orbax and TensorStore raise many types.
            if not _proves_damage(error):
                raise UserError(
                    f"The checkpoint {path} could not be read: {_first_line(error)}. Nothing "
                    "shows that it is damaged, and nothing was changed. Remove the cause, and "
                    "rerun the command; to go on from the checkpoint before, move this one away."
                ) from error
            if last:
                log.warning(
                    "checkpoint %s is damaged (%s); falling back to the one before",
                    path,
                    _first_line(error)[:200],
                )


def _restore(
    path: Path, fields: Sequence[str] | None
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """The arrays of a checkpoint, and the checksums of all of its arrays."""
    metadata = ocp.PyTreeCheckpointHandler().metadata(path / "state")
    shapes = {
        name: np.empty(array.shape, array.dtype)
        for name, array in metadata.tree.items()
        if fields is None or name.split("/")[0] in fields
    }
    arguments = ocp.args.PyTreeRestore(
        item=shapes,
        restore_args={name: ocp.RestoreArgs(restore_type=np.ndarray) for name in shapes},
        partial_restore=True,
    )
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        restored = checkpointer.restore(
            path, args=ocp.args.Composite(state=arguments, checksums=ocp.args.JsonRestore())
        )
    return restored.state, restored.checksums


def _proves_damage(error: Exception) -> bool:
    """Whether an exception shows that files are missing, truncated or changed."""
    text = str(error)
    if isinstance(error, OSError):
        return isinstance(error, FileNotFoundError)
    if found := _SYSTEM_ERROR.search(text):
        return int(found[1]) == errno.ENOENT
    # Other errors may be a library's own: of its versions, or of how it is called.
    unreadable = (_ChecksumError, json.JSONDecodeError, UnicodeDecodeError)
    return isinstance(error, unreadable) or bool(_CONTENT.match(text))


class _ChecksumError(ValueError):
    """Arrays differ from what was saved."""


def _first_line(error: Exception) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return _DETAILS.split(line)[0]


def _checksums(arrays: dict[str, np.ndarray]) -> dict[str, int]:
    return {name: zlib.crc32(np.ascontiguousarray(array)) for name, array in arrays.items()}


def _check_space(directory: Path, size: int) -> None:
    """Refuses a save for which the disk has too little space."""
    if not directory.is_dir():
        raise UserError(f"{directory} does not exist: it was deleted or moved during the run.")
    free = shutil.disk_usage(directory).free
    needed = round(1.1 * size) + 2**20
    if free < needed:
        raise UserError(
            f"A checkpoint needs {needed / 2**20:.0f} MiB, and the disk of {directory} has "
            f"{free / 2**20:.0f} MiB left. Earlier checkpoints are complete; free space, and "
            "rerun the command."
        )


@contextlib.contextmanager
def _as_user_error(directory: Path) -> Iterator[None]:
    """Turns the errors of a failed save into one sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"Saving a checkpoint below {directory} failed: {_first_line(error)[:300]}. Earlier "
            "checkpoints are complete; free space or repair the disk, and rerun the command."
        ) from error
