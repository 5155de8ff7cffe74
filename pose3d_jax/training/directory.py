"""A run's directories: which config they belong to, and which process.

A stage's directory holds `config.json`, with a checksum of its values. A process that trains holds
a lock in the work directory; the system releases it however the process ends.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import ml_collections

from pose3d_jax import config_values
from pose3d_jax.errors import UserError
from pose3d_jax.files import differences, locked, read_json, remove_leftovers, write_json
from pose3d_jax.stages import same_stages

CONFIG_FILE = "config.json"
LOCK_FILE = ".lock"

#: Sections of a config that do not change what a stage computes.
OPERATIONAL = ("run", "last_stage")


@contextlib.contextmanager
def owned(workdir: Path) -> Iterator[None]:
    """Makes a work directory this process's own; and removes what killed ones left unfinished.

    The first of several hosts owns it for all.

    Raises:
        UserError: another process owns it.
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
    check_directory(directory, config, number)
    path = Path(directory) / CONFIG_FILE
    if jax.process_index() == 0 and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, stage_config(config, number), sealed=True)


def check_directory(
    directory: str | os.PathLike, config: ml_collections.ConfigDict, number: int
) -> None:
    """Checks that a stage's directory was made by a config, or not yet.

    Raises:
        UserError: it was made by another; the message says what differs.
    """
    if not Path(directory, CONFIG_FILE).exists():
        return
    if found := config_differences(directory, config, number):
        raise UserError(
            f"{directory} was made by another config: {'; '.join(found)}. Continue it with its own "
            "values, or choose another directory with --workdir DIR."
        )


def check_shared(directory: Path) -> None:
    """Checks that a directory that host 0 has made is on this host, too.

    Raises:
        UserError: it is not.
    """
    if not (directory / CONFIG_FILE).exists():
        raise UserError(
            f"{directory} is not on host {jax.process_index()}, although host 0 has made it. "
            "Choose a work directory that all hosts share with --workdir DIR."
        )


def config_differences(
    directory: str | os.PathLike, config: ml_collections.ConfigDict, number: int
) -> list[str]:
    """What in a config differs from the one that made a directory of stage `number`.

    A stage that another method has trained will do, where both methods' stages so far are the same.
    """
    there, wanted = read_config(directory), stage_config(config, number)
    if "initial_network" not in there:  # As in runs of before there was a choice.
        there.initial_network = ""
    if there.get("method") != wanted.get("method") and same_stages(
        there, ml_collections.ConfigDict(wanted), number
    ):
        there.method = wanted["method"]
    return list(differences(there.to_dict(), wanted))


def read_config(directory: str | os.PathLike) -> ml_collections.ConfigDict:
    """The config of a stage's directory.

    Raises:
        UserError: there is none, it cannot be read, or it is not as it was written.
    """
    path = Path(directory) / CONFIG_FILE
    try:
        tree = read_json(path)
        config_values.check(tree)
        return ml_collections.ConfigDict(tree)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{directory} is no stage of a run: it has no {CONFIG_FILE}. Stages are directories "
            "like runs/tiny/3D+2D-w-geo/stage3."
        ) from None
    except OSError as error:  # Which may be passing: nothing is wrong with the file.
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except (TypeError, ValueError) as error:
        reason = str(error).rstrip(".")
        raise UserError(f"{path} cannot be used: {reason}. Restore it from a copy.") from error
