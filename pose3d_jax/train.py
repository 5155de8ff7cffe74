"""Trains a network: `python -m pose3d_jax.train --config stage3[:preset]`.

The work directory holds one directory per stage. Finished stages are skipped, an unfinished one
resumes from its last checkpoint, and each starts from the network of the one before.
"""

import pose3d_jax.programs.start  # noqa: F401  # isort: skip  # first

import logging
from collections.abc import Sequence

import jax
from absl import flags

from pose3d_jax.evaluation.tables import as_text, result_tables, tables_beside_paper
from pose3d_jax.evaluation.validation import final_results, validate
from pose3d_jax.programs.flags import TRAINING, parse_config, start_jax, workdir
from pose3d_jax.programs.run import run_program
from pose3d_jax.stages import method_directory
from pose3d_jax.training import hosts
from pose3d_jax.training.interruption import Interruption
from pose3d_jax.training.run import set_up, train
from tfds_builders.prepare import prepare

log = logging.getLogger(__name__)

for _flag in TRAINING:
    flags.declare_key_flag(_flag.name)  # Without it, --help would omit them.


@hosts.end_together
def main(argv: Sequence[str]) -> None:
    """The program."""
    config = parse_config(argv)
    directory = workdir(f"runs/{config.preset}/{method_directory(config.method)}")
    start_jax(config)
    devices = f"{jax.device_count()} × {jax.devices()[0].device_kind}"
    log.info("preset %s, method %s, on %s", config.preset, config.method, devices)

    run = set_up(config, directory, prepare)
    with Interruption() as interruption:
        train(run, interruption, validate)

    last = run.stages[-1]
    results = final_results(run, last)
    tables = [*result_tables(results, kinds=["summary"]), *tables_beside_paper(results)]
    log.info("results in %s:\n\n%s\n", directory / last.name, "\n\n".join(map(as_text, tables)))


if __name__ == "__main__":
    run_program(main)
