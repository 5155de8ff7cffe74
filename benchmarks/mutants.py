"""Mutation tests of the numerical core: `python -m benchmarks.mutants [FILE …] [--sample N]`.

Each mutant of Cosmic Ray is one small change of a source file. A mutant whose file's tests still
pass has survived: a wrong result that no test would notice, or a change that changes nothing. Files
are mutated in a temporary copy of the repository. Prints the survivors and a table; `cr-report` and
`cr-html` read the sessions, one per file, in `--out`.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.testing import run_tests
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome

#: Source file → its tests, the quickest first: the first failure ends a mutant.
MODULES = {
    "pose3d_jax/losses.py": "tests/test_losses.py",
    "pose3d_jax/metrics.py": "tests/test_metrics.py",
    "pose3d_jax/geometry.py": "tests/test_geometry.py",
    "pose3d_jax/heatmaps.py": "tests/test_heatmaps.py",
    "pose3d_jax/skeleton.py": (
        "tests/test_skeleton.py tests/test_metrics.py tests/test_geometry.py tests/test_losses.py"
    ),
    "pose3d_jax/stages.py": "tests/test_stages.py tests/test_presets.py",
    "pose3d_jax/presets/__init__.py": "tests/test_presets.py tests/test_stages.py",
    "pose3d_jax/presets/checks.py": "tests/test_directory.py",
    "pose3d_jax/presets/config_file.py": "tests/test_command.py",
    "pose3d_jax/presets/official.py": "tests/test_presets.py tests/test_stages.py",
    "pose3d_jax/presets/photographs.py": "tests/test_presets.py tests/test_stages.py",
    "pose3d_jax/presets/rendered.py": "tests/test_presets.py tests/test_stages.py",
    "pose3d_jax/evaluation/protocols.py": "tests/test_measures.py",
    "pose3d_jax/evaluation/scores.py": "tests/test_measures.py",
    "pose3d_jax/images/crop.py": (
        "tests/test_prepare_crop.py tests/test_augment.py tests/test_inference.py"
    ),
    "pose3d_jax/data/examples.py": "tests/test_augment.py tests/test_clutter.py",
    "pose3d_jax/data/clutter.py": "tests/test_clutter.py",
    "pose3d_jax/data/framing.py": "tests/test_framing.py",
    "pose3d_jax/models/detector.py": "tests/test_detector.py",
    "pose3d_jax/models/inference.py": "tests/test_inference.py",
    "pose3d_jax/models/lifting.py": "tests/test_detector.py",
    "pose3d_jax/prediction/batching.py": "tests/test_inference.py",
    "pose3d_jax/prediction/calibration.py": "tests/test_calibration.py",
    "pose3d_jax/prediction/detection.py": "tests/test_detection.py",
    "pose3d_jax/training/steps.py": "tests/test_steps.py tests/test_train_step.py",
    "tfds_builders/lsp/annotations.py": "tests/test_lsp.py",
    "tfds_builders/mpii/annotations.py": "tests/test_mpii.py",
    "tfds_builders/human36m/release.py": "tests/test_human36m.py",
    "tfds_builders/mpi_inf_3dhp/mpi_inf_3dhp_dataset_builder.py": "tests/test_mpi_inf_3dhp.py",
}
#: Ends of the names of Cosmic Ray's operators: for arithmetic, one replacement of each kind.
OPERATORS = (
    "Add_Sub", "Sub_Add", "Mul_Div", "_Div_Mul", "Pow_Mul", "BitAnd_BitOr", "BitOr_BitAnd",
    "FloorDiv_Div", "Mod_Mul", "_Lt_LtE", "LtE_Lt", "_Gt_GtE", "GtE_Gt", "_Lt_Gt", "LtE_GtE",
    "_Gt_Lt", "GtE_LtE", "_Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is", "USub_UAdd",
    "Delete_USub", "Delete_Invert", "Delete_Not", "AddNot", "ReplaceTrueWithFalse",
    "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd", "NumberReplacer",
    "ZeroIterationForLoop",
)  # fmt: skip


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", metavar="FILE", help=f"of {', '.join(MODULES)}")
    parser.add_argument("--sample", type=int, help="mutants of each file, drawn with a fixed seed")
    parser.add_argument("--out", type=Path, default=Path("runs/mutants"))
    options = parser.parse_args()
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    print("| file | mutants | tested | survived |\n| --- | ---: | ---: | ---: |", flush=True)
    with tempfile.TemporaryDirectory() as copy:
        ignore = shutil.ignore_patterns(".git", "runs", "__pycache__", ".*_cache")
        shutil.copytree(".", copy, ignore=ignore, dirs_exist_ok=True)
        os.chdir(copy)
        # Most programs are those of the original: they are compiled once for all mutants.
        os.environ |= {
            "PYTHONPATH": copy,
            "JAX_COMPILATION_CACHE_DIR": f"{copy}/compiled",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        for name in options.files or MODULES:
            row = test_file(Path(name), out / f"{name.replace('/', '.')}.sqlite", options.sample)
            print(f"| `{name}` | {' | '.join(map(str, row))} |", flush=True)


def test_file(path: Path, session: Path, sample: int | None) -> tuple[int, int, int]:
    """Tests mutants of a file; returns how many there are, were tested, and survived."""
    command = f"{sys.executable} -m pytest -x -q -p no:cacheprovider {MODULES[str(path)]}"
    start = time.monotonic()
    outcome, output = run_tests(command, timeout=1800)
    if outcome != TestOutcome.SURVIVED:
        raise SystemExit(f"error: the tests of {path} fail without a mutant:\n{output}")
    timeout = 60 + 4 * (time.monotonic() - start)
    survivors = []
    with use_db(str(session), WorkDB.Mode.create) as database:
        init([path], database, {})
        mutants = {
            (mutation.operator_name, mutation.occurrence): item
            for item in database.pending_work_items
            for mutation in item.mutations
            if mutation.operator_name.endswith(OPERATORS)
        }
        chosen = random.Random(0).sample(sorted(mutants), min(sample or 10**9, len(mutants)))
        for item in map(mutants.get, chosen):
            result = mutate_and_test(item.mutations, command, timeout)
            database.set_result(item.job_id, result)
            if not result.is_killed:
                survivors.append(item)
                print(result.diff or result.output, flush=True)
    return len(mutants), len(chosen), len(survivors)


if __name__ == "__main__":
    main()
