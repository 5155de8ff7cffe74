"""How fast the network predicts: `python -m benchmarks.forward [--batch_size 1] [--baseline none]`.

Images on the device to the last stack's heat-maps and the depths, in eval mode, ours and the
PyTorch baseline's in turn. Both have the same weights, and must agree. Ours is the network made for
prediction (`models.folding`), and for comparison the one that is trained.
"""

from benchmarks import measure  # isort: skip  # before JAX

from collections.abc import Callable

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array

from benchmarks.train_step import default_baseline
from pose3d_jax.errors import UserError
from pose3d_jax.models import precision
from pose3d_jax.models.variables import Variables, make_network
from pose3d_jax.prediction.predictor import Predictor
from pose3d_jax.skeleton import HUMAN36M_BONE_LENGTH_SUM

#: Largest difference between both networks' outputs, relative to the largest output.
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1}


def main() -> None:
    """The program."""
    parser = measure.options(__doc__, rounds=30)
    parser.add_argument("--baseline", choices=("none", "eager", "compiled", "both"))
    chosen = parser.parse_args()
    batch_size, chosen.batch_size = chosen.batch_size or 1, None
    config = measure.make_config(chosen)
    config.data.batch_size = batch_size
    side = config.model.input_side
    images = np.random.default_rng(0).random((batch_size, side, side, 3), np.float32)
    config.model.zero_init_outputs = False  # Zeros always agree.
    graphdef, variables = make_network(config, axis_name=None)
    predictor = Predictor(
        graphdef,
        variables,
        input_side=side,
        bone_length_sum=HUMAN36M_BONE_LENGTH_SUM,
        batch_size=batch_size,
    )
    on_device = jax.device_put(images)
    trained = as_trained(graphdef, variables)
    works = {
        "this repository": lambda: jax.block_until_ready(predictor.model(on_device)),
        "not folded": lambda: jax.block_until_ready(trained(on_device)),
    }
    baseline = default_baseline(chosen.baseline, compiled=True)
    for name, settings in measure.baseline_settings(baseline, config.precision.compute):
        from benchmarks import torch_baseline, torch_network

        theirs = torch_network.make_network(variables, config.model)
        works[name] = torch_baseline.make_forward(theirs, images, settings)
        check(works["this repository"](), works[name](), config.precision.compute)
    seconds = measure.alternate(works, chosen.rounds)
    measure.report("forward pass", measure.timing_rows(seconds, batch_size), config)


def as_trained(graphdef: nnx.GraphDef, variables: Variables) -> Callable[[Array], tuple]:
    """The network in evaluation mode, with batch normalisation."""

    def apply(variables, images):
        model = nnx.merge(graphdef, *variables)
        model.eval()
        return model(images)

    dtype = nnx.merge(graphdef, *variables).dtype
    apply = jax.jit(apply, compiler_options=precision.compiler_options(dtype))

    on_device = jax.device_put(variables)
    return lambda images: apply(on_device, images)


def check(ours, theirs, precision: str) -> None:
    """Compares the outputs of both networks.

    Raises:
        UserError: they differ by more than rounding.
    """
    heatmaps, depth = ours
    pairs = {"heat-maps": (heatmaps[-1], theirs[0]), "depths": (depth, theirs[1])}
    for name, (mine, tensor) in pairs.items():
        mine, other = np.asarray(mine), tensor.float().cpu().numpy()
        error = np.abs(mine - other).max() / np.abs(other).max()
        if not error < TOLERANCE[precision]:
            raise UserError(f"The {name} of both networks differ by {error:.2g} of their largest.")


if __name__ == "__main__":
    measure.run(main)
