"""The curriculum as the paper and its release have it, and what its numbers mean at a step."""

import runpy

import ml_collections
import pytest

from pose3d_jax import presets
from pose3d_jax.errors import UserError
from pose3d_jax.stages import (
    METHODS,
    get_stage,
    method_directory,
    planned_stages,
    same_stages,
)
from pose3d_jax.training.state import learning_rate

LAB, WILD = "lab", "wild"


@pytest.fixture
def paper():
    return presets.experiment(3, "paper")


def test_the_papers_schedule(paper):
    stages = [get_stage(paper, number) for number in (1, 2, 3)]
    assert [stage.steps for stage in stages] == [240_000, 200_000, 40_000]
    assert [stage.lambda_reg for stage in stages] == [0, 0.1, 0.1]
    assert [stage.lambda_geo for stage in stages] == [0, 0, 0.01]
    assert [stage.with_depth for stage in stages] == [False, True, True]
    assert stages[0].domains == (WILD,)
    rates = {(1, 0): 2.5e-4, (1, 239_999): 2.5e-4, (2, 159_999): 2.5e-4, (2, 160_000): 2.5e-5,
             (2, 199_999): 2.5e-5, (3, 0): 2.5e-5}  # fmt: skip
    for (number, step), rate in rates.items():
        assert float(learning_rate(stages[number - 1])(step)) == pytest.approx(rate)


def test_stages_without_steps_are_left_out_but_the_last_needs_steps(paper):
    assert [stage.number for stage in planned_stages(paper)] == [1, 2, 3]
    paper.stages.stage2 = presets.stage()
    assert [stage.number for stage in planned_stages(paper)] == [1, 3]
    paper.stages.stage3.steps = 0
    advice = r"The last stage, stage3, has 0 steps\. Set --config\.stages\.stage3\.steps=N"
    with pytest.raises(UserError, match=advice):
        planned_stages(paper)


@pytest.mark.parametrize(
    ("method", "domains", "lambda_geo", "on_3d"),
    [
        ("3D/wo geo", (LAB,), 0, False),
        ("3D/w geo", (LAB,), 0.01, True),
        ("3D+2D/wo geo", (LAB, WILD), 0, False),
        ("3D+2D/w geo", (LAB, WILD), 0.01, False),
    ],
)
def test_the_four_methods_share_stage_1_and_differ_after(paper, method, domains, lambda_geo, on_3d):
    paper.method = method
    assert get_stage(paper, 1).domains == (WILD,)
    for number in (2, 3):
        stage = get_stage(paper, number)
        assert stage.domains == domains
        assert stage.lambda_geo == (lambda_geo if number == 3 else 0)
        assert stage.geometric_on_3d == (on_3d and number == 3)
    assert {get_stage(paper, n).steps for n in (1, 2, 3)} == {240_000, 200_000, 40_000}


def test_methods_share_the_stages_before_the_geometric_loss(paper):
    def shared(first, second):
        configs = [
            ml_collections.ConfigDict(paper.to_dict() | {"method": m}) for m in (first, second)
        ]
        return [same_stages(*configs, last) for last in (1, 2, 3)]

    assert shared("3D/wo geo", "3D/w geo") == [True, True, False]
    assert shared("3D+2D/wo geo", "3D+2D/w geo") == [True, True, False]
    assert shared("3D/w geo", "3D+2D/w geo") == [True, False, False]
    assert shared("3D/w geo", "3D/w geo") == [True, True, True]


def test_warm_up_and_cosine():
    config = presets.experiment(1, "tiny")
    config.stages.stage1.update({"steps": 100, "warmup_steps": 10, "learning_rate": 1.0})
    stage = get_stage(config, 1)
    rates = [float(learning_rate(stage)(step)) for step in range(100)]
    assert rates[:3] == pytest.approx([0.1, 0.2, 0.3], rel=0.01)
    assert max(rates) == pytest.approx(1, abs=0.03) and rates[50] == pytest.approx(0.5)
    assert rates[99] < 0.001 and rates[10:] == sorted(rates[10:], reverse=True)


def test_trapezoid():
    config = presets.experiment(1, "tiny")
    config.stages.stage1 = presets.stage(
        steps=100, learning_rate=1.0, warmup_steps=10, decay_steps=20
    )
    stage = get_stage(config, 1)
    rates = [float(learning_rate(stage)(step)) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert rates[10:81] == [1.0] * 71
    assert rates[80:] == pytest.approx([0.05 * left for left in range(20, 0, -1)])
    config.stages.stage1.steps = 200
    longer = get_stage(config, 1)
    assert [float(learning_rate(longer)(step)) for step in range(80)] == rates[:80]


def test_directories_of_methods_are_plain_names_and_different():
    names = {method_directory(method) for method in METHODS}
    assert len(names) == len(METHODS)
    assert all("/" not in name and " " not in name for name in names)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_stage_files_train_up_to_their_stage(number):
    config = runpy.run_path(f"configs/stage{number}.py")["get_config"]("tiny")
    assert config.last_stage == number and config.preset == "tiny"
    # Nothing else differs, so that work directories can be shared.
    config.last_stage = 3
    assert config.to_json() == presets.experiment(3, "tiny").to_json()


@pytest.mark.parametrize(("prepared", "preset"), [((), "tiny"), (("human36m", "mpii"), "paper")])
def test_without_a_preset_the_prepared_data_decide(monkeypatch, prepared, preset):
    monkeypatch.setattr(presets, "is_prepared", lambda name: name in prepared)
    assert presets.experiment(3).preset == preset


@pytest.mark.parametrize(("there", "missing"), [("human36m", "mpii"), ("mpii", "human36m")])
def test_half_of_the_papers_data_is_an_error_that_names_the_command(monkeypatch, there, missing):
    monkeypatch.setattr(presets, "is_prepared", lambda name: name == there)
    with pytest.raises(UserError, match=f"tfds_builders.prepare {missing} --manual_dir"):
        presets.experiment(3)
