"""Set before JAX starts: virtual devices, a compilation cache, and quick property tests."""

import contextlib
import fcntl
import os
import sys

import hypothesis
import jaxlib
import pytest
from absl.flags import FLAGS
from jaxtyping import install_import_hook

os.environ |= {
    # Enough for the tests that spread a batch over devices.
    "JAX_NUM_CPU_DEVICES": "8",
    # Programs that run a few times take longer to optimise than to run; see `optimised`.
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    # What takes less than a second to compile is kept as well.
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
}
if jaxlib.version.__version_info__ < (0, 11):  # A flag that XLA does not know ends the process.
    # Half the time to compile.
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false"
    os.environ["XLA_FLAGS"] = flags.strip()
# Tests call programs' `main`; their flags have the defaults.
FLAGS.mark_as_parsed()
# Signatures hold, shapes and dtypes too, wherever a test calls something of ours in this process.
install_import_hook(["pose3d_jax", "tfds_builders"], "type_checks.check")
# Tests draw the same examples every time: a failure is the change's, never the day's.
hypothesis.settings.register_profile("quick", max_examples=20, deadline=None, derandomize=True)
hypothesis.settings.load_profile("quick")

#: The files that take longest, first, so that the workers end at about the same time.
LONGEST = ("train", "train_step", "evaluate", "hosts", "notebook", "inference", "prepare")


def pytest_configure(config):
    config.option.loadscopereorder = False  # pytest-xdist would begin with the most tests.


def pytest_collection_modifyitems(items):
    order = {f"test_{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.fixture(scope="session", autouse=True)
def in_process():
    """Untrusted files are read in the tests' process: to start another takes half a second.

    Yields the function that starts one, for `isolated`.
    """
    from pose3d_jax import untrusted

    def read_here(reader, path, **_):
        untrusted.check_file(path)
        return reader(str(path))

    original = untrusted.read_isolated
    with pytest.MonkeyPatch.context() as patch:
        read_by(read_here, patch)
        yield original


@pytest.fixture
def isolated(in_process, monkeypatch):
    """Untrusted files are read in processes of their own, as users' programs do."""
    read_by(in_process, monkeypatch)


def read_by(function, patch):
    for name, module in list(sys.modules.items()):
        if name.startswith(("pose3d_jax", "tfds_builders")) and "read_isolated" in vars(module):
            patch.setattr(module, "read_isolated", function)


@pytest.fixture(scope="session")
def shared_dir(tmp_path_factory):
    """A directory of this session, the same for all its workers."""
    directory = tmp_path_factory.getbasetemp()
    return directory.parent if "PYTEST_XDIST_WORKER" in os.environ else directory


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(shared_dir):
    """Tests, and programs that they start, compile each program once."""
    import jax

    directory = os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(shared_dir / "compiled"))
    jax.config.update("jax_compilation_cache_dir", directory)


@contextlib.contextmanager
def optimisation():
    import jax

    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="module")
def optimised():
    """For modules whose programs run long, or that test what optimised programs compute."""
    with optimisation():
        yield


@pytest.fixture(scope="session")
def data_dir(shared_dir):
    """A few records of the built-in synthetic benchmark, prepared as users prepare it.

    Where several workers run the tests, the first that needs them prepares them for all.
    """
    import programs

    from tfds_builders.prepare import prepare
    from tfds_builders.synthetic import generate

    directory = shared_dir / "data"
    with (
        optimisation(),
        pytest.MonkeyPatch.context() as patch,
        open(shared_dir / "lock", "w") as lock,
    ):
        patch.setattr(generate, "CHUNK", 2)  # No item of so few records has more.
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in ("synthetic/lab_tiny", "synthetic/wild_tiny"):
            prepare(name, directory, limit=programs.RECORDS)
    generate._compile.cache_clear()
    return directory


@pytest.fixture(scope="module")
def in_float32():
    """`auto` is float32 on any CPU: bfloat16 does not keep the last digits between batch sizes."""
    from pose3d_jax.models import precision

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "has_onednn", lambda: False)
        yield
