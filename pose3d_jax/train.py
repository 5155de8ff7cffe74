"""Trains a network: `python -m pose3d_jax.train --config configs/stage3.py[:preset]`.

The work directory holds one directory per stage. Finished stages are skipped, an unfinished one
goes on from its last checkpoint, and each starts from the network of the one before.
"""

import pose3d_jax.keep_memory  # noqa: F401  # isort: skip  # before NumPy

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import jax
import ml_collections
from absl import flags
from jax.experimental import multihost_utils
from ml_collections import config_flags

from pose3d_jax import input_pipeline, loop, measures, scoring, training
from pose3d_jax.checkpoints import StageCheckpoints, claim_directory, restore_network
from pose3d_jax.compilation import keep_compiled
from pose3d_jax.errors import UserError, run_program
from pose3d_jax.input_pipeline import Domain
from pose3d_jax.interruption import Interruption
from pose3d_jax.loop import Run
from pose3d_jax.progress import MetricsLog
from pose3d_jax.stages import Stage, get_stage, method_directory
from pose3d_jax.tables import Table, as_text, beside_published
from pose3d_jax.training import TrainState
from tfds_builders.prepare import is_prepared, prepare

log = logging.getLogger(__name__)

_CONFIG = config_flags.DEFINE_config_file("config", None, "configs/stageN.py[:preset]")
_WORKDIR = flags.DEFINE_string("workdir", None, "Default: runs/<preset>/<method>.")
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Join the other hosts of a cluster that JAX detects (Slurm, TPU, …)."
)
_COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of host 0, where JAX cannot.")
_NUM_HOSTS = flags.DEFINE_integer("num_hosts", None, "How many, with --coordinator.")
_HOST = flags.DEFINE_integer("host", None, "This one's number, with --coordinator.")

RESULTS_FILE = "results.json"


def main(argv: Sequence[str]) -> None:
    """The program."""
    config = parse(argv)
    start_jax(config)
    workdir = Path(_WORKDIR.value or f"runs/{config.preset}/{method_directory(config.method)}")
    devices = f"{jax.device_count()} × {jax.devices()[0].device_kind}"
    log.info("preset %s, method %s, on %s", config.preset, config.method, devices)

    with Interruption() as interruption:
        run = train(config, workdir, interruption)
    last = get_stage(config, config.last_stage)
    log.info("results in %s:\n\n%s\n", workdir / last.name, report(run, last))


def train(config: ml_collections.ConfigDict, workdir: Path, interruption: Interruption) -> Run:
    """Trains what is missing of a run's stages.

    Raises:
        Interrupted: a signal came; the state is saved.
        UserError: something is not as it should be.
    """
    run = set_up(config, workdir)
    stages = [get_stage(config, number) for number in range(1, config.last_stage + 1)]
    trained = [train_stage(run, stage, interruption) for stage in stages]
    if not any(trained):
        log.info("nothing left to do: %s has all of %s", workdir, ", ".join(s.name for s in stages))
    return run


def parse(argv: Sequence[str]) -> ml_collections.ConfigDict:
    """The config of the command line.

    Raises:
        UserError: there is none.
    """
    if len(argv) > 1:
        raise UserError(f"Unexpected argument {argv[1]!r}.")
    if _CONFIG.value is None:
        raise UserError("Name an experiment: --config configs/stage3.py, or …/stage3.py:tiny.")
    return _CONFIG.value


def start_jax(config: ml_collections.ConfigDict) -> None:
    """Joins the other hosts, and keeps compiled programs between runs."""
    if _DISTRIBUTED.value or _COORDINATOR.value:
        jax.distributed.initialize(_COORDINATOR.value, _NUM_HOSTS.value, _HOST.value)
    keep_compiled(config.run.compilation_cache)
    if jax.process_index() != 0:
        # One host tells what all of them do.
        for name in ("pose3d_jax", "__main__"):
            logging.getLogger(name).setLevel(logging.WARNING)


def set_up(config: ml_collections.ConfigDict, workdir: Path) -> Run:
    """Checks everything, opens the data, and builds the network.

    Raises:
        UserError: a data set, the work directory or the config is not as it should be.
    """
    numbers = range(1, config.last_stage + 1)
    training.check_targets(**config.targets)
    for number in numbers:
        training.check_batch_size(config.data.batch_size, get_stage(config, number).domains)
    try:
        network = training.make_network(config)
    except ValueError as error:
        raise UserError(str(error)) from error
    domains = open_domains(config)
    for number in numbers:
        claim_directory(workdir / f"stage{number}", config, number)
    return Run(
        config=config,
        workdir=workdir,
        domains=domains,
        image_side=max(domain.image_side for domain in domains.values()),
        network=network,
        optimizer=training.make_optimizer(config),
        predict=training.make_predict_step(config, network),
    )


def open_domains(config: ml_collections.ConfigDict) -> dict[str, Domain]:
    """Opens the data, rendering it first where it is embedded, and completes the config with it.

    Raises:
        UserError: a data set is not prepared, or has no records.
    """
    for section in (config.data.lab, config.data.wild):
        prepare_if_embedded(section.name, config.run.data_dir)
    domains = {
        name: input_pipeline.open_domain(config.data[name], config.run.data_dir)
        for name in ("lab", "wild")
    }
    # What turns a prediction into mm belongs to the network that learnt from this data.
    config.data.bone_length_sum = config.data.bone_length_sum or domains["lab"].bone_length_sum
    return domains


def prepare_if_embedded(name: str, data_dir: str) -> None:
    """Renders a data set of the embedded benchmark that is not there yet."""
    if not name.startswith("synthetic/"):
        return
    if jax.process_index() == 0 and not is_prepared(name, data_dir or None):
        log.info("preparing %s", name)
        prepare(name, data_dir or None)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(f"prepared {name}")


def train_stage(run: Run, stage: Stage, interruption: Interruption) -> bool:
    """Trains one stage to its end.

    Returns:
        False where there was nothing left to do.
    """
    directory = run.workdir / stage.name
    with StageCheckpoints(directory, run.config.run.keep_checkpoints) as checkpoints:
        state = checkpoints.restore(fresh_state(run)) or starting_point(run, stage)
        start = int(state.step)
        if start == stage.steps:
            log.info("%s: finished", stage.name)
            return False
        log.info("%s: iterations %d to %d", stage.name, start + 1, stage.steps)
        with MetricsLog(directory, start) as metrics:
            loop.iterate(run, stage, state, checkpoints, metrics, interruption)
    return True


def fresh_state(run: Run) -> TrainState:
    """The state of an untrained network."""
    return training.initial_state(run.network, run.optimizer)


def starting_point(run: Run, stage: Stage) -> TrainState:
    """A stage's first state: the network of the stage before, with a fresh optimizer."""
    return fresh_state(run) if stage.number == 1 else trained_state(run, stage.number - 1)


def trained_state(run: Run, number: int) -> TrainState:
    """The network of a finished stage, with a fresh optimizer."""
    directory = run.workdir / f"stage{number}"
    params, stats = restore_network(directory, run.network.params, run.network.stats)
    return fresh_state(run)._replace(params=params, stats=stats)


def report(run: Run, stage: Stage) -> str:
    """The final table, on all held-out records; kept in the stage's directory.

    Where the paper has numbers on the lab data set, they stand beside ours at the end.
    """
    path = run.workdir / stage.name / RESULTS_FILE
    if not path.exists():
        results = score(run, stage)
        if jax.process_index() == 0:
            partial = path.with_suffix(".partial")
            partial.write_text(json.dumps(results, indent=2) + "\n")
            partial.rename(path)
    else:
        results = json.loads(path.read_text())
    tables = [Table(title, rows) for title, rows in results.items()]
    lab = next(rows for title, rows in results.items() if title.startswith("lab"))
    method = run.config.method
    beside = beside_published(method, run.domains["lab"].name, lab[method])
    return "\n\n".join(as_text(table) for table in (*tables, beside) if table)


def score(run: Run, stage: Stage) -> dict[str, dict[str, dict[str, float]]]:
    """Scores of the network and of the yardsticks, per domain."""
    state = training.replicate(trained_state(run, stage.number))
    side = run.config.model.input_side
    lab_labels = scoring.training_labels(run.domains["lab"].train, side)
    tables = {}
    for name in run.domains:
        poses, labels = loop.predictions(run, state, run.domains[name].test)
        protocol = loop.protocol(run, stage, name)
        rows = {run.config.method: poses, **scoring.yardsticks(lab_labels, labels, protocol)}
        tables[f"{name}-test ({len(labels.joints)} images)"] = {
            row: measures.summarise(p, labels, protocol) for row, p in rows.items()
        }
    return tables


if __name__ == "__main__":
    run_program(main)
