"""Labels that no annotator should have made: what training and evaluation do with them.

Records in memory take the place of a prepared data set's. A step of stage 3 is trained on them, and
they are scored. Numbers stay finite, or one sentence names what is wrong.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import Mock

import jax
import ml_collections
import numpy as np

from benchmarks.faults import runs
from benchmarks.faults.rows import Row
from pose3d_jax import presets
from pose3d_jax.errors import UserError
from pose3d_jax.evaluation import report
from pose3d_jax.evaluation.predictions import Split
from pose3d_jax.evaluation.validation import validate
from pose3d_jax.programs.compilation import keep_compiled
from pose3d_jax.stages import get_stage
from pose3d_jax.training.checkpoints import StageCheckpoints
from pose3d_jax.training.loop import Run, batches, collect
from pose3d_jax.training.progress import MetricsLog
from pose3d_jax.training.run import fresh_state, set_up
from pose3d_jax.training.state import hyperparameters, replicate, split_over_devices
from pose3d_jax.training.steps import make_train_step
from tests import programs

Record = dict
#: Records of each domain, half of them held out.
RECORDS = 16


def rows(seed: int, rounds: int, folder: Path) -> Iterator[Row]:
    """A row for each kind of odd label; see the package."""
    keep_compiled(folder / "compiled")
    config = _config(runs.prepare_data(folder / "data"))
    run = set_up(config, folder / "run")
    stage = get_stage(config, 3)
    step = make_train_step(config, run.network, run.optimizer, stage)
    for number, (name, spoil) in enumerate(KINDS.items()):
        row = Row(name)
        for attempt in range(rounds):
            rng = np.random.default_rng((seed, number, attempt))
            (folder / "run" / stage.name / "pictures").mkdir(parents=True)
            began = time.monotonic()
            try:
                _try(_spoilt(run, spoil, rng), stage, step)
                row.survived += 1
            except UserError as error:
                one = "\n" not in str(error)
                row.refused += one
                row.wrong += [] if one else [f"attempt {attempt}: {error}"]
            except Exception as error:
                row.wrong.append(f"attempt {attempt}: {error!r}"[:300])
            row.seconds = max(row.seconds, time.monotonic() - began)
            shutil.rmtree(folder / "run")
        yield row


def _config(data_dir: Path) -> ml_collections.ConfigDict:
    config = presets.experiment(3, "tiny")
    # As many images as there are devices, of each domain.
    values = programs.SMALL | {"data.batch_size": 2 * max(4, jax.device_count())}
    config.update_from_flattened_dict(values)
    config.run.data_dir = str(data_dir)
    return config


def _spoilt(run: Run, spoil: Callable, rng: np.random.Generator) -> Run:
    """The run with a domain in which some records are spoilt."""
    domains = dict(run.domains)
    name = str(rng.choice(sorted(domains)))
    for split in ("train", "test"):
        source = getattr(domains[name], split)
        records = [dict(source[index]) for index in range(min(RECORDS, len(source)))]
        domains[name] = domains[name]._replace(**{split: spoil(records, rng)})
    return run._replace(domains=domains)


def _try(run: Run, stage, step: Callable) -> None:
    batch = split_over_devices(next(batches(run, stage, "train")))
    fresh = jax.tree.map(np.array, fresh_state(run))  # The step consumes what it gets.
    state, scalars = step(replicate(fresh), batch, hyperparameters(stage, 0))
    directory = run.workdir / stage.name
    collect(run, stage, [scalars], 1, Mock(spec=StageCheckpoints, steps=list, directory=directory))
    for leaf in jax.tree.leaves(state):
        if not np.isfinite(leaf).all():
            raise AssertionError("the network is not finite")
    with MetricsLog(directory, 0) as metrics:
        validate(run, stage, state, 1, metrics)
    trained = report.Trained(run.config, state, run.predict, stage.with_depth)
    for domain in run.domains.values():
        split = Split(domain.name, domain.test, run.image_side)
        report.evaluate(trained, [split], directory / report.DIRECTORY, source={})


def _each(change: Callable[[Record, np.random.Generator], Record]) -> Callable:
    """Changes some records, or all."""

    def spoil(records: list[Record], rng: np.random.Generator) -> list[Record]:
        chosen = rng.random(len(records)) < rng.choice((0.1, 0.5, 1.1))
        chosen[0] = True
        return [
            record | change(record, rng) if odd else record for record, odd in zip(records, chosen)
        ]

    return spoil


def _nan_in(*names: str) -> Callable:
    def change(record: Record, rng: np.random.Generator) -> Record:
        name = str(rng.choice(names))
        array = np.array(record[name], np.float32)
        array.flat[rng.integers(array.size)] = np.nan
        return {name: array}

    return _each(change)


def _unlabelled(record: Record, rng: np.random.Generator) -> Record:
    nothing = {"joints_2d": np.zeros_like(record["joints_2d"]), "head_size": np.float32(0)}
    return nothing | {"joints_valid": np.zeros_like(record["joints_valid"])}


KINDS = {
    "joints outside the image": _each(
        lambda record, rng: {
            "joints_2d": np.float32(record["joints_2d"] + rng.normal(0, 1e4, (16, 2)))
        }
    ),
    "all joints unlabelled": _each(_unlabelled),
    "boxes of no size": _each(lambda record, rng: {"box": record["box"] * np.float32([1, 1, 0])}),
    "NaN among the joints": _nan_in("joints_2d"),
    "NaN among the depths": _nan_in("joints_3d"),
    "NaN in a box or a head's size": _nan_in("box", "head_size"),
    "one record": lambda records, rng: records[:1],
}
