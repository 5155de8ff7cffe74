"""Trains a network: `python -m pose3d_jax.train --config configs/stage3.py[:preset]`.

The work directory holds one directory per stage. Finished stages are skipped, an unfinished one
goes on from its last checkpoint, and each starts from the network of the one before.
"""

import itertools
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import ml_collections
import numpy as np
import optax
from absl import flags
from jax.experimental import multihost_utils
from ml_collections import config_flags

from pose3d_jax import evaluate, input_pipeline, training
from pose3d_jax.checkpoints import StageCheckpoints, claim_directory
from pose3d_jax.errors import Interrupted, UserError, run_program
from pose3d_jax.input_pipeline import Domain
from pose3d_jax.interruption import Interruption
from pose3d_jax.progress import MetricsLog, Pace
from pose3d_jax.stages import Stage, get_stage, method_directory
from pose3d_jax.training import Network, TrainState, hyperparameters
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

#: Held-out batches on which evaluation mode is compared with training mode after a stage.
COMPARED_BATCHES = 20
RESULTS_FILE = "results.json"


class Run(NamedTuple):
    """What all stages of a run share."""

    config: ml_collections.ConfigDict
    workdir: Path
    domains: dict[str, Domain]
    image_side: int
    network: Network
    optimizer: optax.GradientTransformation
    predict: Callable[[TrainState, dict], dict]


def main(argv: Sequence[str]) -> None:
    """The program."""
    config = parse(argv)
    start_jax(config)
    workdir = Path(_WORKDIR.value or f"runs/{config.preset}/{method_directory(config.method)}")
    devices = f"{jax.device_count()} × {jax.devices()[0].device_kind}"
    log.info("preset %s, method %s, on %s", config.preset, config.method, devices)

    run = set_up(config, workdir)
    stages = [get_stage(config, number) for number in range(1, config.last_stage + 1)]
    with Interruption() as interruption:
        trained = [train_stage(run, stage, interruption) for stage in stages]
    if not any(trained):
        log.info("nothing left to do: %s has all of %s", workdir, ", ".join(s.name for s in stages))
    log.info("results in %s:\n\n%s\n", workdir / stages[-1].name, report(run, stages[-1]))


def parse(argv: Sequence[str]) -> ml_collections.ConfigDict:
    """The config of the command line.

    Raises:
        UserError: there is none, or it cannot be carried out on these devices.
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
    if config.run.compilation_cache:
        cache = Path(config.run.compilation_cache).expanduser()
        jax.config.update("jax_compilation_cache_dir", str(cache))
    if jax.process_index() != 0:
        logging.getLogger().setLevel(logging.WARNING)


def set_up(config: ml_collections.ConfigDict, workdir: Path) -> Run:
    """Checks everything, opens the data, and builds the network.

    Raises:
        UserError: a data set, the work directory or the config is not as it should be.
    """
    numbers = range(1, config.last_stage + 1)
    for number in numbers:
        training.check_batch_size(config.data.batch_size, get_stage(config, number).domains)
    try:
        network = training.make_network(config)
    except ValueError as error:
        raise UserError(str(error)) from error
    for section in (config.data.lab, config.data.wild):
        prepare_if_embedded(section.name, config.run.data_dir)
    domains = {
        name: input_pipeline.open_domain(config.data[name], config.run.data_dir)
        for name in ("lab", "wild")
    }
    # What turns a prediction into mm belongs to the network that learnt from this data.
    config.data.bone_length_sum = config.data.bone_length_sum or domains["lab"].bone_length_sum
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


def prepare_if_embedded(name: str, data_dir: str) -> None:
    """Renders a data set of the embedded benchmark that is not there yet."""
    if not name.startswith("synthetic/") or is_prepared(name, data_dir or None):
        return
    if jax.process_index() == 0:
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
            iterate(run, stage, state, checkpoints, metrics, interruption)
    return True


def fresh_state(run: Run) -> TrainState:
    """The state of an untrained network."""
    return training.initial_state(run.network, run.optimizer)


def starting_point(run: Run, stage: Stage) -> TrainState:
    """A stage's first state: the network of the stage before, with a fresh optimizer."""
    fresh = fresh_state(run)
    if stage.number == 1:
        return fresh
    trained = restore_network(run, run.workdir / f"stage{stage.number - 1}")
    return fresh._replace(params=trained.params, stats=trained.stats)


def restore_network(run: Run, directory: Path) -> TrainState:
    """The last state of a finished stage."""
    with StageCheckpoints(directory, run.config.run.keep_checkpoints) as checkpoints:
        return checkpoints.restore(fresh_state(run))


def iterate(
    run: Run,
    stage: Stage,
    state: TrainState,
    checkpoints: StageCheckpoints,
    metrics: MetricsLog,
    interruption: Interruption,
) -> None:
    """The training loop: from a state to the stage's last iteration.

    Raises:
        Interrupted: a signal came; the state is saved.
        UserError: the loss is not finite.
    """
    settings = run.config.run
    train_step = training.make_train_step(run.config, run.network, run.optimizer, stage)
    start = int(state.step)
    state = training.replicate(state)
    pace = Pace(stage.steps, start, run.config.data.batch_size)
    pending: list[training.Metrics] = []

    for step, batch in zip(range(start, stage.steps), batches(run, stage, "train", start)):
        batch = training.split_over_devices(batch)
        state, scalars = train_step(state, batch, hyperparameters(stage, step))
        pending.append(scalars)
        done = step + 1
        if done == start + 1:
            jax.block_until_ready(scalars)
            pace.restart(done)  # The first step compiles.

        last = done == stage.steps
        reports = last or done % settings.log_every == 0
        stop = interruption.asked(collectively=reports)
        saves = last or stop or done % settings.save_every == 0
        if reports or saves:
            # Here the host waits for the devices, and only here.
            means = collect(run, stage, pending, done, checkpoints)
            pending.clear()
            metrics.write(done, {**means, "learning_rate": stage.learning_rate(step)})
            summary = " · ".join(f"{name} {value:.4g}" for name, value in means.items())
            log.info("%s %d/%d · %s · %s", stage.name, done, stage.steps, summary, pace.text(done))
        if saves:
            checkpoints.save(done, state)
        if stop:
            checkpoints.wait()
            raise Interrupted(
                stop,
                f"stopped after iteration {done} of {stage.name}, which is saved; "
                "the same command goes on from there",
            )
        if last or done % settings.evaluate_every == 0:
            validate(run, stage, state, done, metrics)
            pace.restart(done)
    compare_modes(run, stage, state, metrics)


def batches(run: Run, stage: Stage, split: str, start: int = 0) -> Iterator[dict]:
    """This host's batches of a stage, of training or of held-out records."""
    return input_pipeline.training_batches(
        [getattr(run.domains[name], split) for name in stage.domains],
        batch_size=run.config.data.batch_size,
        seed=stream_seed(run, stage),
        start=start,
        image_side=run.image_side,
        threads=run.config.run.reading_threads,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def stream_seed(run: Run, stage: Stage) -> int:
    """The seed of a stage's order of records; no two of a run's stages read the same stream."""
    return 1000 * run.config.seed + 10 * stage.number


def collect(
    run: Run,
    stage: Stage,
    pending: list[training.Metrics],
    done: int,
    checkpoints: StageCheckpoints,
) -> dict[str, float]:
    """Means of the scalars since the last call.

    Raises:
        UserError: one is not finite; the message names the iteration, its records, and the last
            good checkpoint.
    """
    fetched = jax.device_get(pending)
    for step, scalars in enumerate(fetched, done - len(fetched)):
        if not (np.isfinite(scalars["loss"]) and np.isfinite(scalars["update_norm"])):
            names = input_pipeline.batch_ids(
                [run.domains[name].train for name in stage.domains],
                batch_size=run.config.data.batch_size,
                seed=stream_seed(run, stage),
                step=step,
            )
            good = checkpoints.steps()
            raise UserError(
                f"The loss or the update is not finite in iteration {step + 1} of {stage.name} "
                f"(loss {scalars['loss']}, update {scalars['update_norm']}). Its records: "
                f"{', '.join(names)}. The last good checkpoint is "
                + (f"that of iteration {good[-1]}" if good else "that of the stage before")
                + f" in {checkpoints.directory}. If the records are sound, lower "
                f"--config.stages.{stage.name}.learning_rate."
            )
    return {
        name: float(np.mean([scalars[name] for scalars in fetched]))
        for name in fetched[0]
        if np.isfinite(fetched[0][name])
    }


def predictions(run: Run, state: TrainState, domain: str, limit: int | None):
    """Poses and labels of a domain's held-out records."""
    return evaluate.predict_split(
        run.predict,
        state,
        run.domains[domain].test,
        side=run.config.model.input_side,
        skeleton_size=run.config.data.bone_length_sum,
        batch_size=max(run.config.data.batch_size, 32),
        image_side=run.image_side,
        threads=run.config.run.reading_threads,
        limit=limit,
    )


def validate(run: Run, stage: Stage, state: TrainState, step: int, metrics: MetricsLog) -> None:
    """Scores some held-out records of both domains, and draws a few."""
    side, size = run.config.model.input_side, run.config.data.bone_length_sum
    for name in run.domains:
        poses, labels = predictions(run, state, name, run.config.run.evaluate_images)
        row = evaluate.summarise(poses, labels, side, size, with_depth=stage.with_depth)
        metrics.write(step, {f"{name}-test {key}": value for key, value in row.items()})
        text = ", ".join(f"{key} {value:.4g}" for key, value in row.items())
        log.info(
            "%s %d · %s-test (%d images): %s", stage.name, step, name, len(labels.joints), text
        )


def compare_modes(run: Run, stage: Stage, state: TrainState, metrics: MetricsLog) -> None:
    """Compares the loss with running statistics to that with the batches' own, on held-out data.

    Running statistics that lag behind are the defect most reported of hourglass ports: a network
    that trains well and predicts badly.
    """
    hyper = hyperparameters(stage, stage.steps - 1)
    losses = []
    for running in (True, False):
        step = training.make_loss_step(run.config, run.network, stage, running=running)
        held_out = itertools.islice(batches(run, stage, "test"), COMPARED_BATCHES)
        results = [step(state, training.split_over_devices(b), hyper)["loss"] for b in held_out]
        losses.append(float(np.mean(jax.device_get(results))))
    ratio = losses[0] / losses[1]
    metrics.write(stage.steps, {"evaluation_to_training_mode": ratio})
    log.log(
        logging.INFO if 0.9 <= ratio <= 1.1 else logging.WARNING,
        "%s: held-out loss %.4g in evaluation mode, %.4g in training mode: ratio %.3f",
        stage.name, *losses, ratio,
    )  # fmt: skip


def report(run: Run, stage: Stage) -> str:
    """The final table, on all held-out records; kept in the stage's directory."""
    path = run.workdir / stage.name / RESULTS_FILE
    if not path.exists():
        results = score(run, stage)
        if jax.process_index() == 0:
            partial = path.with_suffix(".partial")
            partial.write_text(json.dumps(results, indent=2) + "\n")
            partial.rename(path)
    else:
        results = json.loads(path.read_text())
    tables = (evaluate.format_table(title, rows) for title, rows in results.items())
    return "\n\n".join(tables)


def score(run: Run, stage: Stage) -> dict[str, dict[str, dict[str, float]]]:
    """Scores of the network and of the yardsticks, per domain."""
    side, size = run.config.model.input_side, run.config.data.bone_length_sum
    state = training.replicate(restore_network(run, run.workdir / stage.name))
    training_labels = evaluate.read_labels(run.domains["lab"].train, side, limit=10_000)
    tables = {}
    for name in run.domains:
        poses, labels = predictions(run, state, name, limit=None)
        rows = {
            run.config.method: poses,
            **evaluate.yardsticks(training_labels, labels, side, size),
        }
        tables[f"{name}-test ({len(labels.joints)} images)"] = {
            row: evaluate.summarise(p, labels, side, size, with_depth=stage.with_depth)
            for row, p in rows.items()
        }
    return tables


if __name__ == "__main__":
    run_program(main)
