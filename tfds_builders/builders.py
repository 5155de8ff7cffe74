"""Which builder makes a data set: the packages here that hold a `NAME_dataset_builder.py`."""

import importlib
import os
from pathlib import Path
from typing import Any

from pose3d_jax.data.catalog import INFO_FILE
from pose3d_jax.errors import UserError

#: TFDS's own naming: data set `mpii` is made by `mpii/mpii_dataset_builder.py`.
DATASETS = tuple(
    sorted(
        path.parent.name
        for path in Path(__file__).parent.glob("*/*_dataset_builder.py")
        if path.stem == f"{path.parent.name}_dataset_builder"
    )
)


class UnknownDatasetError(UserError):
    """There is no builder of that name."""


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
    module = importlib.import_module(f"tfds_builders.{dataset}.{dataset}_dataset_builder")
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


def has_records(builder: Any) -> bool:
    """Whether a builder's data set is there."""
    return os.path.exists(os.path.join(builder.data_dir, INFO_FILE))
