"""Flags of the programs that train, and what they ask for."""

import logging
from collections.abc import Sequence
from pathlib import Path

import jax
import ml_collections
from absl import flags
from ml_collections import config_flags

from pose3d_jax.errors import UserError
from pose3d_jax.programs.compilation import keep_compiled
from pose3d_jax.programs.run import unloaded
from pose3d_jax.training import hosts

_CONFIG = config_flags.DEFINE_config_file("config", None, "configs/stageN.py[:preset]")
_WORKDIR = flags.DEFINE_string("workdir", None, "Default: a directory below runs/.")
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Join the other hosts of a cluster that JAX detects (Slurm, TPU, …)."
)
_COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of host 0, where JAX cannot.")
_NUM_HOSTS = flags.DEFINE_integer("num_hosts", None, "How many, with --coordinator.")
_HOST = flags.DEFINE_integer("host", None, "This one's number, with --coordinator.")


def parse(argv: Sequence[str]) -> ml_collections.ConfigDict:
    """The config of the command line.

    Raises:
        UserError: there is none, or its file is not there.
    """
    if len(argv) > 1:
        raise UserError(f"Unexpected argument {argv[1]!r}.")
    if _CONFIG.value is None:
        raise UserError("Name an experiment: --config configs/stage3.py, or …/stage3.py:tiny.")
    config = _CONFIG.value
    try:
        config.preset  # noqa: B018  # ml_collections says only now what kept it from loading.
    except OSError as error:
        raise UserError(unloaded(error)) from error
    return config


def workdir(default: str) -> Path:
    """The directory that the command line names, or the default.

    Raises:
        UserError: it is a file.
    """
    place = Path(_WORKDIR.value or default)
    if place.exists() and not place.is_dir():
        raise UserError(f"--workdir {place} is not a directory.")
    return place


def start_jax(config: ml_collections.ConfigDict) -> None:
    """Joins the other hosts, and keeps compiled programs between runs."""
    if _DISTRIBUTED.value or _COORDINATOR.value:
        hosts.join(_COORDINATOR.value, _NUM_HOSTS.value, _HOST.value)
    keep_compiled(config.run.compilation_cache)
    if jax.process_index() != 0:
        # One host logs what all of them do.
        for name in ("pose3d_jax", "__main__"):
            logging.getLogger(name).setLevel(logging.WARNING)
