"""Trains and compares the four methods of Sec. 4.1.3, or weights of the geometric loss.

`python -m pose3d_jax.ablate --config stage3[:preset] [--seeds N] [--lambda_geo 0,0.1,…]`

Each seed has a directory, which holds one work directory per variant. Stages that variants share
are trained once and linked. Each variant is evaluated as by `pose3d_jax.evaluate`; the tables, mean
± standard deviation over the seeds, are printed and written to `methods/` or `lambda_geo/`, with
pictures. Rerun the command to resume. The flags of `pose3d_jax.train` apply.
"""

import pose3d_jax.programs.start  # noqa: F401  # isort: skip  # first

import logging
from collections.abc import Sequence
from pathlib import Path

import jax
from absl import flags

from pose3d_jax.errors import Interrupted, UserError
from pose3d_jax.evaluation import comparison
from pose3d_jax.evaluation.protocols import make_setting
from pose3d_jax.evaluation.report import FINAL_DIRECTORY, RESULTS_FILE, TABLES_FILE, write_tables
from pose3d_jax.evaluation.tables import Results, as_text
from pose3d_jax.evaluation.validation import final_results, validate
from pose3d_jax.files import write_json
from pose3d_jax.programs.flags import TRAINING, parse_config, start_jax, workdir
from pose3d_jax.programs.run import run_program
from pose3d_jax.training.directory import owned
from pose3d_jax.training.interruption import Interruption
from pose3d_jax.training.loop import Run
from pose3d_jax.training.run import check_config, set_up, train
from pose3d_jax.training.variants import (
    link_common_stages,
    parse_weights,
    variant_directory,
    variants,
)
from tfds_builders.prepare import prepare

log = logging.getLogger(__name__)

_SEEDS = flags.DEFINE_integer("seeds", 3, "Trainings of each variant.", lower_bound=1)
_LAMBDA_GEO = flags.DEFINE_list(
    "lambda_geo", [], "Compare these weights of the geometric loss in stage 3, not the methods."
)
for _flag in TRAINING:
    flags.declare_key_flag(_flag.name)  # Without it, --help would omit them.


def main(argv: Sequence[str]) -> None:
    """The program."""
    config = parse_config(argv)
    root = workdir(f"runs/{config.preset}/ablation")
    start_jax(config)
    if jax.process_count() > 1:
        raise UserError("ablate runs on one host; use pose3d_jax.train to train on several.")
    weights = parse_weights(_LAMBDA_GEO.value, config.last_stage)
    for variant in variants(config, config.seed, weights).values():
        check_config(variant)  # All of them before the first is trained.
    results: dict[str, list[Results]] = {}
    runs: dict[str, Run] = {}
    # Variants share stages: two processes must not train them at once.
    with Interruption() as interruption, owned(root):
        for seed in range(config.seed, config.seed + _SEEDS.value):
            for name, variant in variants(config, seed, weights).items():
                directory = variant_directory(root, name, seed)
                log.info("%s, seed %d, in %s", name, seed, directory)
                link_common_stages(directory, variant)
                run = set_up(variant, directory, prepare)
                train(run, interruption, validate)
                results.setdefault(name, []).append(final_results(run, run.stages[-1]))
                runs.setdefault(name, run)
                if stop := interruption.asked(collectively=False):
                    raise Interrupted(stop, f"stopped after {name}; rerun the command to resume")
                jax.clear_caches()  # The programs of finished variants need memory.
    report(root, runs, results, weights)


def report(
    root: Path, runs: dict[str, Run], results: dict[str, list[Results]], weights: Sequence[float]
) -> None:
    """Prints and writes the tables and pictures of all variants.

    Args:
        root: directory of the ablation.
        runs: each variant's run of the first seed.
        results: each variant's results by seed.
        weights: of the geometric loss, where they are compared.
    """
    out = root / ("lambda_geo" if weights else "methods")
    out.mkdir(exist_ok=True)
    write_json(out / RESULTS_FILE, results)
    tables = comparison.comparison_tables(results)
    write_tables(out / TABLES_FILE, tables)
    run = next(iter(runs.values()))
    config, last = run.config, run.stages[-1]
    of_first_seed = {name: run.workdir / last.name / FINAL_DIRECTORY for name, run in runs.items()}
    settings = [
        make_setting(config, dataset, with_depth=last.with_depth)
        for dataset in next(iter(results.values()))[0]["data"]
    ]
    comparison.draw_comparison(out, of_first_seed, settings)
    if weights:
        comparison.draw_sweep(out, results, weights)
    log.info("results in %s:\n\n%s\n", out, "\n\n".join(map(as_text, tables)))


if __name__ == "__main__":
    run_program(main)
