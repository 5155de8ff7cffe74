"""Detection of people on the features of the pose network, applied fully convolutionally.

The head reads the input of the depth module: image features and heat-maps, at a quarter of the
image's resolution. Each cell of a grid predicts whether a person's centre is in it, and the
person's square, as CenterNet does (Zhou, Wang and Krähenbühl, *Objects as Points*, 2019).
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from pose3d_jax.arrays import AnyArray
from pose3d_jax.models.layers import Common, max_pool
from pose3d_jax.models.residual import residual_chain

#: Image px per cell.
CELL = 16
#: Units of the predicted offsets and sides, image px.
OFFSET, SIDE = 64.0, 100.0
#: Initial probability of a person in a cell, by the bias of the score.
PRIOR = 0.02


class Detector(nnx.Module):
    """Residual modules and pooling in turn, then four numbers per cell.

    Args:
        in_features: channels of the input.
        features: channels of the head.
        common: what all layers share.
    """

    def __init__(self, in_features: int, features: int, common: Common):
        self.first = residual_chain(1, in_features, features, common)
        self.second = residual_chain(1, features, features, common)
        self.third = residual_chain(2, features, features, common)
        self.output = nnx.Linear(
            features,
            4,
            kernel_init=nnx.initializers.zeros,
            dtype=common.wide.dtype,
            rngs=common.rngs,
        )

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h/4 w/4 4"]:
        """Logit of the score, offset x and y of the centre, and log of the side; see `squares`."""
        x = self.third(max_pool(self.second(max_pool(self.first(x)))))
        y = self.output(x)
        return y.at[..., 0].add(jnp.log(PRIOR / (1 - PRIOR)))


def cell_centres(height: int, width: int) -> Float[Array, "height width 2"]:
    """Centres of the grid's cells, image px."""
    x, y = jnp.meshgrid(jnp.arange(width), jnp.arange(height), indexing="xy")
    return (jnp.stack([x, y], axis=-1) + 0.5) * CELL


def squares(
    output: Float[AnyArray, "b h w 4"],
) -> tuple[Float[Array, "b h w"], Float[Array, "b h w 3"]]:
    """Scores in [0, 1] and squares (centre x, y and side, image px) of every cell.

    The score is 0 except at local maxima among a cell and its eight neighbours.
    """
    logit = output[..., 0]
    highest = jax.lax.reduce_window(logit, -jnp.inf, jax.lax.max, (1, 3, 3), (1, 1, 1), "SAME")
    scores = jnp.where(logit == highest, jax.nn.sigmoid(logit), 0.0)
    centres = cell_centres(*output.shape[1:3]) + OFFSET * output[..., 1:3]
    sides = SIDE * jnp.exp(jnp.clip(output[..., 3:], -3.0, 3.0))
    return scores, jnp.concatenate([centres, sides], axis=-1)


def detection_loss(
    output: Float[AnyArray, "b h w 4"],
    score: Float[AnyArray, "b h w"],
    target: Float[AnyArray, "b h w 3"],
    positive: Bool[AnyArray, "b h w"],
    ignored: Bool[AnyArray, "b h w"],
) -> Float[Array, ""]:
    """CenterNet's focal loss of the scores and the absolute error of the squares.

    Args:
        output: of the head.
        score: 1 at the cells of people's centres, falling off around them.
        target: squares (centre x, y and side, image px), read where `positive`.
        positive: cells that predict a square.
        ignored: cells whose score is unknown.
    """
    log_yes, log_no = jax.nn.log_sigmoid(output[..., 0]), jax.nn.log_sigmoid(-output[..., 0])
    probability = jnp.exp(log_yes)
    centre = score >= 1.0
    focal = jnp.where(
        centre, (1 - probability) ** 2 * log_yes, (1 - score) ** 4 * probability**2 * log_no
    )
    scores = -jnp.where(ignored, 0.0, focal).sum() / jnp.maximum(centre.sum(), 1)
    offset = (target[..., :2] - cell_centres(*output.shape[1:3])) / OFFSET
    size = jnp.log(jnp.where(positive, target[..., 2], SIDE) / SIDE)
    error = jnp.abs(output[..., 1:] - jnp.concatenate([offset, size[..., None]], axis=-1))
    error = jnp.where(positive[..., None], error, 0.0).sum()
    return scores + error / jnp.maximum(positive.sum(), 1)
