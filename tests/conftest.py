"""Set before JAX starts: virtual devices, a compilation cache, and quick property tests."""

import os

import hypothesis
import pytest
from absl.flags import FLAGS
from jaxtyping import install_import_hook

#: Enough for the tests that spread a batch over devices.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
).strip()
# Tests call programs' `main`; their flags have the defaults.
FLAGS.mark_as_parsed()
# Signatures hold, shapes and dtypes too, wherever a test calls something of ours in this process.
install_import_hook(["pose3d_jax", "tfds_builders"], "type_checks.check")
# Tests draw the same examples every time: a failure is the change's, never the day's.
hypothesis.settings.register_profile("quick", max_examples=20, deadline=None, derandomize=True)
hypothesis.settings.load_profile("quick")


def pytest_collection_modifyitems(items):
    """Begins with the longest file, so that the workers end at about the same time."""
    items.sort(key=lambda item: item.path.name != "test_train.py")


@pytest.fixture(scope="module")
def compile_quickly():
    """For modules whose programs run a few times each: optimising them would take longest."""
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A few records of the built-in synthetic benchmark, prepared as users prepare it."""
    from tfds_builders.prepare import prepare

    directory = tmp_path_factory.mktemp("data")
    for name in ("synthetic/lab_tiny", "synthetic/wild_tiny"):
        prepare(name, directory, limit=32)
    return directory


@pytest.fixture(scope="module")
def read_in_process():
    """Official files are read in the tests' process, which is faster; `test_untrusted` isolates."""
    from tfds_builders.human36m import sequence
    from tfds_builders.lsp import annotations as lsp
    from tfds_builders.mpii import annotations as mpii

    with pytest.MonkeyPatch.context() as patch:
        for module in (sequence, lsp, mpii):
            patch.setattr(module, "read_isolated", lambda reader, path, **_: reader(str(path)))
        yield
