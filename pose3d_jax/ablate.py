"""Trains and compares the four methods of Sec. 4.1.3, or weights of the geometric loss.

`python -m pose3d_jax.ablate --config configs/stage3.py[:preset] [--seeds N] [--lambda_geo 0,0.1,…]`

Every seed has a directory, and in it every variant one like those of `pose3d_jax.train`. Variants
share the stages that they have in common: these are trained once, and linked. Each is evaluated as
`pose3d_jax.evaluate` does; the tables of all, mean ± standard deviation over the seeds, are printed
and kept in `methods/` or `lambda_geo/`, with pictures. Rerun the command to resume. The flags of
`pose3d_jax.train` hold here too.
"""

import pose3d_jax.programs.memory  # isort: skip  # before NumPy
import pose3d_jax.programs.needs_train  # noqa: F401  # isort: skip

import logging
from collections.abc import Sequence
from pathlib import Path

import jax
import ml_collections
from absl import flags

from pose3d_jax.errors import Interrupted, UserError
from pose3d_jax.evaluation import comparison
from pose3d_jax.evaluation.protocols import make_setting
from pose3d_jax.evaluation.report import FINAL_DIRECTORY, RESULTS_FILE, TABLES_FILE, write_tables
from pose3d_jax.evaluation.tables import Results, as_text
from pose3d_jax.evaluation.validation import final_results, validate
from pose3d_jax.files import write_json
from pose3d_jax.programs import training_flags
from pose3d_jax.programs.built_in import prepare_if_built_in
from pose3d_jax.programs.run import run_program
from pose3d_jax.programs.training_flags import parse, start_jax, workdir
from pose3d_jax.stages import get_stage
from pose3d_jax.training.directory import owned
from pose3d_jax.training.interruption import Interruption
from pose3d_jax.training.run import check_config, open_domains, train
from pose3d_jax.training.variants import (
    directory_of,
    link_common_stages,
    parse_weights,
    variants,
)
from tfds_builders.prepare import prepare

log = logging.getLogger(__name__)

flags.adopt_module_key_flags(training_flags)  # Or --help would leave them out.

_SEEDS = flags.DEFINE_integer("seeds", 3, "Trainings of each variant.", lower_bound=1)
_LAMBDA_GEO = flags.DEFINE_list(
    "lambda_geo", [], "Compare these weights of the geometric loss in stage 3, not the methods."
)


def main(argv: Sequence[str]) -> None:
    """The program."""
    config = parse(argv)
    start_jax(config)
    if jax.process_count() > 1:
        raise UserError("ablate runs on one host; several train one variant with pose3d_jax.train.")
    place = workdir(f"runs/{config.preset}/ablation")
    weights = parse_weights(_LAMBDA_GEO.value, config.last_stage)
    for variant in variants(config, config.seed, weights).values():
        check_config(variant)
    prepare_if_built_in(config, prepare)
    open_domains(config)
    results: dict[str, list[Results]] = {}
    # Variants share stages: two processes must not train them at once.
    with Interruption() as interruption, owned(place):
        for seed in range(config.seed, config.seed + _SEEDS.value):
            for name, variant in variants(config, seed, weights).items():
                directory = directory_of(place, name, seed)
                log.info("%s, seed %d, in %s", name, seed, directory)
                link_common_stages(directory, variant)
                run = train(variant, directory, interruption, validate)
                last = get_stage(variant, variant.last_stage)
                results.setdefault(name, []).append(final_results(run, last))
                if stop := interruption.asked(collectively=False):
                    raise Interrupted(stop, f"stopped after {name}; rerun the command to go on")
                jax.clear_caches()  # Or the programs of all of them would pile up.
    report(config, place, results, weights)


def report(
    config: ml_collections.ConfigDict,
    place: Path,
    results: dict[str, list[Results]],
    weights: Sequence[float],
) -> None:
    """Prints and keeps the tables and pictures of all variants."""
    out = place / ("lambda_geo" if weights else "methods")
    out.mkdir(exist_ok=True)
    write_json(out / RESULTS_FILE, results)
    tables = comparison.comparison_tables(results)
    write_tables(out / TABLES_FILE, tables)
    last = get_stage(config, config.last_stage)
    of_first_seed = {
        name: directory_of(place, name, config.seed) / last.name / FINAL_DIRECTORY
        for name in results
    }
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
