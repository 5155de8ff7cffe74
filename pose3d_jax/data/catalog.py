"""Prepared data sets by name: where they are and opening them.

A name is a data set, `mpii`, or one of its configurations, `synthetic/lab`. `tfds_builders`
prepares them.
"""

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from pose3d_jax.errors import UserError, suggestion
from pose3d_jax.files import local_path

if TYPE_CHECKING:
    import tensorflow_datasets

#: The built-in synthetic benchmark; it needs no downloads.
BUILT_IN = "synthetic"
#: TFDS writes this file last, so a directory that has it is a complete data set.
INFO_FILE = "dataset_info.json"
#: The configuration that a data set's name alone stands for.
DEFAULT_CONFIG = "official"

#: TFDS's file formats: the one that training reads, and one for `tfds.load`.
FILE_FORMAT = "array_record"
FILE_FORMATS = (FILE_FORMAT, "tfrecord")

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


def prepare_command(name: str, data_dir: str | os.PathLike | None = None) -> str:
    """The command that prepares a data set."""
    words = ["python -m tfds_builders.prepare", name]
    if name.split("/")[0] != BUILT_IN:
        words.append("--manual_dir DIR")
    if data_dir is not None:
        words.append(f"--data_dir {os.fspath(data_dir)}")
    return " ".join(words)


def data_root(data_dir: str | os.PathLike | None = None) -> Path:
    """Directory of the data sets: `data_dir`, `$TFDS_DATA_DIR` or `~/tensorflow_datasets`.

    Raises:
        UserError: it is not a local path, or `~` has no home directory.
    """
    if data_dir:
        return local_path(data_dir, "--data_dir")
    if place := os.environ.get("TFDS_DATA_DIR"):
        return local_path(place, "TFDS_DATA_DIR")
    return local_path("~/tensorflow_datasets", "TFDS_DATA_DIR is not set;")


def is_prepared(name: str, data_dir: str | os.PathLike | None = None) -> bool:
    """Whether a data set is prepared, completely or partially (see its metadata)."""
    return find_dataset(name, data_dir) is not None


def find_dataset(name: str, data_dir: str | os.PathLike | None = None) -> Path | None:
    """The directory of the newest version of a prepared data set; None where there is none.

    Args:
        name: data set or data set/configuration. A data set with configurations may be named alone
            if one of them is prepared.
        data_dir: see `data_root`.

    Raises:
        UserError: several configurations are prepared, and the name is ambiguous.
    """
    place = data_root(data_dir) / name
    if newest := _newest_version(place):
        return newest
    if not place.is_dir():
        return None
    found = {path.name: _newest_version(path) for path in sorted(place.iterdir())}
    prepared = {config: path for config, path in found.items() if path}
    if DEFAULT_CONFIG in prepared:
        return prepared[DEFAULT_CONFIG]
    if len(prepared) > 1:
        names = " and ".join(f"{name}/{config}" for config in prepared)
        raise UserError(f"{name} is prepared as {names}; name one of them.")
    return next(iter(prepared.values()), None)


def _newest_version(place: Path) -> Path | None:
    versions = {
        tuple(map(int, match.groups())): path.parent
        for path in place.glob(f"*/{INFO_FILE}")
        if (match := _VERSION.fullmatch(path.parent.name))
    }
    return versions[max(versions)] if versions else None


def prepared_names(data_dir: str | os.PathLike | None = None) -> list[str]:
    """Names of all prepared data sets, with their configurations."""
    root = data_root(data_dir)
    files = [*root.glob(f"*/*/{INFO_FILE}"), *root.glob(f"*/*/*/{INFO_FILE}")]
    return sorted({path.parent.parent.relative_to(root).as_posix() for path in files})


def open_dataset(
    name: str, data_dir: str | os.PathLike | None = None
) -> "tensorflow_datasets.core.DatasetBuilder":
    """Opens a prepared data set for reading.

    Args:
        name: data set or data set/configuration.
        data_dir: see `data_root`.

    Returns:
        A read-only builder: `.info.splits`, `.info.metadata`, and `.as_data_source(split,
        decoders={"image": tfds.decode.SkipDecoding()})`.

    Raises:
        UserError: the data set is not prepared; the message has the command that prepares it.
    """
    import tensorflow_datasets as tfds  # Takes a second, and the other functions do not need it.

    place = find_dataset(name, data_dir)
    if place is None:
        question = suggestion(name, prepared_names(data_dir))
        raise UserError(
            f"The data set {name!r} is not prepared in {data_root(data_dir)}.{question} "
            f"Prepare it with: {prepare_command(name, data_dir)}"
        )
    dataset = tfds.builder_from_directory(str(place))
    metadata = dataset.info.metadata or {}
    if metadata.get("limit"):
        logging.warning("%s is a trial of %s records a split.", name, metadata["limit"])
    elif missing := metadata.get("missing"):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        logging.warning("%s is incomplete: %s%s", name, missing[0], more)
    return dataset
