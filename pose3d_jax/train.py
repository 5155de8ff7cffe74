"""Trains a network: `python -m pose3d_jax.train --config configs/stage3.py[:preset]`.

The work directory holds one directory per stage. Finished stages are skipped, an unfinished one
resumes from its last checkpoint, and each starts from the network of the one before.
"""

import pose3d_jax.programs.memory  # isort: skip  # before NumPy
import pose3d_jax.programs.needs_train  # noqa: F401  # isort: skip

import logging
from collections.abc import Sequence

import jax
from absl import flags

from pose3d_jax.evaluation.tables import as_text, result_tables, tables_beside_paper
from pose3d_jax.evaluation.validation import final_results, validate
from pose3d_jax.programs import training_flags
from pose3d_jax.programs.built_in import prepare_if_built_in
from pose3d_jax.programs.run import run_program
from pose3d_jax.programs.training_flags import parse, start_jax, workdir
from pose3d_jax.stages import get_stage, method_directory
from pose3d_jax.training import hosts
from pose3d_jax.training.directory import stage_config
from pose3d_jax.training.interruption import Interruption
from pose3d_jax.training.run import check_config, train
from tfds_builders.prepare import prepare

log = logging.getLogger(__name__)

flags.adopt_module_key_flags(training_flags)  # Or --help would leave them out.


@hosts.end_together
def main(argv: Sequence[str]) -> None:
    """The program."""
    config = parse(argv)
    start_jax(config)
    check_config(config)
    hosts.agree("config", stage_config(config, config.last_stage))
    place = workdir(f"runs/{config.preset}/{method_directory(config.method)}")
    devices = f"{jax.device_count()} × {jax.devices()[0].device_kind}"
    log.info("preset %s, method %s, on %s", config.preset, config.method, devices)

    prepare_if_built_in(config, prepare)
    with Interruption() as interruption:
        run = train(config, place, interruption, validate)

    last = get_stage(config, config.last_stage)
    results = final_results(run, last)
    tables = [*result_tables(results, kinds=["summary"]), *tables_beside_paper(results)]
    log.info("results in %s:\n\n%s\n", place / last.name, "\n\n".join(map(as_text, tables)))


if __name__ == "__main__":
    run_program(main)
