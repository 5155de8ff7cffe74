"""Command-line flags that several programs share; absl defines each only once in a process."""

import logging
from collections.abc import Sequence
from pathlib import Path

import jax
import ml_collections
from absl import flags
from ml_collections import config_flags

from pose3d_jax.checkpoints.loading import DEFAULT
from pose3d_jax.errors import UserError
from pose3d_jax.models import precision
from pose3d_jax.programs.run import configure_jax, describe_unloaded_config, expand_path


class _PathParser(flags.ArgumentParser):
    """Paths of the local file system, with ~ expanded."""

    syntactic_help = "a path"

    def __init__(self, name: str):
        self._flag = f"--{name}"

    def parse(self, argument: str) -> str:
        return expand_path(argument, self._flag)


def define_path(name: str, default: str | None, text: str) -> flags.FlagHolder:
    """Defines a flag whose value is a path; URLs of remote storage are refused."""
    return flags.DEFINE(_PathParser(name), name, default, text)


CHECKPOINT = define_path(
    "checkpoint", DEFAULT, "The name of a bundled network, a stage's directory, a "
    "converted one, or a .safetensors file."
)  # fmt: skip
OUT = define_path("out", None, "Directory of the results.")
DATA_DIR = define_path("data_dir", None, "Directory of the data sets. Default: TFDS's.")
COMPUTE = flags.DEFINE_enum(
    "compute", "auto", precision.COMPUTE, "Type of the arithmetic; auto: bfloat16 on CPUs that "
    "multiply it fast, float32 elsewhere."
)  # fmt: skip
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 32, "Largest number of people predicted at once.", lower_bound=1
)
FLIP = flags.DEFINE_bool(
    "flip",
    None,
    "Average each prediction with its mirror image's: twice the work, fewer errors. "
    "Default: the network's; open averages. --noflip --scales 1 is the fastest.",
)
SCALES = flags.DEFINE_multi_float(
    "scales",
    None,
    "Average over crops this many times as large; may be repeated. Default: the network's.",
)
COMPILATION_CACHE = flags.DEFINE_string(
    "compilation_cache", "~/.cache/pose3d_jax", "Directory of compiled programs; empty for none."
)
_CONFIG = config_flags.DEFINE_config_file("config", None, "stageN[:preset], or a config file.")
_WORKDIR = define_path("workdir", None, "Directory of the run. Default: one below runs/.")
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Join the other hosts of a cluster that JAX detects (Slurm, TPU, …)."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "host:port of host 0, where JAX detects no cluster."
)
_NUM_HOSTS = flags.DEFINE_integer("num_hosts", None, "Number of hosts, with --coordinator.")
_HOST = flags.DEFINE_integer("host", None, "Number of this host, with --coordinator.")
#: Flags of the programs that train.
TRAINING = (_CONFIG, _WORKDIR, _DISTRIBUTED, _COORDINATOR, _NUM_HOSTS, _HOST)


def parse_config(argv: Sequence[str]) -> ml_collections.ConfigDict:
    """The config of the command line.

    Raises:
        UserError: there is none, it cannot be loaded, or a path in it is remote.
    """
    if len(argv) > 1:
        raise UserError(f"Unexpected argument {argv[1]!r}.")
    if _CONFIG.value is None:
        raise UserError("Name an experiment: --config stage3, or --config stage3:tiny.")
    config = _CONFIG.value
    try:
        config.preset  # noqa: B018  # ml_collections raises the error of loading here.
    except OSError as error:
        raise UserError(describe_unloaded_config(error)) from error
    for section, name in ((config, "initial_network"), (config.run, "data_dir")):
        section[name] = expand_path(section[name], name)
    return config


def workdir(default: str) -> Path:
    """The directory of the run.

    Raises:
        UserError: it is a file.
    """
    directory = Path(_WORKDIR.value or default)
    if directory.exists() and not directory.is_dir():
        raise UserError(f"--workdir {directory} is not a directory.")
    return directory


def start_jax(config: ml_collections.ConfigDict) -> None:
    """Joins the other hosts, and sets the compilation cache and the precision of products.

    Host 0 logs for all. GPUs and TPUs compute products of float32 with fewer digits by default;
    here float32 means float32.
    """
    if _DISTRIBUTED.value or _COORDINATOR.value:
        from pose3d_jax.training import hosts

        hosts.join(_COORDINATOR.value, _NUM_HOSTS.value, _HOST.value)
    configure_jax(config.run.compilation_cache)
    if jax.process_index() != 0:
        for name in ("pose3d_jax", "__main__"):
            logging.getLogger(name).setLevel(logging.WARNING)
    if precision.resolve(config.precision.compute) == "float32" and jax.default_backend() != "cpu":
        jax.config.update("jax_default_matmul_precision", "float32")
