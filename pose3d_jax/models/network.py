"""The whole network: stem, stacked hourglasses with heat-map heads, and heads on their features.

The depth module is the paper's. A detector and a network from joints to depth are optional.
"""

import types
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from pose3d_jax.heatmaps import DECODINGS, STRIDE
from pose3d_jax.models import onednn
from pose3d_jax.models.depth import HEADS
from pose3d_jax.models.detector import Detector
from pose3d_jax.models.hourglass import Hourglass
from pose3d_jax.models.initial_values import draw_torch7
from pose3d_jax.models.layers import Common, NormRelu, Pointwise, for_onednn, max_pool
from pose3d_jax.models.lifting import Lifter
from pose3d_jax.models.residual import Residual, residual_chain
from pose3d_jax.skeleton import NUM_JOINTS


class ConvStem(nnx.Module):
    """The paper's stem: 7×7 convolution of stride 2, then residuals and a 2×2 max pool.

    Args:
        features: channels of the output.
        first: channels of the convolution (64 in the paper); its residuals have twice as many.
        common: what all layers share.
    """

    def __init__(self, features: int, first: int, common: Common):
        self.conv = nnx.Conv(
            3, first, kernel_size=(7, 7), strides=2, padding=3, dtype=common.dtype, rngs=common.rngs
        )
        self.norm = NormRelu(first, common)
        self.residual1 = Residual(first, 2 * first, common)
        self.residual2 = Residual(2 * first, 2 * first, common)
        self.residual3 = Residual(2 * first, features, common)

    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b h/4 w/4 c"]:
        """Features at a quarter of the resolution."""
        if for_onednn(images.dtype):
            x = onednn.convolve_stem(images, self.conv.kernel[...])
            x = self.norm(x, self.conv.bias[...])
        else:
            x = self.norm(self.conv(images))
        x = self.residual1(x)
        return self.residual3(self.residual2(max_pool(x)))


class PatchStem(nnx.Module):
    """A stem for CPUs: one linear layer over 4×4 patches, then a residual.

    No layer runs above a quarter of the input's resolution, where the weight gradient of a
    convolution is slowest on a CPU.
    """

    def __init__(self, features: int, common: Common):
        self.patch = Pointwise(STRIDE * STRIDE * 3, features, common)
        self.residual = Residual(features, features, common)

    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b h/4 w/4 c"]:
        """Features at a quarter of the resolution."""
        if for_onednn(images.dtype):
            images = onednn.stored(images)
        batch, height, width, channels = images.shape
        rows, columns = height // STRIDE, width // STRIDE
        patches = images.reshape(batch, rows, STRIDE, columns, STRIDE, channels)
        patches = patches.transpose(0, 1, 3, 2, 4, 5)
        return self.residual(self.patch(patches.reshape(*patches.shape[:3], -1)))


STEMS = ("conv", "patch")
INITS = ("lecun", "torch7")


class Stack(nnx.Module):
    """One hourglass with its heat-map head, and the input of the next stack.

    The next stack's input is the sum of this stack's input, the head's features and the heat-maps,
    the last two after 1×1 convolutions. The last stack's sum is the depth module's input
    ("heat-maps and lower-layer image features are summed", Fig. 2).
    """

    def __init__(
        self,
        modules: Sequence[int],
        features: Sequence[int],
        num_joints: int,
        common: Common,
        *,
        output_init,
    ):
        self.hourglass = Hourglass(modules, features, common)
        modules, features = modules[0], features[0]
        self.residuals = residual_chain(modules, features, features, common)
        self.linear = Pointwise(features, features, common)
        self.norm = NormRelu(features, common)
        # Joints are where two neighbouring values are the highest: bfloat16 has 8 bits for them.
        self.heatmaps = Pointwise(features, num_joints, common.wide, kernel_init=output_init)
        self.merge_features = Pointwise(features, features, common)
        self.merge_heatmaps = Pointwise(num_joints, features, common)

    def __call__(
        self, x: Float[Array, "b h w c"]
    ) -> tuple[Float[Array, "b h w joints"], Float[Array, "b h w c"]]:
        """Returns the heat-maps, and the input of the next stack or the depth module."""
        features = self.norm(self.linear(self.residuals(self.hourglass(x))))
        heatmaps = self.heatmaps(features)
        return heatmaps, x + self.merge_features(features) + self.merge_heatmaps(heatmaps)


class PoseNetwork(nnx.Module):
    """Image to 2D heat-maps and depths (Fig. 2 of the paper).

    With 2 stacks, 2 modules, 4 levels and 256 features it has the paper's 14,429,104 parameters.
    A new network is in training mode; `eval()` and `train()` switch batch normalisation.

    Args:
        input_side: side of the input image, px.
        stacks: number of hourglasses.
        modules: residual modules per place in an hourglass.
        levels: number of times that an hourglass halves the resolution.
        features: channels.
        level_features: channels at each of the hourglass's `levels` + 1 resolutions, highest
            first; empty for `features` at all of them.
        level_modules: the same for `modules`.
        depth_levels: number of times that the depth module halves the resolution.
        depth_modules: residual modules per level of the depth module.
        depth_features: channels at each of the depth module's levels; empty for `features`.
        depth_head: depth module, a key of `depth.HEADS`; "flat" is the paper's.
        detector_features: channels of the detector; 0 for a network without one.
        lifter_features: widths of the network from joints to depth; empty for none.
        stem: "conv" (the paper's) or "patch" (fast on CPUs).
        stem_features: channels of the convolutional stem's first layer; 0 for a quarter of
            `features`. The release has 64.
        init: initial values: "lecun" (Flax's defaults: LeCun normal, biases 0, scales 1) or
            "torch7" (the release's, `initial_values.draw_torch7`).
        zero_init_outputs: initialise both output layers with zeros.
        output_scale: factor on both outputs. RMSprop's steps do not depend on the gradient's size,
            so a factor below 1 is a smaller learning rate for the last layers.
        decoding: rule by which heat-maps become positions, of `heatmaps.DECODINGS`.
        num_joints: number of heat-maps and depths.
        axis_name: `pmap` axis of synchronised batch statistics, or None.
        dtype: of the arithmetic; parameters are float32, and outputs at least float32.
        rngs: NNX's random streams.

    Raises:
        ValueError: the sizes contradict each other, or a name is unknown.
    """

    def __init__(
        self,
        *,
        input_side: int = 256,
        stacks: int = 2,
        modules: int = 2,
        levels: int = 4,
        features: int = 256,
        level_features: Sequence[int] = (),
        level_modules: Sequence[int] = (),
        depth_levels: int = 4,
        depth_modules: int = 2,
        depth_features: Sequence[int] = (),
        depth_head: str = "flat",
        detector_features: int = 0,
        lifter_features: Sequence[int] = (),
        stem: str = "conv",
        stem_features: int = 0,
        init: str = "lecun",
        zero_init_outputs: bool = False,
        output_scale: float = 1.0,
        decoding: str = DECODINGS[0],
        num_joints: int = NUM_JOINTS,
        axis_name: str | None = None,
        dtype=jnp.float32,
        rngs: nnx.Rngs | types.SimpleNamespace,
    ):
        sizes = (stacks, modules, levels, features, depth_levels, depth_modules)
        if min(sizes) < 1:
            raise ValueError(f"All sizes of the network must be positive, but they are {sizes}.")
        level_features = tuple(level_features or (features,) * (levels + 1))
        level_modules = tuple(level_modules or (modules,) * (levels + 1))
        depth_features = tuple(depth_features or (features,) * depth_levels)
        counts = (len(level_features), len(level_modules), len(depth_features))
        if counts != (levels + 1, levels + 1, depth_levels) or level_features[0] != features:
            raise ValueError(
                f"{levels} levels need {levels + 1} `level_features` (the first equals `features`) "
                f"and {levels + 1} `level_modules`; {depth_levels} depth levels need "
                f"{depth_levels} `depth_features`. There are {counts[0]}, {counts[1]} and "
                f"{counts[2]}."
            )
        divisor = STRIDE * 2 ** max(levels, depth_levels)
        if input_side % divisor:
            raise ValueError(
                f"The network's input side must be divisible by {divisor} "
                f"(a quarter, halved {max(levels, depth_levels)} times), but is {input_side}."
            )
        choices = (
            ("stem", stem, STEMS),
            ("depth head", depth_head, HEADS),
            ("init", init, INITS),
            ("decoding", decoding, DECODINGS),
        )
        for kind, name, known in choices:
            if name not in known:
                raise ValueError(f"Unknown {kind} {name!r}; choose one of {', '.join(known)}.")
        self.input_side = input_side
        self.output_scale = output_scale
        self.decoding = decoding
        self.dtype = dtype
        common = Common(rngs, dtype, axis_name)
        output_init = (
            nnx.initializers.zeros if zero_init_outputs else nnx.initializers.lecun_normal()
        )
        if stem == "conv":
            self.stem = ConvStem(features, stem_features or features // 4, common)
        else:
            self.stem = PatchStem(features, common)
        self.stacks = nnx.List(
            Stack(level_modules, level_features, num_joints, common, output_init=output_init)
            for _ in range(stacks)
        )
        self.depth = HEADS[depth_head](
            depth_modules,
            features,
            depth_features,
            common,
            side=input_side // STRIDE,
            num_joints=num_joints,
            output_init=output_init,
        )
        # The detector is trained by itself, on one device.
        alone = common._replace(axis_name=None)
        self.detector = Detector(features, detector_features, alone) if detector_features else None
        self.lifter = Lifter(lifter_features, common) if lifter_features else None
        if init == "torch7":
            nnx.update(self, draw_torch7(nnx.state(self, nnx.Param), rngs.params()))
            if zero_init_outputs:
                for layer in (self.depth.output, *(stack.heatmaps for stack in self.stacks)):
                    nnx.update(layer, jax.tree.map(jnp.zeros_like, nnx.state(layer, nnx.Param)))

    def __call__(
        self, images: Float[Array, "b s s 3"], *, with_depth: bool = True
    ) -> tuple[list[Float[Array, "b s/4 s/4 joints"]], Float[Array, "b joints"] | None]:
        """Predicts heat-maps and depths.

        Args:
            images: RGB in [0, 1].
            with_depth: whether to run the depth module (not in stage 1).

        Returns:
            One array of heat-maps per stack, the last of which is the prediction; and the depths
            in the unit of the normalised crop (`geometry`), or None. All are at least float32.

        Raises:
            ValueError: the images do not have the side `input_side`.
        """
        if images.shape[1:] != (self.input_side, self.input_side, 3):
            raise ValueError(
                f"The network takes images of {self.input_side} × {self.input_side} × 3, "
                f"not {' × '.join(map(str, images.shape[1:]))}."
            )
        heatmaps, x = self.features(images)
        return heatmaps, self.predict_depth(x) if with_depth else None

    def predict_depth(self, x: Float[Array, "b h w c"]) -> Float[Array, "b joints"]:
        """Depths by the depth module, from its input (`features`)."""
        return self.depth(x) * self.output_scale

    def features(
        self, images: Float[Array, "b h w 3"]
    ) -> tuple[list[Float[Array, "b h/4 w/4 joints"]], Float[Array, "b h/4 w/4 c"]]:
        """Heat-maps of each stack, and the input of the heads, for images of any size.

        Height and width must be divisible by 4 · 2^levels.
        """
        x = self.stem(images.astype(self.dtype))
        heatmaps = []
        for stack in self.stacks:
            maps, x = stack(x)
            maps = maps.astype(jnp.promote_types(self.dtype, jnp.float32))
            heatmaps.append(maps * self.output_scale)
        return heatmaps, x
