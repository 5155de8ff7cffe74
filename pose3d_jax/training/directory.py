"""The directories of a run: their configs, and the lock of the process that trains.

A stage's directory holds `config.json`, with a checksum of its values. A process that trains holds
a lock in the work directory; the system releases it when the process ends.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import ml_collections

from pose3d_jax.errors import UserError
from pose3d_jax.files import differences, locked, read_json, remove_leftovers, write_json
from pose3d_jax.presets.checks import check_values, complete
from pose3d_jax.stages import same_stages

CONFIG_FILE = "config.json"
LOCK_FILE = ".lock"

#: Keys of a config that do not change what a stage computes.
OPERATIONAL = ("run", "last_stage")


@contextlib.contextmanager
def owned(workdir: Path) -> Iterator[None]:
    """Locks a work directory, and removes unfinished files of killed processes.

    The first of several hosts holds the lock for all.

    Raises:
        UserError: another process holds the lock.
    """
    if jax.process_index() != 0:
        yield
        return

    def refusal(owner: str) -> str:
        return (
            f"{workdir} is in use: {owner} trains there. Wait for it or stop it, or choose another "
            "directory with --workdir DIR."
        )

    with locked(workdir / LOCK_FILE, refusal):
        remove_leftovers(workdir)
        yield


def stage_config(config: ml_collections.ConfigDict, number: int) -> dict[str, Any]:
    """The part of a config that determines stages 1 to `number`, as plain JSON values."""
    tree = json.loads(config.to_json_best_effort())
    tree["stages"] = {f"stage{i}": tree["stages"][f"stage{i}"] for i in range(1, number + 1)}
    return {name: value for name, value in tree.items() if name not in OPERATIONAL}


def claim_directory(
    directory: str | os.PathLike, config: ml_collections.ConfigDict, number: int
) -> None:
    """Writes a stage's config into its directory, or checks the one that is there.

    Raises:
        UserError: the directory was made by another config; the message names the differences.
    """
    check_directory(directory, config, number)
    path = Path(directory) / CONFIG_FILE
    if jax.process_index() == 0 and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, stage_config(config, number), checksummed=True)


def check_directory(
    directory: str | os.PathLike, config: ml_collections.ConfigDict, number: int
) -> None:
    """Checks that a stage's directory was made by this config, or does not exist.

    `data.bone_length_sum` 0 stands for the value of the data, and is not compared.

    Raises:
        UserError: it was made by another config; the message names the differences.
    """
    if not Path(directory, CONFIG_FILE).exists():
        return
    if found := config_differences(directory, config, number):
        raise UserError(
            f"{directory} was made by another config: {'; '.join(found)}. Continue it with its own "
            "values, or choose another directory with --workdir DIR."
        )


def check_shared(directory: Path) -> None:
    """Checks that a directory, which host 0 has made, exists on this host.

    Raises:
        UserError: it does not.
    """
    if not (directory / CONFIG_FILE).exists():
        raise UserError(
            f"{directory} is not on host {jax.process_index()}, although host 0 has made it. "
            "Choose a work directory that all hosts share with --workdir DIR."
        )


def config_differences(
    directory: str | os.PathLike, config: ml_collections.ConfigDict, number: int
) -> list[str]:
    """Differences between a config and the one that made a directory of stage `number`.

    Two methods that share stages 1 to `number` do not differ.
    """
    saved, wanted = read_config(directory), stage_config(config, number)
    there = stage_config(saved, number)
    if there["method"] != wanted["method"] and same_stages(saved, config, number):
        there["method"] = wanted["method"]
    if not wanted["data"]["bone_length_sum"]:
        wanted["data"]["bone_length_sum"] = there["data"]["bone_length_sum"]
    return list(differences(there, wanted))


def read_config(directory: str | os.PathLike) -> ml_collections.ConfigDict:
    """The config of a stage's directory; keys that an older version lacks are filled in.

    Raises:
        UserError: there is none, it cannot be read, or it was changed.
    """
    path = Path(directory) / CONFIG_FILE
    try:
        tree = read_json(path, null=None)
        check_values(tree)
        return ml_collections.ConfigDict(complete(tree))
    except NotADirectoryError:
        raise UserError(
            f"{directory} is a file, and no .safetensors file. Convert a PyTorch file with: "
            f"python -m pose3d_jax.convert {directory} OUT_DIR"
        ) from None
    except FileNotFoundError:
        raise UserError(
            f"{directory} is no stage of a run: it has no {CONFIG_FILE}. Stages are directories "
            "like runs/tiny/3D+2D-w-geo/stage3."
        ) from None
    except OSError as error:  # It may be transient: the file may be sound.
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except (TypeError, ValueError) as error:
        reason = str(error).rstrip(".")
        raise UserError(f"{path} cannot be used: {reason}. Restore it from a copy.") from error
