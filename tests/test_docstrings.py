"""The examples in public docstrings run, and none is missing."""

import doctest
import importlib
import inspect

import pytest

from pose3d_jax import Predictor


def examples(module_name):
    module = importlib.import_module(module_name)
    for name, found in vars(module).items():
        own = getattr(inspect.unwrap(found), "__module__", None) == module_name
        if own and callable(found) and not name.startswith("_"):
            yield found, vars(module)


def run(documented, names):
    finder = doctest.DocTestFinder(recurse=False)
    (test,) = finder.find(documented, documented.__name__, globs=dict(names))
    assert test.examples, f"{documented.__name__} has no example"
    report = []
    doctest.DocTestRunner().run(test, out=report.append)
    assert not report, "".join(report)


@pytest.mark.parametrize("module_name", ["pose3d_jax.metrics", "pose3d_jax.losses"])
def test_every_public_function_has_an_example_that_runs(module_name):
    found = list(examples(module_name))
    assert len(found) >= 4
    for documented, names in found:
        run(documented, names)


def test_the_predictors_example_runs():
    run(Predictor, vars(inspect.getmodule(Predictor)))
