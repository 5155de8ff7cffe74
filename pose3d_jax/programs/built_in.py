"""The built-in synthetic benchmark, rendered by the program that needs it."""

import logging
from collections.abc import Callable

import jax
import ml_collections

from pose3d_jax.data.catalog import BUILT_IN, is_prepared, open_dataset
from pose3d_jax.training import hosts
from pose3d_jax.training.run import initial_network

log = logging.getLogger(__name__)


def prepare_if_built_in(
    config: ml_collections.ConfigDict, prepare: Callable[[str, str | None], object]
) -> None:
    """Renders the config's data sets that are built in and not there yet, on the first host.

    Args:
        config: the whole config.
        prepare: `tfds_builders.prepare.prepare`; of the package, programs alone import builders.

    Raises:
        UserError: another data set is not prepared, or the config describes no network; nothing is
            rendered then.
    """
    data_dir = config.run.data_dir or None
    names = [config.data.lab.name, config.data.wild.name]
    built_in = [name for name in names if name.split("/")[0] == BUILT_IN]
    for name in names:
        if name not in built_in:
            open_dataset(name, data_dir)
    if not all(is_prepared(name, data_dir) for name in built_in):
        initial_network(config)  # Rather than find a mistake after minutes of rendering.
    for name in built_in:
        if jax.process_index() == 0 and not is_prepared(name, data_dir):
            log.info("preparing %s", name)
            prepare(name, data_dir)
        hosts.meet(f"prepared {name}")
