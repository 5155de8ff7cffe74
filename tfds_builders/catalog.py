"""Prepared data sets by name: where they are, whether they are there, and how to open them.

A name is a data set's, `mpii`, or that of one of its configurations, `synthetic/lab`.
"""

import importlib
import logging
import os
from typing import Any

import tensorflow_datasets as tfds

from pose3d_jax.errors import UserError

DATASETS = ("human36m", "lsp", "mpi_inf_3dhp", "mpii", "synthetic")
#: Those that need nothing from the user.
GENERATED = ("synthetic",)


class UnknownDatasetError(UserError):
    """There is no builder of that name."""


class NotPreparedError(UserError):
    """The data set is not there; the message names the command that prepares it."""


def command(name: str, data_dir: str | os.PathLike | None = None) -> str:
    """The command line that prepares a data set."""
    words = ["python -m tfds_builders.prepare", name]
    if name.split("/")[0] not in GENERATED:
        words.append("--manual_dir DIR")
    if data_dir is not None:
        words.append(f"--data_dir {os.fspath(data_dir)}")
    return " ".join(words)


def load_builder(name: str, data_dir: str | os.PathLike | None = None) -> Any:
    """The builder that makes a data set.

    Args:
        name: data set or data set/configuration.
        data_dir: where data sets are kept; by default TFDS's own place (`TFDS_DATA_DIR` or
            `~/tensorflow_datasets`).

    Returns:
        A `tfds.core.GeneratorBasedBuilder` whose `data_dir` is where the data set is, or will be.

    Raises:
        UnknownDatasetError: no such data set or configuration.
    """
    dataset, _, config = name.partition("/")
    if dataset not in DATASETS:
        raise UnknownDatasetError(
            f"There is no data set {name!r}; there are {', '.join(DATASETS)}."
        )
    module = importlib.import_module(
        "tfds_builders.generated"
        if dataset in GENERATED
        else f"tfds_builders.{dataset}.{dataset}_dataset_builder"
    )
    known = module.Builder.builder_configs
    if config and config not in known:
        try:
            config = module.make_config(config)
        except (AttributeError, ValueError) as error:
            names = ", ".join(f"{dataset}/{key}" for key in known) or dataset
            raise UnknownDatasetError(
                f"There is no data set {name!r}; there are {names}"
                + (f" ({error})." if isinstance(error, ValueError) else ".")
            ) from error
    if data_dir is not None:
        data_dir = os.path.abspath(os.path.expanduser(data_dir))
    return module.Builder(config=config or None, data_dir=data_dir)


def is_prepared(name: str, data_dir: str | os.PathLike | None = None) -> bool:
    """Whether the data set is there, whole or as the part that its metadata tells of."""
    return has_records(load_builder(name, data_dir))


def has_records(builder: tfds.core.DatasetBuilder) -> bool:
    """Whether a builder's data set is there."""
    return os.path.exists(os.path.join(builder.data_dir, "dataset_info.json"))


def open_dataset(
    name: str, data_dir: str | os.PathLike | None = None
) -> tfds.core.dataset_builder.DatasetBuilder:
    """Opens a prepared data set for reading.

    Args:
        name: data set or data set/configuration.
        data_dir: see `load_builder`.

    Returns:
        A read-only builder: `.info.splits`, `.info.metadata`, and `.as_data_source(split,
        decoders={"image": tfds.decode.SkipDecoding()})`.

    Raises:
        NotPreparedError: the data set is not there.
        UnknownDatasetError: no such data set or configuration.
    """
    builder = load_builder(name, data_dir)
    if not has_records(builder):
        raise NotPreparedError(
            f"The data set {name!r} is not prepared in {builder.data_dir_root}. "
            f"Prepare it with: {command(name, data_dir)}"
        )
    dataset = tfds.builder_from_directory(builder.data_dir)
    metadata = dataset.info.metadata or {}
    if metadata.get("limit"):
        logging.warning("%s is a trial of %s records a split.", name, metadata["limit"])
    elif missing := metadata.get("missing"):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        logging.warning("%s is incomplete: %s%s", name, missing[0], more)
    return dataset
