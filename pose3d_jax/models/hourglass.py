"""The hourglass: features at every scale, brought back to full resolution (Newell et al. 2016)."""

from flax import nnx
from jaxtyping import Array, Float

from pose3d_jax.models.layers import max_pool, upsample
from pose3d_jax.models.residual import residual_chain


class Hourglass(nnx.Module):
    """One level of the hourglass; the next, at half the resolution, is its own `inner`.

    Args:
        levels: how many times the resolution is halved (4 in the paper: 64 → 4 px).
        modules: residual modules per place (2 in the paper).
        features: channels, the same everywhere.
        axis_name: see `layers.NormRelu`.
        dtype: of the arithmetic.
        rngs: NNX's random streams.
    """

    def __init__(
        self, levels: int, modules: int, features: int, *, axis_name, dtype, rngs: nnx.Rngs
    ):
        def residuals():
            return residual_chain(
                modules, features, features, axis_name=axis_name, dtype=dtype, rngs=rngs
            )

        self.up = residuals()
        self.low_in = residuals()
        if levels > 1:
            self.inner = Hourglass(
                levels - 1, modules, features, axis_name=axis_name, dtype=dtype, rngs=rngs
            )
        else:
            self.inner = residuals()
        self.low_out = residuals()

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Applies the module; height and width must be divisible by 2^levels."""
        low = self.low_out(self.inner(self.low_in(max_pool(x))))
        return self.up(x) + upsample(low)
