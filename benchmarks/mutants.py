"""Mutation tests of the numerical core: `python -m benchmarks.mutants [FILE …] [--sample N]`.

Each mutant is one small change of a source file, made with the operators of Cosmic Ray. A mutant
whose file's tests still pass has survived: a wrong result that no test would notice, or a change
that changes nothing. Files are mutated in a temporary copy of the repository, and the tests of each
mutant run in a fork of a process that has imported the libraries. Prints the survivors and a table.
"""

import ast
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from absl import app, flags

_OUT = flags.DEFINE_string("out", "runs/mutants", "Directory of the results, a file per module.")
_SAMPLE = flags.DEFINE_integer(
    "sample", None, "Test this many mutants of each file, drawn with a fixed seed.", lower_bound=1
)

#: Source file → its tests, the quickest first: the first failure ends a mutant.
MODULES = {
    "pose3d_jax/losses.py": ["tests/test_losses.py"],
    "pose3d_jax/metrics.py": ["tests/test_metrics.py"],
    "pose3d_jax/geometry.py": ["tests/test_geometry.py"],
    "pose3d_jax/heatmaps.py": ["tests/test_heatmaps.py"],
    "pose3d_jax/skeleton.py": ["tests/test_skeleton.py", "tests/test_losses.py"],
    "pose3d_jax/stages.py": ["tests/test_stages.py", "tests/test_presets.py"],
    "pose3d_jax/presets/official.py": ["tests/test_presets.py", "tests/test_stages.py"],
    "pose3d_jax/presets/photographs.py": ["tests/test_presets.py", "tests/test_stages.py"],
    "pose3d_jax/presets/rendered.py": ["tests/test_presets.py", "tests/test_stages.py"],
    "pose3d_jax/evaluation/protocols.py": ["tests/test_measures.py"],
    "pose3d_jax/evaluation/scores.py": ["tests/test_measures.py"],
    "pose3d_jax/images/crop.py": ["tests/test_augment.py"],
    "pose3d_jax/data/examples.py": ["tests/test_augment.py"],
    "pose3d_jax/training/steps.py": ["tests/test_train_step.py", "tests/test_loop.py"],
    "tfds_builders/lsp/annotations.py": ["tests/test_lsp.py"],
    "tfds_builders/mpii/annotations.py": ["tests/test_mpii.py"],
    "tfds_builders/human36m/release.py": ["tests/test_human36m.py"],
}
#: Cosmic Ray's operators that are used: for arithmetic, one replacement of each kind.
OPERATORS = [
    f"core/ReplaceBinaryOperator_{pair}"
    for pair in ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "Pow_Mul", "BitAnd_BitOr",
                 "BitOr_BitAnd", "FloorDiv_Div", "Mod_Mul")
] + [
    f"core/ReplaceComparisonOperator_{pair}"
    for pair in ("Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Lt_Gt", "LtE_GtE", "Gt_Lt", "GtE_LtE",
                 "Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is")
] + [
    f"core/{name}"
    for name in ("ReplaceUnaryOperator_USub_UAdd", "ReplaceUnaryOperator_Delete_USub",
                 "ReplaceUnaryOperator_Delete_Invert", "ReplaceUnaryOperator_Delete_Not",
                 "AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr",
                 "ReplaceOrWithAnd", "NumberReplacer", "ZeroIterationForLoop")
]  # fmt: skip
#: Imported before the forks, so that each test run starts at once.
LIBRARIES = ("jax", "jax.numpy", "flax.nnx", "optax", "hypothesis", "pytest", "scipy.spatial",
             "beartype", "ml_collections", "grain", "jaxtyping", "PIL.Image")  # fmt: skip
#: A mutant that takes this many times as long as the original, and a minute, is killed.
TIME_FACTOR = 4


class Mutant(NamedTuple):
    """A change of one file.

    Attributes:
        line: of the change, from 1.
        operator: of Cosmic Ray.
        occurrence: the change is at this place of all those of the operator.
    """

    line: int
    operator: str
    occurrence: int

    def apply(self, source: str) -> str:
        """The changed file."""
        from cosmic_ray.mutating import mutate_code
        from cosmic_ray.plugins import get_operator

        return mutate_code(source, get_operator(self.operator)(), self.occurrence)


def mutants(source: str) -> list[Mutant]:
    """All mutants of a file, except those of annotations, which compute nothing."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator

    ignored = [
        (node.lineno, node.col_offset, node.end_lineno, node.end_col_offset)
        for parent in ast.walk(ast.parse(source))
        for node in (getattr(parent, "annotation", None), getattr(parent, "returns", None))
        if node is not None
    ]

    def is_annotation(place: tuple[int, int]) -> bool:
        return any(start[:2] <= place < start[2:] for start in ignored)

    nodes = list(ast_nodes(get_ast(source)))
    found = []
    for name in OPERATORS:
        operator = get_operator(name)()
        places = [start for node in nodes for start, _ in operator.mutation_positions(node)]
        found += [
            Mutant(place[0], name, occurrence)
            for occurrence, place in enumerate(places)
            if not is_annotation(place)
        ]
    return found


def run_tests(tests: list[str], timeout: float) -> str:
    """Runs tests in a fork: "passed", "failed" or "timeout"."""
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        import pytest

        os._exit(int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests])))
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "passed" if status == 0 else "failed"
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout"


def test_module(name: str, tests: list[str]) -> dict:
    """Tests all mutants of a file; the working directory is a copy of the repository."""
    path = Path(name)
    source = path.read_text()
    start = time.monotonic()
    if run_tests(tests, 1800) != "passed":
        raise SystemExit(f"error: the tests of {name} fail without a mutant: {' '.join(tests)}")
    timeout = 60 + TIME_FACTOR * (time.monotonic() - start)
    chosen = everything = mutants(source)
    if _SAMPLE.value and _SAMPLE.value < len(everything):
        chosen = random.Random(0).sample(everything, _SAMPLE.value)
    survivors = []
    try:
        for mutant in chosen:
            code = mutant.apply(source)
            path.write_text(code)
            if run_tests(tests, timeout) == "passed":
                changed = code.splitlines()[mutant.line - 1].strip()
                survivors.append(f"{name}:{mutant.line}: {changed}")
                print(survivors[-1], flush=True)
    finally:
        path.write_text(source)
    return {
        "mutants": len(everything),
        "tested": len(chosen),
        "survivors": survivors,
        "seconds": time.monotonic() - start,
    }


def main(argv) -> None:
    """The program."""
    chosen = {name: MODULES[name] for name in argv[1:]} or MODULES
    out = Path(_OUT.value).absolute()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as copy:
        ignore = shutil.ignore_patterns(".git", "runs", "__pycache__", ".*_cache")
        shutil.copytree(".", copy, ignore=ignore, dirs_exist_ok=True)
        os.chdir(copy)
        sys.path.insert(0, copy)
        sys.dont_write_bytecode = True
        # Most programs are those of the original: they are compiled once for all mutants.
        os.environ["JAX_COMPILATION_CACHE_DIR"] = f"{copy}/compiled"
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
        for library in LIBRARIES:
            importlib.import_module(library)
        for name, tests in chosen.items():
            result = test_module(name, tests)
            (out / f"{name.replace('/', '.')}.json").write_text(json.dumps(result, indent=1))
            survived = len(result["survivors"])
            print(
                f"| `{name}` | {result['mutants']} | {result['tested']} | {survived} |", flush=True
            )


if __name__ == "__main__":
    app.run(main)
