"""The hourglass: features at several resolutions, merged at the highest (Newell et al. 2016)."""

from collections.abc import Sequence

from flax import nnx
from jaxtyping import Array, Float

from pose3d_jax.models.layers import Common, Pointwise, max_pool, upsample
from pose3d_jax.models.residual import residual_chain


class Hourglass(nnx.Module):
    """One level of the hourglass; `inner` is the next level, at half the resolution.

    Args:
        modules: residual modules per place at each resolution, highest first (5 resolutions in the
            paper, 64 → 4 px, with 2 modules each).
        features: channels at each resolution (256 in the paper). Where they differ, the first
            residual on the way down changes them, and a 1×1 convolution on the way up changes them
            back.
        common: what all layers share.
    """

    def __init__(self, modules: Sequence[int], features: Sequence[int], common: Common):
        (here, below, *_), (outer, inner, *_) = modules, features
        self.up = residual_chain(here, outer, outer, common)
        self.low_in = residual_chain(below, outer, inner, common)
        if len(features) > 2:
            self.inner = Hourglass(modules[1:], features[1:], common)
        else:
            self.inner = residual_chain(below, inner, inner, common)
        self.low_out = residual_chain(below, inner, inner, common)
        self.narrow = None if inner == outer else Pointwise(inner, outer, common)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Applies the module; height and width are divisible by 2 at each resolution."""
        low = self.low_out(self.inner(self.low_in(max_pool(x))))
        if self.narrow is not None:
            low = self.narrow(low)
        return self.up(x) + upsample(low)
