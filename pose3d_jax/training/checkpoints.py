"""Orbax checkpoints of one stage, with the config that made them beside them.

A stage's directory holds `config.json` and `checkpoints/STEP/`, where STEP counts the stage's
iterations. A checkpoint is a flat dictionary of arrays (`params/stem/patch/kernel/value`, …) with a
checksum of each. Orbax writes it beside and renames it when it is whole: an interrupted save leaves
the ones before it untouched, and `restore` recognises a damaged one and takes the one before.
"""

import json
import logging
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np
import orbax.checkpoint as ocp

from pose3d_jax.errors import UserError
from pose3d_jax.stages import same_stages

log = logging.getLogger(__name__)

CONFIG_FILE = "config.json"
CHECKPOINTS = "checkpoints"

#: Sections of a config that do not change what a stage computes.
OPERATIONAL = ("run", "last_stage")


def flatten(tree: Any) -> dict[str, np.ndarray]:
    """A tree of arrays as a flat dictionary on the host, with readable names.

    The arrays are copies: on a CPU, a device's buffer may be reused by the next step.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {_name(path): np.array(leaf) for path, leaf in leaves}


def unflatten(arrays: dict[str, np.ndarray], like: Any) -> Any:
    """The inverse of `flatten`, in the structure of `like`.

    Raises:
        UserError: names or shapes are not those of `like`.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    expected = {_name(path): np.shape(leaf) for path, leaf in leaves}
    found = {name: array.shape for name, array in arrays.items()}
    if expected != found:
        names = sorted(expected.keys() | found.keys())
        different = next(name for name in names if expected.get(name) != found.get(name))
        raise UserError(
            f"The checkpoint is of another network: {different} is {found.get(different)} there "
            f"and {expected.get(different)} in the config."
        )
    return jax.tree_util.tree_unflatten(structure, [arrays[name] for name in expected])


def _name(path) -> str:
    return "/".join(
        str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path
    )


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
        # An error on the way out must not hide the one that led here.
        if exception is None:
            self.wait()
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
        _check_room(self.directory, sum(array.nbytes for array in arrays.values()))
        with _explained(self.directory):
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
            UserError: it is of another network.
        """
        for step in reversed(self.steps()):
            try:
                arrays = self._read(step)
            except Exception as error:  # Orbax and TensorStore raise many kinds.
                _report_damage(self.directory / CHECKPOINTS / str(step), error)
                self._set_aside(step)
                continue
            return unflatten(arrays, like)
        return None

    def _read(self, step: int) -> dict[str, np.ndarray]:
        return _checked(self._manager.restore(step, args=_everything()))

    def _set_aside(self, step: int) -> None:
        place = self.directory / CHECKPOINTS / str(step)
        if jax.process_index() == 0:
            place.rename(self.directory / f"damaged-{step}")
        self._manager.reload()


def restore_network(directory: str | os.PathLike, params: Any, stats: Any) -> tuple[Any, Any]:
    """The network of a stage's newest whole checkpoint; the optimizer's state is left out.

    Nothing below the directory is changed: a run may be in progress there.

    Args:
        directory: the stage's.
        params: parameters of the same structure and shapes.
        stats: running statistics of the same structure and shapes.

    Returns:
        Parameters and statistics.

    Raises:
        UserError: there is no checkpoint, none is whole, or it is of another network.
    """
    place = Path(os.path.abspath(directory), CHECKPOINTS)
    like = {"params": params, "stats": stats}
    steps = (int(path.name) for path in place.glob("*") if path.name.isdigit())
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        for step in sorted(steps, reverse=True):
            try:
                state = _checked(checkpointer.restore(place / str(step), args=_everything()))
            except Exception as error:  # As in `StageCheckpoints.restore`.
                _report_damage(place / str(step), error)
                continue
            network = {name: array for name, array in state.items() if name.split("/")[0] in like}
            restored = unflatten(network, like)
            return restored["params"], restored["stats"]
    raise UserError(
        f"{directory} has no whole checkpoint below {CHECKPOINTS}/. Train it to its first with "
        "pose3d_jax.train, or name another stage."
    )


def _everything() -> ocp.args.Composite:
    """What to restore of a checkpoint."""
    return ocp.args.Composite(state=ocp.args.StandardRestore(), checksums=ocp.args.JsonRestore())


def _checked(restored: ocp.args.Composite) -> dict[str, np.ndarray]:
    if restored.checksums != _checksums(restored.state):
        raise ValueError("checksums differ")
    return restored.state


def _report_damage(place: Path, error: Exception) -> None:
    log.warning(
        "checkpoint %s is damaged (%s); falling back to the one before",
        place,
        str(error).strip().splitlines()[0][:200],
    )


def _checksums(arrays: dict[str, np.ndarray]) -> dict[str, int]:
    return {name: zlib.crc32(np.ascontiguousarray(array)) for name, array in arrays.items()}


def _check_room(directory: Path, size: int) -> None:
    """Refuses to begin what the disk cannot hold: half a checkpoint helps nobody."""
    free = shutil.disk_usage(directory).free
    needed = round(1.1 * size) + 2**20
    if free < needed:
        raise UserError(
            f"A checkpoint needs {needed / 2**20:.0f} MiB, and the disk of {directory} has "
            f"{free / 2**20:.0f} MiB left. The checkpoints before it are whole; make room, and run "
            "the same command again."
        )


class _explained:
    """Turns a failed write into a sentence."""

    def __init__(self, directory: Path):
        self.directory = directory

    def __enter__(self):
        pass

    def __exit__(self, exception_type, error, traceback):
        if isinstance(error, Exception):
            raise UserError(
                f"Saving a checkpoint below {self.directory} failed: "
                f"{str(error).strip().splitlines()[0][:300]}. The checkpoints before it are "
                "whole; make room or mend the disk, and run the same command again."
            ) from error


def stage_config(config: ml_collections.ConfigDict, number: int) -> dict[str, Any]:
    """The part of a config that decides what stages 1 … `number` compute, as plain JSON values."""
    tree = json.loads(config.to_json_best_effort())
    tree["stages"] = {f"stage{i}": tree["stages"][f"stage{i}"] for i in range(1, number + 1)}
    return {name: value for name, value in tree.items() if name not in OPERATIONAL}


def claim_directory(
    directory: str | os.PathLike, config: ml_collections.ConfigDict, number: int
) -> None:
    """Writes a stage's config into its directory, or checks that it is the one already there.

    Raises:
        UserError: the directory was made by another config; the message says what differs.
    """
    directory = Path(directory)
    path = directory / CONFIG_FILE
    if path.exists():
        if differences := config_differences(directory, config, number):
            raise UserError(
                f"{directory} was made by another config: {'; '.join(differences)}. Continue it "
                "with its own values, or choose another directory with --workdir DIR."
            )
        return
    if jax.process_index() == 0:
        directory.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(stage_config(config, number), indent=2) + "\n")
        partial.rename(path)


def config_differences(
    directory: str | os.PathLike, config: ml_collections.ConfigDict, number: int
) -> list[str]:
    """What in a config differs from the one that made a directory of stage `number`.

    A stage that another method has trained will do, where both methods' stages so far are the same.
    """
    there, wanted = read_config(directory), stage_config(config, number)
    if there.get("method") != wanted.get("method") and same_stages(
        there, ml_collections.ConfigDict(wanted), number
    ):
        there.method = wanted["method"]
    return list(_differences(there.to_dict(), wanted))


def read_config(directory: str | os.PathLike) -> ml_collections.ConfigDict:
    """The config of a stage's directory.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    path = Path(directory) / CONFIG_FILE
    try:
        return ml_collections.ConfigDict(json.loads(path.read_text()))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{directory} is no stage of a run: it has no {CONFIG_FILE}. Stages are directories "
            "like runs/tiny/3D+2D-w-geo/stage3."
        ) from None
    except ValueError as error:
        raise UserError(f"{path} cannot be read: {error}.") from error


def _differences(there: Any, here: Any, name: str = "") -> Iterator[str]:
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted(there.keys() | here.keys()):
            yield from _differences(
                there.get(key, "absent"), here.get(key, "absent"), f"{name}.{key}" if name else key
            )
    elif there != here:
        yield f"{name} is {there!r} there, {here!r} here"
