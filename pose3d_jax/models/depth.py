"""The depth regression module (Sec. 3.3 of the paper): half an hourglass and a linear layer."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from pose3d_jax.models.layers import max_pool
from pose3d_jax.models.residual import residual_chain


class DepthHead(nnx.Module):
    """Residual modules and pooling in turn, down to a few pixels; then one depth per joint.

    Args:
        levels: how many times the resolution is halved (4 in the paper: 64 → 4 px).
        modules: residual modules per level (2 in the paper).
        features: channels.
        side: height and width of the input, px.
        num_joints: depths to predict.
        output_init: initialiser of the linear layer's weights.
        axis_name: see `layers.NormRelu`.
        dtype: of the arithmetic.
        rngs: NNX's random streams.
    """

    def __init__(
        self,
        levels: int,
        modules: int,
        features: int,
        *,
        side: int,
        num_joints: int,
        output_init,
        axis_name,
        dtype,
        rngs: nnx.Rngs,
    ):
        self.stages = nnx.List(
            residual_chain(modules, features, features, axis_name=axis_name, dtype=dtype, rngs=rngs)
            for _ in range(levels)
        )
        flat = (side // 2**levels) ** 2 * features
        self.output = nnx.Linear(
            flat,
            num_joints,
            kernel_init=output_init,
            dtype=jnp.promote_types(dtype, jnp.float32),
            rngs=rngs,
        )

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b joints"]:
        """Depths in the units of the normalised crop, at least float32."""
        for residuals in self.stages:
            x = max_pool(residuals(x))
        return self.output(x.reshape(x.shape[0], -1))
