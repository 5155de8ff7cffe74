"""Depth from 2D joints alone: a small network beside the depth module (compare Sec. 3.3).

The paper argues that image features determine depth better than joints. Joints need no images for
training: any 3D pose can be projected from any direction. The network follows Martinez et al., *A
Simple yet Effective Baseline for 3D Human Pose Estimation* (ICCV 2017), without its batch
normalisation.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from pose3d_jax.arrays import AnyArray
from pose3d_jax.models.layers import Common
from pose3d_jax.skeleton import NUM_JOINTS, ROOT


class Lifter(nnx.Module):
    """2D joints and their confidences to depths.

    The result moves and scales with the joints: they are centred on their mean and divided by their
    root mean square distance from it, both weighted by confidence.

    Args:
        features: width of each hidden layer.
        common: what all layers share.
    """

    def __init__(self, features: Sequence[int], common: Common):
        widths = (NUM_JOINTS * 3, *features)
        self.hidden = nnx.List(
            nnx.Linear(before, after, rngs=common.rngs) for before, after in zip(widths, features)
        )
        self.output = nnx.Linear(
            widths[-1], NUM_JOINTS, kernel_init=nnx.initializers.zeros, rngs=common.rngs
        )

    def __call__(
        self, joints: Float[AnyArray, "b 16 2"], confidence: Float[AnyArray, "b 16"]
    ) -> Float[Array, "b 16"]:
        """Depths relative to the root, in the unit of the joints.

        Confidences are from 0 (unknown) to 1.
        """
        weight = jnp.clip(confidence, 1e-3, 1.0)[..., None]
        total = weight.sum(-2, keepdims=True)
        centred = joints - (joints * weight).sum(-2, keepdims=True) / total
        square = (jnp.square(centred) * weight).sum((-1, -2), keepdims=True) / total
        scale = jnp.sqrt(jnp.maximum(square, 1e-12))
        x = jnp.concatenate([centred / scale * weight, weight], axis=-1)
        x = x.reshape(x.shape[0], -1).astype(jnp.float32)
        for number, layer in enumerate(self.hidden):
            y = nnx.leaky_relu(layer(x), 0.1)
            x = x + y if number and x.shape == y.shape else y
        depth = self.output(x)
        return (depth - depth[:, ROOT : ROOT + 1]) * scale[..., 0]
