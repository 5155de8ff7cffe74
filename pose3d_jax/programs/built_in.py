"""The built-in synthetic benchmark, rendered by the program that needs it."""

import logging

import jax
import ml_collections

from pose3d_jax.data.catalog import BUILT_IN, is_prepared
from pose3d_jax.training import hosts
from tfds_builders.prepare import prepare

log = logging.getLogger(__name__)


def prepare_if_built_in(config: ml_collections.ConfigDict) -> None:
    """Renders the config's data sets that are built in and not there yet, on the first host."""
    data_dir = config.run.data_dir or None
    for section in (config.data.lab, config.data.wild):
        if section.name.split("/")[0] != BUILT_IN:
            continue
        if jax.process_index() == 0 and not is_prepared(section.name, data_dir):
            log.info("preparing %s", section.name)
            prepare(section.name, data_dir)
        hosts.meet(f"prepared {section.name}")
