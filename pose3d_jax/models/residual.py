"""The pre-activation residual module of the stacked hourglass (Newell et al. 2016)."""

import itertools

from flax import nnx
from jaxtyping import Array, Float

from pose3d_jax.models import onednn
from pose3d_jax.models.layers import Common, Conv3x3, NormRelu, Pointwise, for_onednn


class Residual(nnx.Module):
    """Three times batch normalisation – ReLU – convolution (1×1, 3×3, 1×1), plus a skip.

    The 3×3 convolution has half of the output's channels. The skip connection is the identity, or
    a 1×1 convolution where the number of channels changes.

    Args:
        in_features: channels of the input.
        out_features: channels of the output.
        common: what all layers share.
    """

    def __init__(self, in_features: int, out_features: int, common: Common):
        middle = out_features // 2
        self.norm1 = NormRelu(in_features, common)
        self.conv1 = Pointwise(in_features, middle, common)
        self.norm2 = NormRelu(middle, common)
        self.conv2 = Conv3x3(middle, middle, common)
        self.norm3 = NormRelu(middle, common)
        self.conv3 = Pointwise(middle, out_features, common)
        has_skip = in_features != out_features
        self.skip = Pointwise(in_features, out_features, common) if has_skip else None

    def __call__(self, x: Float[Array, "b h w in"]) -> Float[Array, "b h w out"]:
        """Applies the module."""
        if for_onednn(x.dtype):
            x = onednn.stored(x)
            y = onednn.pointwise(self.norm1(x), self.conv1.kernel[...], None)
            y = onednn.convolve(self.norm2(y, self.conv1.bias[...]), self.conv2.kernel[...])
            y = self.norm3(y, self.conv2.bias[...])
        else:
            y = self.conv1(self.norm1(x))
            y = self.norm3(self.conv2(self.norm2(y)))
        return self.conv3(y) + (x if self.skip is None else self.skip(x))


def residual_chain(
    count: int, in_features: int, out_features: int, common: Common
) -> nnx.Sequential:
    """A sequence of `count` residual modules; the first changes the number of channels."""
    widths = (in_features, *[out_features] * count)
    return nnx.Sequential(*(Residual(*pair, common) for pair in itertools.pairwise(widths)))
