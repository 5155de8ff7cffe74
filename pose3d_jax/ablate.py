"""Trains and compares the four methods of Sec. 4.1.3, or weights of the geometric loss.

`python -m pose3d_jax.ablate --config configs/stage3.py[:preset] [--seeds N] [--lambda_geo 0,0.1,…]`

Every seed has a directory, and in it every variant one like those of `pose3d_jax.train`. Variants
share the stages that they have in common: these are trained once, and linked. Each is evaluated as
`pose3d_jax.evaluate` does; the tables of all, mean ± standard deviation over the seeds, are printed
and kept in `methods/` or `lambda_geo/`, with pictures. Rerun the command to resume. The flags of
`pose3d_jax.train` hold here too.
"""

import pose3d_jax.programs.memory  # noqa: F401  # isort: skip  # before NumPy

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import jax
import ml_collections
from absl import flags

from pose3d_jax.errors import UserError
from pose3d_jax.evaluation import comparison
from pose3d_jax.evaluation.report import DIRECTORY, RESULTS_FILE, TABLES_FILE, Results, write_tables
from pose3d_jax.evaluation.tables import as_text
from pose3d_jax.evaluation.validation import final_results, validate
from pose3d_jax.files import write_json
from pose3d_jax.programs.run import run_program
from pose3d_jax.programs.training_flags import parse, start_jax, workdir
from pose3d_jax.stages import METHODS, get_stage, method_directory
from pose3d_jax.training.directory import CONFIG_FILE, config_differences
from pose3d_jax.training.interruption import Interruption
from pose3d_jax.training.run import open_domains, train

log = logging.getLogger(__name__)

_SEEDS = flags.DEFINE_integer("seeds", 3, "Trainings of each variant.", lower_bound=1)
_LAMBDA_GEO = flags.DEFINE_list(
    "lambda_geo", [], "Compare these weights of the geometric loss in stage 3, not the methods."
)

Variants = dict[str, ml_collections.ConfigDict]


def main(argv: Sequence[str]) -> None:
    """The program."""
    config = parse(argv)
    start_jax(config)
    if jax.process_count() > 1:
        raise UserError("ablate runs on one host; several train one variant with pose3d_jax.train.")
    place = workdir(f"runs/{config.preset}/ablation")
    open_domains(config)
    results: dict[str, list[Results]] = {}
    with Interruption() as interruption:
        for seed in range(config.seed, config.seed + _SEEDS.value):
            for name, variant in variants(config, seed).items():
                directory = directory_of(place, name, seed)
                log.info("%s, seed %d, in %s", name, seed, directory)
                link_common_stages(directory, variant)
                run = train(variant, directory, interruption, validate)
                last = get_stage(variant, variant.last_stage)
                results.setdefault(name, []).append(final_results(run, last))
                jax.clear_caches()  # Or the programs of all of them would pile up.
    report(config, place, results)


def report(
    config: ml_collections.ConfigDict, place: Path, results: dict[str, list[Results]]
) -> None:
    """Prints and keeps the tables and pictures of all variants."""
    out = place / ("lambda_geo" if _LAMBDA_GEO.value else "methods")
    out.mkdir(exist_ok=True)
    write_json(out / RESULTS_FILE, results)
    tables = comparison.tables_of(results)
    write_tables(out / TABLES_FILE, tables)
    last = f"stage{config.last_stage}"
    of_first_seed = {
        name: directory_of(place, name, config.seed) / last / DIRECTORY for name in results
    }
    comparison.draw(out, of_first_seed, config)
    if _LAMBDA_GEO.value:
        comparison.draw_sweep(out, results, [parse_weight(text) for text in _LAMBDA_GEO.value])
    log.info("results in %s:\n\n%s\n", out, "\n\n".join(map(as_text, tables)))


def directory_of(place: Path, name: str, seed: int) -> Path:
    """A variant's work directory."""
    return place / f"seed-{seed}" / method_directory(name)


def variants(config: ml_collections.ConfigDict, seed: int) -> Variants:
    """What is compared, by name: the methods, or weights of the geometric loss.

    Raises:
        UserError: a weight is not a number from 0 up.
    """
    chosen = {}
    for name in _LAMBDA_GEO.value or METHODS:
        variant = ml_collections.ConfigDict(config.to_dict())
        variant.seed = seed
        if _LAMBDA_GEO.value:
            variant.method = METHODS[-1]
            variant.stages.stage3.lambda_geo = parse_weight(name)
            name = f"lambda_geo {variant.stages.stage3.lambda_geo:g}"
        else:
            variant.method = name
        chosen[name] = variant
    return chosen


def parse_weight(text: str) -> float:
    """A weight of the command line.

    Raises:
        UserError: it is not a number from 0 up.
    """
    try:
        weight = float(text)
    except ValueError:
        weight = -1.0
    if not 0 <= weight < float("inf"):
        raise UserError(f"--lambda_geo wants numbers from 0 up, as in 0,0.01,0.1; not {text!r}.")
    return weight


def link_common_stages(place: Path, config: ml_collections.ConfigDict) -> None:
    """Links to the stages that another variant of the same seed has in common with this one."""
    place.mkdir(parents=True, exist_ok=True)
    for number in range(1, config.last_stage + 1):
        directory = place / f"stage{number}"
        if directory.exists():
            continue
        for other in sorted(place.parent.glob(f"*/stage{number}")):
            if not (other / CONFIG_FILE).exists():
                continue
            if not config_differences(other, config, number):
                directory.symlink_to(os.path.relpath(other.resolve(), place))
                break


if __name__ == "__main__":
    run_program(main)
