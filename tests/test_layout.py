"""The architecture: which part may import which, and how long a program may be."""

import ast
import importlib
import re
import subprocess
from pathlib import Path

import pytest
from absl.flags import FLAGS

ROOT = Path(__file__).parent.parent
PROGRAMS = ("train", "evaluate", "predict", "convert", "export", "ablate", "train_heads")


def modules() -> dict[str, Path]:
    files = [
        path for folder in ("pose3d_jax", "tfds_builders") for path in (ROOT / folder).rglob("*.py")
    ]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in files}


def imports(path: Path, *, everywhere: bool) -> set[str]:
    """Names of modules, and of what is imported from them."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if everywhere else tree.body
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_builders_import_the_package_and_not_the_other_way_round():
    for name, path in modules().items():
        for imported in imports(path, everywhere=True):
            assert imported.split(".")[0] != "configs", name
            if name.startswith("pose3d_jax") and imported.split(".")[0] == "tfds_builders":
                assert name in ("pose3d_jax.train", "pose3d_jax.ablate"), (
                    f"{name} imports {imported}"
                )


def test_benchmarks_import_no_tests():
    own = {path.stem for path in (ROOT / "tests").glob("*.py")} | {"tests"}
    for path in (ROOT / "benchmarks").glob("*.py"):
        assert not own & {name.split(".")[0] for name in imports(path, everywhere=True)}, path


def test_nothing_imports_a_program():
    programs = {f"pose3d_jax.{name}" for name in PROGRAMS}
    for name, path in modules().items():
        assert not programs & imports(path, everywhere=True), name


def test_imports_make_no_circle():
    files = modules()
    graph = {name: imports(path, everywhere=False) & files.keys() for name, path in files.items()}
    while leaves := [name for name, needed in graph.items() if not needed & graph.keys()]:
        for name in leaves:
            del graph[name]
    assert not graph, f"a circle among {sorted(graph)}"


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_is_flags_and_an_outline(name):
    assert len((ROOT / "pose3d_jax" / f"{name}.py").read_text().splitlines()) < 150


@pytest.mark.parametrize("name", ["test", "lint", "docs", "demo"])
def test_the_makefiles_commands_are_those_of_the_documents(name):
    found = subprocess.run([ROOT / ".ci" / "command", name], capture_output=True, text=True)
    assert found.stdout.startswith("python3 -m venv .venv && ") and found.returncode == 0
    documents = "".join((ROOT / file).read_text() for file in ("README.md", "CONTRIBUTING.md"))
    assert f"<!-- command: {name} -->\n```bash\n{found.stdout.strip()}\n```" in documents


def test_each_journey_of_the_architecture_page_has_at_most_ten_files():
    page = (ROOT / "docs" / "architecture.md").read_text()
    journeys = page.split("## Four journeys")[1].split("### ")[1:]
    assert len(journeys) == 4
    for journey in journeys:
        files = re.findall(r"^\d+\. `([^`]+)`", journey, flags=re.MULTILINE)
        assert len(files) <= 10
        assert files and all((ROOT / name).is_file() for name in files)


@pytest.mark.parametrize(
    ("name", "shared"),
    [
        ("predict", {"checkpoint", "out", "batch_size", "flip", "compilation_cache"}),
        ("evaluate", {"checkpoint", "out", "batch_size", "flip", "data_dir"}),
        ("train", {"config", "workdir", "coordinator"}),
        ("ablate", {"config", "workdir", "lambda_geo"}),
    ],
)
def test_help_lists_the_flags_that_programs_share(name, shared):
    module = importlib.import_module(f"pose3d_jax.{name}")
    assert shared <= {flag.name for flag in FLAGS.get_key_flags_for_module(module)}


def test_programs_can_be_imported_together():
    """Flags that two programs define by the same name would collide."""
    for name in PROGRAMS:
        importlib.import_module(f"pose3d_jax.{name}")
