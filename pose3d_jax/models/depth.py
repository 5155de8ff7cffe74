"""The depth regression module (Sec. 3.3 of the paper): half an hourglass and a linear layer."""

import itertools
from collections.abc import Sequence

from flax import nnx
from jaxtyping import Array, Float

from pose3d_jax.models.layers import Common, max_pool
from pose3d_jax.models.residual import residual_chain


class DepthHead(nnx.Module):
    """Levels of residual modules and max pooling, then one linear layer to a depth per joint.

    Args:
        modules: residual modules per level (2 in the paper).
        in_features: channels of the input.
        features: channels of each level; each halves the resolution (4 levels in the paper:
            64 → 4 px).
        common: what all layers share.
        side: height and width of the input, px.
        num_joints: number of depths.
        output_init: initialiser of the linear layer's weights.
    """

    def __init__(
        self,
        modules: int,
        in_features: int,
        features: Sequence[int],
        common: Common,
        *,
        side: int,
        num_joints: int,
        output_init,
    ):
        self.stages = nnx.List(
            residual_chain(modules, before, after, common)
            for before, after in itertools.pairwise((in_features, *features))
        )
        flat = (side // 2 ** len(features)) ** 2 * features[-1]
        self.output = nnx.Linear(
            flat, num_joints, kernel_init=output_init, dtype=common.wide.dtype, rngs=common.rngs
        )

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b joints"]:
        """Depths in the unit of the normalised crop, at least float32."""
        for residuals in self.stages:
            x = max_pool(residuals(x))
        return self.output(x.reshape(x.shape[0], -1))


#: Depth modules by the value of `depth_head`; all have the same interface.
HEADS = {"flat": DepthHead}
