import jax
import numpy as np
import pytest
import small_checkpoint

from pose3d_jax.models.variables import flatten, make_network
from pose3d_jax.stages import get_stage
from pose3d_jax.training.state import hyperparameters, initial_state, make_optimizer
from pose3d_jax.training.steps import make_train_step


@pytest.mark.parametrize(
    ("depth_only", "trained"), [(True, {"depth"}), (False, {"depth", "stacks", "stem"})]
)
def test_which_parts_of_the_network_a_stage_changes(depth_only, trained):
    config = small_checkpoint.config()
    config.stages.stage3.depth_only = depth_only
    graphdef, variables = make_network(config)
    stage = get_stage(config, 3)
    optimizer = make_optimizer(config, stage)
    step = make_train_step(
        config,
        graphdef,
        optimizer,
        stage,
        lambda config, example, keys: example,
        devices=jax.devices()[:1],
    )
    before = flatten(variables)
    example = small_checkpoint.example(4)
    batch = jax.tree.map(lambda x: x[None] if x.dtype == bool else np.float32(x)[None], example)
    state, metrics = step(initial_state(variables, optimizer), batch, hyperparameters(stage))
    after = flatten(state.variables)
    changed = {n.split("/")[1] for n in after if not np.array_equal(before[n], after[n])}
    assert changed == trained
    whole = metrics["depth_loss"] + (0.0 if depth_only else metrics["heatmap_loss"])
    np.testing.assert_allclose(metrics["loss"], whole, rtol=1e-6)
