"""The training loop of one stage, with progress, checkpoints and checks."""

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx
from ml_collections import FrozenConfigDict

from pose3d_jax.checkpoints.stage import StageCheckpoints
from pose3d_jax.data.loader import batch_ids, training_batches
from pose3d_jax.data.sources import Domain, without_depth
from pose3d_jax.errors import Interrupted, UserError
from pose3d_jax.models.variables import Variables
from pose3d_jax.stages import Stage
from pose3d_jax.training.interruption import Interruption
from pose3d_jax.training.progress import MetricsLog, Pace
from pose3d_jax.training.state import (
    Metrics,
    TrainState,
    hyperparameters,
    learning_rate,
    make_optimizer,
    replicate,
    split_over_devices,
)
from pose3d_jax.training.steps import make_loss_step, make_train_step

log = logging.getLogger(__name__)

#: Held-out batches on which eval mode is compared with train mode after a stage.
COMPARED_BATCHES = 20
#: Name of the scalar that compares them.
MODES = "evaluation_to_training_mode"

#: Largest factor between the ratios of 3D to 2D bone lengths of wild and of lab images. Healthy
#: runs of the built-in synthetic benchmark stay within 1.19, collapsed ones reach 1.21 to 1.31
#: (docs/results.md).
BONE_RATIO_DRIFT = 1.2


class Run(NamedTuple):
    """What all stages of a run share."""

    config: FrozenConfigDict  # complete and read-only
    stages: tuple[Stage, ...]  # of the run, in order
    workdir: Path  # holds a directory for each stage
    domains: dict[str, Domain]  # the data sets "lab" and "wild"
    image_side: int  # side of the largest image, px
    graphdef: nnx.GraphDef  # structure of the network
    variables: Variables  # that training starts from


#: Scores a run's network after an iteration of a stage, and logs the scores.
Validate = Callable[[Run, Stage, TrainState, int, MetricsLog], None]


def iterate(
    run: Run,
    stage: Stage,
    state: TrainState,
    checkpoints: StageCheckpoints,
    metrics: MetricsLog,
    interruption: Interruption,
    validate: Validate,
) -> None:
    """The training loop: from a state to the stage's last iteration.

    An evaluation that was interrupted after its checkpoint is run first. What `metrics` and the
    stage's directory have already is not computed again.

    Args:
        run: what all stages share.
        stage: to train.
        state: to start or resume from.
        checkpoints: the stage's.
        metrics: the stage's scalars.
        interruption: asked between iterations.
        validate: scores the network on held-out records, every `run.evaluate_every` iterations and
            after the last.

    Raises:
        Interrupted: a signal came; the state is saved.
        UserError: the loss is not finite.
    """
    settings = run.config.run
    train_step = make_train_step(run.config, run.graphdef, make_optimizer(run.config, stage), stage)
    rate, hyper = learning_rate(stage), hyperparameters(stage)
    start = int(state.step)
    state = replicate(state)
    pace = Pace(stage.steps, start, run.config.data.batch_size)
    pending: list[Metrics] = []

    def evaluate(done: int) -> None:
        if done and (done == stage.steps or done % settings.evaluate_every == 0):
            validate(run, stage, state, done, metrics)
        if done == stage.steps and not metrics.has(done, MODES):
            compare_modes(run, stage, state, metrics)

    evaluate(start)
    for step, batch in zip(range(start, stage.steps), batches(run, stage, "train", start)):
        state, scalars = train_step(state, split_over_devices(batch), hyper)
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
            # The host waits for the devices here, and nowhere else.
            means = collect(run, stage, pending, done, checkpoints)
            pending.clear()
            metrics.write(done, {**means, "learning_rate": float(rate(step))})
            summary = " · ".join(f"{name} {value:.4g}" for name, value in means.items())
            log.info("%s %d/%d · %s · %s", stage.name, done, stage.steps, summary, pace.text(done))
            if stage.lambda_geo:
                warn_of_collapse(means)
        if saves:
            checkpoints.save(done, state)
        if stop:
            checkpoints.wait()
            raise Interrupted(
                stop,
                f"stopped after iteration {done} of {stage.name}, which is saved; "
                "rerun the command to resume",
            )
        evaluate(done)
        if last or done % settings.evaluate_every == 0:
            pace.restart(done)
    if stop := interruption.asked(collectively=True):  # A signal during the last evaluation.
        raise Interrupted(stop, f"stopped at the end of {stage.name}; rerun the command to resume")


def batches(run: Run, stage: Stage, split: str, start: int = 0) -> Iterator[dict]:
    """This host's batches of a stage, from split "train" or "test"."""
    sources = [getattr(run.domains[name], split) for name in stage.domains]
    # Wild records of the built-in benchmark have 3D labels; they are not trained on.
    sources = [
        without_depth(source) if name == "wild" else source
        for name, source in zip(stage.domains, sources)
    ]
    return training_batches(
        sources,
        batch_size=run.config.data.batch_size,
        seed=stream_seed(run, stage),
        start=start,
        image_side=run.image_side,
        threads=run.config.run.reading_threads,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def stream_seed(run: Run, stage: Stage) -> int:
    """The seed of a stage's order of records in its first epoch; later epochs add to it."""
    return (1000 * run.config.seed + 10 * stage.number) % 2**31


def collect(
    run: Run,
    stage: Stage,
    pending: Sequence[Mapping[str, Any]],
    done: int,
    checkpoints: StageCheckpoints,
) -> dict[str, float]:
    """Means of the pending scalars.

    Raises:
        UserError: a loss or an update is not finite; the message names the iteration, its records,
            and the last good checkpoint.
    """
    fetched = jax.device_get(pending)
    for step, scalars in enumerate(fetched, done - len(fetched)):
        if not (np.isfinite(scalars["loss"]) and np.isfinite(scalars["update_norm"])):
            names = batch_ids(
                [run.domains[name].train for name in stage.domains],
                batch_size=run.config.data.batch_size,
                seed=stream_seed(run, stage),
                step=step,
            )
            good = [f"that of iteration {step}" for step in checkpoints.steps()] or ["none yet"]
            raise UserError(
                f"The loss or the update is not finite in iteration {step + 1} of {stage.name} "
                f"(loss {scalars['loss']}, update {scalars['update_norm']}). Its records: "
                f"{', '.join(names)}. The last good checkpoint in {checkpoints.directory} is "
                f"{good[-1]}. If the records are sound, lower "
                f"--config.stages.{stage.name}.learning_rate."
            )
    return finite_means(fetched)


def finite_means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The mean of the finite values of each scalar that has some.

    The bone ratio of a domain is NaN in a batch without a labelled bone of it.
    """
    columns = {name: np.array([scalars[name] for scalars in rows]) for name in rows[0]}
    return {
        name: float(np.mean(values[np.isfinite(values)]))
        for name, values in columns.items()
        if np.isfinite(values).any()
    }


def warn_of_collapse(means: dict[str, float]) -> None:
    """Warns if depths of wild images grow or vanish relative to those of lab images.

    Eq. 3 has a degenerate minimum, in which both bones of each limb have the same large depth
    difference: symmetry improves while poses get worse.
    """
    if not {"bone_ratio_lab", "bone_ratio_wild"} <= means.keys():
        return
    drift = means["bone_ratio_wild"] / means["bone_ratio_lab"]
    if not 1 / BONE_RATIO_DRIFT < drift < BONE_RATIO_DRIFT:
        log.warning(
            "the bones of wild images are %.2f times as long in 3D as in 2D, those of lab images "
            "%.2f times: the geometric loss may be collapsing; a smaller lambda_geo prevents it",
            means["bone_ratio_wild"],
            means["bone_ratio_lab"],
        )


def compare_modes(run: Run, stage: Stage, state: TrainState, metrics: MetricsLog) -> None:
    """Compares the held-out loss with running statistics and with those of each batch.

    Running statistics that lag behind are the most reported defect of hourglass ports: the network
    trains well and predicts badly.
    """
    hyper = hyperparameters(stage)
    losses = []
    for running in (True, False):
        step = make_loss_step(run.config, run.graphdef, stage, running=running)
        held_out = itertools.islice(batches(run, stage, "test"), COMPARED_BATCHES)
        results = [step(state, split_over_devices(b), hyper)["loss"] for b in held_out]
        losses.append(float(np.mean(jax.device_get(results))))
    ratio = losses[0] / losses[1]
    metrics.write(stage.steps, {MODES: ratio})
    log.log(
        logging.INFO if 0.9 <= ratio <= 1.1 else logging.WARNING,
        "%s: held-out loss %.4g in eval mode, %.4g in train mode: ratio %.3f",
        stage.name, *losses, ratio,
    )  # fmt: skip
