"""Initial values of the parameters as in the paper's releases."""

import math

import jax
from flax import nnx
from jax.flatten_util import ravel_pytree
from jaxtyping import PRNGKeyArray


def draw_torch7(params: nnx.State, key: PRNGKeyArray) -> nnx.State:
    """Draws initial values by the defaults of Torch7 and of PyTorch until 2019.

    Weights and biases are uniform within ±1/√fan_in, where fan_in is the number of inputs of one
    output. The scales of batch normalisation are uniform in [0, 1), its biases are 0. The standard
    deviation of a weight is 1/√3 of LeCun's; the first outputs of a deep network are much smaller.

    Args:
        params: a network's parameters; only names and shapes are read.
        key: random key.
    """
    vector, restore = ravel_pytree(params)
    uniform = jax.random.uniform(key, vector.shape, vector.dtype, minval=-1.0)
    shapes = {path: param.shape for path, param in nnx.to_flat_state(params)}

    def value(path, drawn):
        *layer, name = path
        if name == "scale":
            return drawn.replace((drawn[...] + 1.0) / 2.0)
        kernel = shapes.get((*layer, "kernel"))
        if kernel is None:  # A bias of batch normalisation.
            return drawn.replace(0.0 * drawn[...])
        return drawn.replace(drawn[...] / math.sqrt(math.prod(kernel[:-1])))

    return nnx.map_state(value, restore(uniform))
