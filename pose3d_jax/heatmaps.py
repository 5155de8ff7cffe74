"""Heat-maps: a Gaussian per joint, rendered from pixels and decoded back to pixels (Eq. 1).

Coordinates are continuous: pixel i covers [i, i + 1) and its centre is i + 0.5. The Gaussian is
centred on the joint itself, not on the nearest pixel, so that nothing is lost in rendering.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from pose3d_jax.arrays import AnyArray

#: The network's input px per heat-map px: heat-maps have a quarter of the input's resolution.
STRIDE = 4
#: How far the decoded position moves from the highest pixel towards its higher neighbour, px.
SUBPIXEL_SHIFT = 0.25


def render(
    joints: Float[AnyArray, "*batch joints 2"],
    valid: Bool[AnyArray, "*batch joints"],
    side: int,
    sigma: float,
) -> Float[Array, "*batch side side joints"]:
    """Target heat-maps G(Y_2D) of Eq. 1.

    Args:
        joints: positions, heat-map px.
        valid: joints without annotation get an empty map.
        side: height and width of the maps, px.
        sigma: standard deviation, px.

    Returns:
        Maps with peak 1.
    """
    centres = jnp.arange(side, dtype=joints.dtype)[:, None] + 0.5

    def profile(position):
        return jnp.exp(-((centres - position[..., None, :]) ** 2) / (2.0 * sigma**2))

    columns = profile(joints[..., 0]) * valid[..., None, :]
    rows = profile(joints[..., 1])
    # Not an einsum: accelerators round the factors of a matrix product to 8 or 10 bits.
    return rows[..., :, None, :] * columns[..., None, :, :]


def decode(
    heatmaps: Float[AnyArray, "*batch h w joints"], stride: int
) -> tuple[Float[Array, "*batch joints 2"], Float[Array, "*batch joints"]]:
    """Joint positions: the highest pixel, a quarter pixel towards its higher neighbours.

    Args:
        heatmaps: predicted maps.
        stride: input px per heat-map px.

    Returns:
        Positions in px of the network's input, and the height of each peak.
    """
    height, width = heatmaps.shape[-3:-1]
    maps = jnp.moveaxis(heatmaps, -1, -3)
    flat = maps.reshape(*maps.shape[:-2], height * width)
    index = jnp.argmax(flat, axis=-1)
    # Not `//` and `%`, which have cases for negative numbers, and converters trip over those.
    row = lax.div(index, width)
    column = index - row * width

    def value(r, c):
        inside = jnp.clip(r, 0, height - 1) * width + jnp.clip(c, 0, width - 1)
        return jnp.take_along_axis(flat, inside[..., None], axis=-1)[..., 0]

    def shift(before, after, position, size):
        inner = (position > 0) & (position < size - 1)
        return jnp.where(inner, jnp.sign(after - before) * SUBPIXEL_SHIFT, 0.0)

    x = column + shift(value(row, column - 1), value(row, column + 1), column, width)
    y = row + shift(value(row - 1, column), value(row + 1, column), row, height)
    return jnp.stack([x + 0.5, y + 0.5], axis=-1) * stride, flat.max(-1)
