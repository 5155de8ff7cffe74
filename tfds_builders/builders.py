"""Builders by name: the packages here that hold a `NAME_dataset_builder.py`."""

import importlib
import os
from pathlib import Path
from typing import Any

from pose3d_jax.data.catalog import INFO_FILE, data_root
from pose3d_jax.errors import UserError, suggestion

#: TFDS's naming: `mpii/mpii_dataset_builder.py` builds the data set `mpii`.
DATASETS = tuple(
    sorted(
        path.parent.name
        for path in Path(__file__).parent.glob("*/*_dataset_builder.py")
        if path.stem == f"{path.parent.name}_dataset_builder"
    )
)


def load_builder(
    name: str, data_dir: str | os.PathLike | None = None, file_format: str | None = None
) -> Any:
    """Creates the builder of a data set.

    Args:
        name: data set or data set/configuration.
        data_dir: directory of the data sets; see `catalog.data_root`.
        file_format: `array_record` (the default) or another of TFDS's formats.

    Returns:
        A `tfds.core.GeneratorBasedBuilder`; its `data_dir` is the directory of this data set.

    Raises:
        UserError: no such data set or configuration.
    """
    dataset, _, config = name.partition("/")
    if dataset not in DATASETS:
        raise _unknown(name, DATASETS)
    module = importlib.import_module(f"tfds_builders.{dataset}.{dataset}_dataset_builder")
    known = module.Builder.builder_configs
    if config and config not in known:
        names = [f"{dataset}/{key}" for key in known] or [dataset]
        try:
            config = module.make_config(config)
        except AttributeError as error:  # The data set has a fixed list of configurations.
            raise _unknown(name, names) from error
        except ValueError as error:
            raise _unknown(name, names, f" ({error})") from error
    return module.Builder(
        config=config or None, data_dir=str(data_root(data_dir)), file_format=file_format
    )


def _unknown(name: str, known: Any, hint: str = "") -> UserError:
    question = suggestion(name, known)
    return UserError(
        f"There is no data set {name!r}.{question} The data sets are {', '.join(known)}{hint}."
    )


def has_records(builder: Any) -> bool:
    """Whether a builder's data set is prepared."""
    return os.path.exists(os.path.join(builder.data_dir, INFO_FILE))
