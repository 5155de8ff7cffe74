"""Prepared data sets by name: where they are, whether they are there, and how they are opened.

A name is a data set's, `mpii`, or that of one of its configurations, `synthetic/lab`. What is read
here is on disk; `tfds_builders` puts it there.
"""

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from pose3d_jax.errors import UserError

if TYPE_CHECKING:
    import tensorflow_datasets

#: The built-in synthetic benchmark, which needs no files from the user.
BUILT_IN = "synthetic"
#: TFDS writes it last: a directory that has it holds a complete data set.
INFO_FILE = "dataset_info.json"
#: Of several configurations, the one that a data set's name alone means.
DEFAULT_CONFIG = "official"

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


class NotPreparedError(UserError):
    """The data set is not there; the message names the command that prepares it."""


def command(name: str, data_dir: str | os.PathLike | None = None) -> str:
    """The command line that prepares a data set."""
    words = ["python -m tfds_builders.prepare", name]
    if name.split("/")[0] != BUILT_IN:
        words.append("--manual_dir DIR")
    if data_dir is not None:
        words.append(f"--data_dir {os.fspath(data_dir)}")
    return " ".join(words)


def root(data_dir: str | os.PathLike | None = None) -> Path:
    """Where data sets are kept: `data_dir`, `$TFDS_DATA_DIR` or `~/tensorflow_datasets`."""
    place = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return Path(os.path.abspath(os.path.expanduser(place)))


def is_prepared(name: str, data_dir: str | os.PathLike | None = None) -> bool:
    """Whether the data set is prepared, completely or in the part that its metadata describes."""
    return find(name, data_dir) is not None


def find(name: str, data_dir: str | os.PathLike | None = None) -> Path | None:
    """The directory of the newest version of a prepared data set; None where there is none.

    Args:
        name: data set or data set/configuration; of a data set with configurations, the one that is
            prepared.
        data_dir: see `root`.

    Raises:
        UserError: several configurations are prepared, and the name does not say which.
    """
    place = root(data_dir) / name
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


def open_dataset(
    name: str, data_dir: str | os.PathLike | None = None
) -> "tensorflow_datasets.core.DatasetBuilder":
    """Opens a prepared data set for reading.

    Args:
        name: data set or data set/configuration.
        data_dir: see `root`.

    Returns:
        A read-only builder: `.info.splits`, `.info.metadata`, and `.as_data_source(split,
        decoders={"image": tfds.decode.SkipDecoding()})`.

    Raises:
        NotPreparedError: the data set is not there.
    """
    import tensorflow_datasets as tfds  # A second: whoever only asks what is there can do without.

    place = find(name, data_dir)
    if place is None:
        raise NotPreparedError(
            f"The data set {name!r} is not prepared in {root(data_dir)}. "
            f"Prepare it with: {command(name, data_dir)}"
        )
    dataset = tfds.builder_from_directory(str(place))
    metadata = dataset.info.metadata or {}
    if metadata.get("limit"):
        logging.warning("%s is a trial of %s records a split.", name, metadata["limit"])
    elif missing := metadata.get("missing"):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        logging.warning("%s is incomplete: %s%s", name, missing[0], more)
    return dataset
