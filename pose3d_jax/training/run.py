"""A run: its stages in order, each from the network of the one before."""

import logging
from pathlib import Path

import ml_collections

from pose3d_jax.data.sources import Domain, open_domain
from pose3d_jax.errors import UserError
from pose3d_jax.models.variables import make_network
from pose3d_jax.stages import Stage, get_stage
from pose3d_jax.training.checkpoints import StageCheckpoints, claim_directory, restore_network
from pose3d_jax.training.interruption import Interruption
from pose3d_jax.training.loop import Run, Validate, iterate
from pose3d_jax.training.progress import MetricsLog
from pose3d_jax.training.state import (
    TrainState,
    check_batch_size,
    check_targets,
    initial_state,
    make_optimizer,
)
from pose3d_jax.training.steps import make_predict_step

log = logging.getLogger(__name__)


def train(
    config: ml_collections.ConfigDict,
    workdir: Path,
    interruption: Interruption,
    validate: Validate,
) -> Run:
    """Trains what is missing of a run's stages.

    Args:
        config: the whole config.
        workdir: holds a directory for each stage.
        interruption: asked between iterations.
        validate: see `loop.iterate`.

    Raises:
        Interrupted: a signal came; the state is saved.
        UserError: something is not as it should be.
    """
    run = set_up(config, workdir)
    stages = [get_stage(config, number) for number in range(1, config.last_stage + 1)]
    trained = [train_stage(run, stage, interruption, validate) for stage in stages]
    if not any(trained):
        log.info("nothing left to do: %s has all of %s", workdir, ", ".join(s.name for s in stages))
    return run


def set_up(config: ml_collections.ConfigDict, workdir: Path) -> Run:
    """Checks everything, opens the data, and builds the network.

    Raises:
        UserError: a data set, the work directory or the config is not as it should be.
    """
    numbers = range(1, config.last_stage + 1)
    check_targets(**config.targets)
    for number in numbers:
        check_batch_size(config.data.batch_size, get_stage(config, number).domains)
    try:
        network = make_network(config)
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
        optimizer=make_optimizer(config),
        predict=make_predict_step(network, config.model.input_side),
    )


def open_domains(config: ml_collections.ConfigDict) -> dict[str, Domain]:
    """Opens the data, and completes the config with it.

    Raises:
        UserError: a data set is not prepared, or has no records.
    """
    domains = {
        name: open_domain(config.data[name], config.run.data_dir) for name in ("lab", "wild")
    }
    # What turns a prediction into mm belongs to the network that learnt from this data.
    config.data.bone_length_sum = config.data.bone_length_sum or domains["lab"].bone_length_sum
    return domains


def train_stage(run: Run, stage: Stage, interruption: Interruption, validate: Validate) -> bool:
    """Trains one stage to its end.

    Returns:
        False where there was nothing left to do.
    """
    directory = run.workdir / stage.name
    settings = run.config.run
    with StageCheckpoints(directory, settings.keep_checkpoints, settings.keep_every) as checkpoints:
        state = checkpoints.restore(fresh_state(run)) or starting_point(run, stage)
        start = int(state.step)
        if start == stage.steps:
            log.info("%s: finished", stage.name)
            return False
        log.info("%s: iterations %d to %d", stage.name, start + 1, stage.steps)
        with MetricsLog(directory, start) as metrics:
            iterate(run, stage, state, checkpoints, metrics, interruption, validate)
    return True


def fresh_state(run: Run) -> TrainState:
    """The state of an untrained network."""
    return initial_state(run.network, run.optimizer)


def starting_point(run: Run, stage: Stage) -> TrainState:
    """A stage's first state: the network of the stage before, with a fresh optimizer."""
    return fresh_state(run) if stage.number == 1 else trained_state(run, stage.number - 1)


def trained_state(run: Run, number: int) -> TrainState:
    """The network of a finished stage, with a fresh optimizer."""
    directory = run.workdir / f"stage{number}"
    params, stats = restore_network(directory, run.network.params, run.network.stats)
    return fresh_state(run)._replace(params=params, stats=stats)
