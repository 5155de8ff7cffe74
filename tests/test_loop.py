"""The training loop: warnings, errors, and interrupted evaluations."""

import logging
import signal
from types import SimpleNamespace
from unittest.mock import Mock

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import FrozenConfigDict

from pose3d_jax import presets
from pose3d_jax.checkpoints.stage import StageCheckpoints
from pose3d_jax.data.sources import Domain
from pose3d_jax.errors import Interrupted, UserError
from pose3d_jax.stages import get_stage
from pose3d_jax.training import loop
from pose3d_jax.training.interruption import Interruption
from pose3d_jax.training.loop import Run, batches, collect, finite_means, iterate, warn_of_collapse
from pose3d_jax.training.progress import MetricsLog
from pose3d_jax.training.state import TrainState


@pytest.mark.parametrize(
    ("means", "warns"),
    [
        ({"bone_ratio_lab": 1.07, "bone_ratio_wild": 1.20}, False),
        ({"bone_ratio_lab": 1.16, "bone_ratio_wild": 1.41}, True),  # depths of a zigzag
        ({"bone_ratio_lab": 1.50, "bone_ratio_wild": 1.00}, True),  # no depth in the wild
        ({"bone_ratio_lab": 1.07}, False),  # lab images alone
        ({"heatmap_loss": 0.001}, False),
    ],
)
def test_a_bone_ratio_far_from_the_labs_is_a_warning(caplog, means, warns):
    with caplog.at_level(logging.WARNING):
        warn_of_collapse(means)
    assert [("collapsing" in record.message) for record in caplog.records] == [True] * warns


STEPS = 6


@pytest.fixture
def iterated(monkeypatch, tmp_path):
    """Runs the loop of a stage whose steps compute nothing, from a given iteration on.

    Returns the iterations that were scored and those whose modes were compared.
    """
    config = presets.experiment(1, "tiny")
    config.stages.stage1.steps = STEPS
    config.run.update({"evaluate_every": 2, "save_every": 2, "log_every": 1})
    config = FrozenConfigDict(config)
    stage = get_stage(config, 1)
    run = Run(config, (stage,), tmp_path, {}, 64, None, None)
    scalars = {"loss": np.float32(1), "update_norm": np.float32(1)}
    scalars |= {"bone_ratio_lab": np.float32(1.1), "bone_ratio_wild": np.float32(1.6)}
    monkeypatch.setattr(loop, "replicate", lambda state: state)
    monkeypatch.setattr(loop, "split_over_devices", lambda batch: batch)
    monkeypatch.setattr(loop, "batches", lambda *_: iter([None] * STEPS))
    monkeypatch.setattr(
        loop, "make_train_step",
        lambda *_: lambda state, *_: (state._replace(step=state.step + 1), scalars),
    )  # fmt: skip

    def compare(run, stage, state, metrics):
        compared.append(int(state.step))
        metrics.write(stage.steps, {loop.MODES: 1.0})

    monkeypatch.setattr(loop, "compare_modes", compare)
    scored, compared, saved = [], [], []
    checkpoints = Mock(
        spec=StageCheckpoints,
        save=lambda step, state: saved.append(step),
        wait=lambda: None,
        steps=lambda: saved,
    )

    def validate(run, stage, state, step, metrics):
        assert int(state.step) == step
        if not metrics.has(step, "lab-test "):
            scored.append(step)
            metrics.write(step, {"lab-test MPJPE": 1.0})

    def go(start, interruption=None, lambda_geo=0.0):
        scored.clear(), compared.clear()
        state = TrainState(np.int32(start), None, None, None)
        with MetricsLog(tmp_path, start) as metrics:
            asked = interruption or Mock(spec=Interruption, asked=lambda collectively: 0)
            chosen = stage._replace(lambda_geo=lambda_geo)
            iterate(run, chosen, state, checkpoints, metrics, asked, validate)
        return list(scored), list(compared)

    return go


def test_a_stage_is_evaluated_at_the_configured_steps(iterated):
    assert iterated(0) == ([2, 4, 6], [6])


def test_an_evaluation_interrupted_after_the_last_checkpoint_runs_once_on_resume(iterated):
    assert iterated(STEPS) == ([6], [6])
    assert iterated(STEPS) == ([], [])


def test_an_evaluation_interrupted_in_mid_stage_runs_on_resume(iterated):
    assert iterated(4) == ([4, 6], [6])
    assert iterated(4) == ([6], [6])  # Steps after the checkpoint are repeated.


def test_a_stop_before_an_evaluation_leaves_it_to_the_next_run(iterated):
    def asked(collectively):
        return signal.SIGTERM

    with pytest.raises(Interrupted, match=r"iteration 4 .* rerun the command to resume"):
        iterated(3, Mock(spec=Interruption, asked=asked))
    assert iterated(4) == ([4, 6], [6])


def test_a_stop_during_the_last_evaluation_ends_the_run(iterated):
    answers = iter([0, signal.SIGTERM])
    asked = Mock(spec=Interruption, asked=lambda collectively: next(answers))
    with pytest.raises(Interrupted, match="stopped at the end of stage1"):
        iterated(STEPS - 1, asked)
    assert iterated(STEPS) == ([], [])


@pytest.mark.parametrize("lambda_geo", [0.0, 0.01])
def test_only_a_stage_with_the_geometric_loss_warns_of_its_collapse(iterated, caplog, lambda_geo):
    iterated(STEPS - 1, lambda_geo=lambda_geo)
    assert ("collapsing" in caplog.text) == (lambda_geo > 0)


@pytest.mark.parametrize("number", Interruption.SIGNALS)
def test_a_signal_is_recorded_and_a_second_one_terminates(number):
    before = signal.getsignal(number)
    with Interruption() as interruption:
        assert interruption.asked(collectively=False) == 0
        signal.raise_signal(number)
        assert interruption.asked(collectively=False) == number
        assert signal.getsignal(number) == before


@pytest.mark.parametrize("split", ["train", "test"])
def test_no_depth_of_a_wild_record_is_trained_on(split, monkeypatch, tmp_path):
    record = {"has_3d": True, "joints_3d": np.ones((16, 3), np.float32)}
    domains = {name: Domain(name, [record], [record], 64, 4000.0) for name in ("lab", "wild")}
    config = FrozenConfigDict(presets.experiment(3, "tiny"))
    run = Run(config, (), tmp_path, domains, 64, None, None)
    monkeypatch.setattr(loop, "training_batches", lambda sources, **_: iter(sources))
    lab, wild = (source[0] for source in batches(run, get_stage(config, 3), split))
    assert lab["has_3d"] and lab["joints_3d"].all()
    assert not wild["has_3d"] and not wild["joints_3d"].any()


def test_a_mean_is_of_the_batches_that_have_the_scalar():
    row = {"loss": 1.0, "update_norm": 1.0}
    pending = [row | {"bone_ratio_wild": ratio} for ratio in (np.nan, 1.2, np.nan, 1.0)]
    means = finite_means([scalars | {"depth_loss": np.nan} for scalars in pending])
    assert means == row | {"bone_ratio_wild": pytest.approx(1.1)}


def test_a_loss_that_is_not_finite_stops_the_run_and_names_its_records(tmp_path):
    config = presets.experiment(1, "tiny")
    config.data.batch_size = 2
    config = FrozenConfigDict(config)
    stage = get_stage(config, 1)
    records = [{"image_id": f"wild {i}".encode()} for i in range(4)]
    run = Run(config, (stage,), tmp_path, {"wild": SimpleNamespace(train=records)}, 64, None, None)
    pending = [{"loss": jnp.float32(loss), "update_norm": jnp.float32(1)} for loss in (1, np.nan)]
    checkpoints = Mock(spec=StageCheckpoints, steps=lambda: [4], directory=tmp_path)
    with pytest.raises(UserError) as caught:
        collect(run, stage, pending, 7, checkpoints)
    message = str(caught.value)
    assert "not finite in iteration 7 of stage1" in message
    assert message.split("Its records:")[1].count("wild ") == 2
    assert "that of iteration 4" in message and "stage1.learning_rate" in message
