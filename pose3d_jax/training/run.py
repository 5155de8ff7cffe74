"""A run: its stages in order, each from the network of the one before.

The first stage starts from random weights, or from those of `initial_network`.
"""

import logging
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx
from ml_collections import FrozenConfigDict

from pose3d_jax.checkpoints import load
from pose3d_jax.checkpoints.stage import StageCheckpoints, restore_variables
from pose3d_jax.data.backgrounds import open_backgrounds, with_backgrounds
from pose3d_jax.data.catalog import BUILT_IN, is_prepared, open_dataset
from pose3d_jax.data.sources import Domain, open_domain, subset
from pose3d_jax.errors import UserError
from pose3d_jax.files import check_can_write
from pose3d_jax.models.variables import Variables, flatten, make_network, unflatten
from pose3d_jax.models.widening import widen
from pose3d_jax.presets.checks import check_values
from pose3d_jax.stages import Stage, planned_stages
from pose3d_jax.training import hosts
from pose3d_jax.training.directory import (
    check_directory,
    check_shared,
    claim_directory,
    owned,
    stage_config,
)
from pose3d_jax.training.interruption import Interruption
from pose3d_jax.training.loop import Run, Validate, iterate
from pose3d_jax.training.progress import MetricsLog
from pose3d_jax.training.state import TrainState, check_batch_size, initial_state, make_optimizer

log = logging.getLogger(__name__)

#: `tfds_builders.prepare.prepare`, given by the programs: the package imports no builders.
Prepare = Callable[[str, str | None], Any]


def set_up(config: ml_collections.ConfigDict, workdir: Path, prepare: Prepare | None = None) -> Run:
    """Checks everything, prepares built-in data, and builds the network.

    Args:
        config: the whole config.
        workdir: holds a directory for each stage; nothing is written there.
        prepare: prepares the built-in data sets that are missing; None leaves them missing.

    Returns:
        The run, whose config is complete and read-only.

    Raises:
        UserError: a data set, the work directory or the config is wrong. Nothing is prepared then,
            unless the fault is in the data.
    """
    stages = check_config(config)
    if jax.process_index() == 0:
        check_can_write(workdir)
    hosts.agree("config", stage_config(config, config.last_stage))
    graphdef, variables = initial_network(config)
    if prepare:
        _prepare_built_in(config, prepare)
    domains = {
        name: open_domain(config.data[name], config.run.data_dir) for name in ("lab", "wild")
    }
    if others := open_backgrounds(config.data.backgrounds, config.run.data_dir):
        wild = domains["wild"]
        records = with_backgrounds(wild.train, others, wild.image_side)
        domains["wild"] = wild._replace(train=records)
    hosts.agree("data", {name: _summary(domain) for name, domain in domains.items()})
    hosts.agree("initial network", _checksum(variables))
    config = _resolve(config, stages, domains["lab"])
    for stage in stages:
        check_directory(workdir / stage.name, config, stage.number)
    return Run(
        config=config,
        stages=stages,
        workdir=workdir,
        domains=domains,
        image_side=max(domain.image_side for domain in domains.values()),
        graphdef=graphdef,
        variables=variables,
    )


def train(run: Run, interruption: Interruption, validate: Validate) -> None:
    """Trains the unfinished stages of a run.

    Args:
        run: from `set_up`.
        interruption: asked between iterations.
        validate: see `loop.iterate`.

    Raises:
        Interrupted: a signal came; the state is saved.
        UserError: the directory is in use, the disk is full, or the loss is not finite.
    """
    with owned(run.workdir):
        for stage in run.stages:
            claim_directory(run.workdir / stage.name, run.config, stage.number)
        hosts.barrier("directories claimed")
        check_shared(run.workdir / run.stages[0].name)
        trained = [train_stage(run, stage, interruption, validate) for stage in run.stages]
    if not any(trained):
        names = ", ".join(stage.name for stage in run.stages)
        log.info("nothing left to do: %s has all of %s", run.workdir, names)


def check_config(config: ml_collections.ConfigDict) -> tuple[Stage, ...]:
    """Checks the values of a config; returns the stages of the run.

    Raises:
        UserError: a value is impossible.
    """
    try:
        check_values(config.to_dict())
    except ValueError as error:
        raise UserError(f"{error}.") from error
    stages = planned_stages(config)
    for stage in stages:
        check_batch_size(config.data.batch_size, stage.domains)
    return stages


def initial_network(config: ml_collections.ConfigDict) -> tuple[nnx.GraphDef, Variables]:
    """The network that training starts from: random, or the one that the config names.

    A trained network may have fewer channels than the config's, or lack its optional heads.

    Raises:
        UserError: the config describes no network, or another than the one it names.
    """
    try:
        graphdef, variables = make_network(config)
    except ValueError as error:
        raise UserError(str(error)) from error
    if not config.initial_network:
        return graphdef, variables
    trained = load(config.initial_network)
    try:
        arrays = widen(flatten(trained.variables), flatten(variables))
        return graphdef, jax.tree.map(jnp.asarray, unflatten(arrays, variables))
    except UserError as error:
        raise UserError(
            f"{config.initial_network} cannot be trained further by this config. {error} "
            "Use the preset that it was made by, or its values of --config.model."
        ) from error


def _prepare_built_in(config: ml_collections.ConfigDict, prepare: Prepare) -> None:
    """Renders the built-in data sets of a config that are missing, on the first host."""
    data_dir = config.run.data_dir or None
    names = [config.data.lab.name, config.data.wild.name]
    built_in = [name for name in names if name.split("/")[0] == BUILT_IN]
    for name in names:
        if name not in built_in:
            open_dataset(name, data_dir)  # Fails before anything is rendered.
    for name in built_in:
        if jax.process_index() == 0 and not is_prepared(name, data_dir):
            log.info("preparing %s", name)
            prepare(name, data_dir)
        hosts.barrier(f"prepared {name}")


def _resolve(
    config: ml_collections.ConfigDict, stages: tuple[Stage, ...], lab: Domain
) -> FrozenConfigDict:
    """The config with `bone_length_sum` of the lab data, read-only.

    A network keeps the bone lengths of its training data: they turn its predictions into mm.

    Raises:
        UserError: the lab data have no bone lengths, and a stage learns depth.
    """
    resolved = ml_collections.ConfigDict(config.to_dict())
    resolved.data.bone_length_sum = config.data.bone_length_sum or lab.bone_length_sum
    if not resolved.data.bone_length_sum and any(stage.with_depth for stage in stages):
        raise UserError(
            f"{lab.name} has no `bone_length_sum`, so depth cannot be converted to mm. Choose a "
            "lab data set with 3D labels, or set the sum of the lengths of the 14 bones in mm with "
            "--config.data.bone_length_sum."
        )
    return FrozenConfigDict(resolved)


def train_stage(run: Run, stage: Stage, interruption: Interruption, validate: Validate) -> bool:
    """Trains one stage to its end; returns False if it was finished before."""
    directory = run.workdir / stage.name
    settings = run.config.run
    with StageCheckpoints(directory, settings.keep_checkpoints, settings.keep_every) as checkpoints:
        state = checkpoints.restore(_first_state(run, stage, run.variables))
        if state is None:  # Starts from the stage before, with a fresh optimizer.
            variables = run.variables
            if stage != run.stages[0]:
                before = run.stages[run.stages.index(stage) - 1]
                variables = restore_variables(run.workdir / before.name, run.variables)
            state = _first_state(run, stage, variables)
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
    """Values that distinguish a data set from another of the same name."""
    return {
        "name": domain.name,
        "training records": len(domain.train),
        "held-out records": len(domain.test),
        "image side": domain.image_side,
        "bone length sum": domain.bone_length_sum,
        "some images": [zlib.crc32(record["image"]) for record in subset(domain.train, 8)],
    }


def _checksum(variables: Variables) -> int:
    return zlib.crc32(b"".join(array.tobytes() for array in flatten(variables).values()))


def _first_state(run: Run, stage: Stage, variables: Variables) -> TrainState:
    # A copy, because training steps consume their state, and the run keeps its variables.
    state = initial_state(variables, make_optimizer(run.config, stage))
    return jax.tree.map(jnp.copy, state)
