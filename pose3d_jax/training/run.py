"""A run: its stages in order, each from the network of the one before.

The first starts from random weights, or from those of `initial_network`.
"""

import logging
import zlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from pose3d_jax import config_values
from pose3d_jax.checkpoints import load
from pose3d_jax.checkpoints.stage import StageCheckpoints, restore_variables
from pose3d_jax.data.sources import Domain, evenly_spaced, open_domain
from pose3d_jax.errors import UserError
from pose3d_jax.models.variables import Variables, flatten, make_network, unflatten
from pose3d_jax.stages import Stage, get_stage
from pose3d_jax.training import hosts
from pose3d_jax.training.directory import check_directory, check_shared, claim_directory, owned
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
    hosts.agree("data", {name: _summary(domain) for name, domain in run.domains.items()})
    hosts.agree("initial network", _checksum(run.variables))
    stages = planned_stages(config)
    with owned(workdir):
        for stage in stages:
            claim_directory(workdir / stage.name, config, stage.number)
        hosts.meet("directories claimed")
        check_shared(workdir / stages[0].name)
        trained = [train_stage(run, stage, interruption, validate) for stage in stages]
    if not any(trained):
        log.info("nothing left to do: %s has all of %s", workdir, ", ".join(s.name for s in stages))
    return run


def set_up(config: ml_collections.ConfigDict, workdir: Path) -> Run:
    """Checks everything, opens the data, and builds the network; writes nothing.

    Raises:
        UserError: a data set, the work directory or the config is not as it should be.
    """
    stages = check_config(config)
    graphdef, variables = initial_network(config)
    domains = open_domains(config)
    for stage in stages:
        check_directory(workdir / stage.name, config, stage.number)
    return Run(
        config=config,
        workdir=workdir,
        domains=domains,
        image_side=max(domain.image_side for domain in domains.values()),
        graphdef=graphdef,
        variables=variables,
        optimizer=make_optimizer(config),
    )


def check_config(config: ml_collections.ConfigDict) -> list[Stage]:
    """Checks a config's values; returns the stages of the run.

    Raises:
        UserError: a value is not as it should be.
    """
    try:
        config_values.check(config.to_dict())
    except ValueError as error:
        raise UserError(f"{error}.".replace(" is ", " in the config is ", 1)) from error
    stages = planned_stages(config)
    check_targets(**config.targets)
    for stage in stages:
        check_batch_size(config.data.batch_size, stage.domains)
    return stages


def planned_stages(config: ml_collections.ConfigDict) -> list[Stage]:
    """The stages of a run, without those of no iterations.

    Raises:
        UserError: the last has none.
    """
    stages = [get_stage(config, number) for number in range(1, config.last_stage + 1)]
    if not stages[-1].steps:
        raise UserError(
            f"The last stage, {stages[-1].name}, has no iterations: give it some with "
            f"--config.stages.{stages[-1].name}.steps=N, or name the config of an earlier stage."
        )
    return [stage for stage in stages if stage.steps]


def initial_network(config: ml_collections.ConfigDict) -> tuple[nnx.GraphDef, Variables]:
    """The network that training starts from: a trained one where the config names it.

    Raises:
        UserError: the config describes no network, or another than the trained one.
    """
    try:
        graphdef, variables = make_network(config)
    except ValueError as error:
        raise UserError(str(error)) from error
    if not config.initial_network:
        return graphdef, variables
    trained = load(config.initial_network)
    try:
        restored = unflatten(flatten(trained.variables), variables)
        return graphdef, jax.tree.map(jnp.asarray, restored)
    except UserError as error:
        raise UserError(
            f"{config.initial_network} cannot be trained further by this config. {error} "
            "Take the preset that it was made by, or its values of --config.model."
        ) from error


def open_domains(config: ml_collections.ConfigDict) -> dict[str, Domain]:
    """Opens the data, and completes the config with it.

    Raises:
        UserError: a data set is not prepared, has no records, or no size for what is learnt of it.
    """
    domains = {
        name: open_domain(config.data[name], config.run.data_dir) for name in ("lab", "wild")
    }
    # What turns a prediction into mm belongs to the network that learnt from this data.
    config.data.bone_length_sum = config.data.bone_length_sum or domains["lab"].bone_length_sum
    if not config.data.bone_length_sum and any(s.with_depth for s in planned_stages(config)):
        raise UserError(
            f"{domains['lab'].name} has no average skeleton, so that depths learnt from it would "
            "have no size: choose another data set of the lab, with 3D labels, or say the sum of "
            "the 14 bones' lengths in mm with --config.data.bone_length_sum."
        )
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
        finished = start == stage.steps
        if finished:
            log.info("%s: finished", stage.name)
        else:
            log.info("%s: iterations %d to %d", stage.name, start + 1, stage.steps)
        with MetricsLog(directory, start) as metrics:
            iterate(run, stage, state, checkpoints, metrics, interruption, validate)
    return not finished


def _summary(domain: Domain) -> dict[str, Any]:
    """Enough of a data set to tell it from another of the same name."""
    records = [domain.train[int(i)] for i in evenly_spaced(len(domain.train), 8)]
    return {
        "name": domain.name,
        "training records": len(domain.train),
        "held-out records": len(domain.test),
        "image side": domain.image_side,
        "bone length sum": domain.bone_length_sum,
        "some images": [zlib.crc32(record["image"]) for record in records],
    }


def _checksum(variables: Variables) -> int:
    return zlib.crc32(b"".join(array.tobytes() for array in flatten(variables).values()))


def fresh_state(run: Run) -> TrainState:
    """The state of the network that training starts from."""
    return initial_state(run.variables, run.optimizer)


def starting_point(run: Run, stage: Stage) -> TrainState:
    """A stage's first state: the network of the stage before, with a fresh optimizer."""
    before = [other for other in planned_stages(run.config) if other.number < stage.number]
    if not before:
        return fresh_state(run)
    variables = restore_variables(run.workdir / before[-1].name, run.variables)
    return initial_state(variables, run.optimizer)
