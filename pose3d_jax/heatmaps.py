"""Heat-maps: a Gaussian per joint, rendered from positions and decoded to positions (Eq. 1).

Coordinates are continuous: pixel i covers [i, i + 1), and its centre is i + 0.5. The Gaussian is
centred on the joint itself, not on the nearest pixel, so that rendering loses no precision.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from pose3d_jax.arrays import AnyArray

#: The network's input px per heat-map px: heat-maps have a quarter of the input's resolution.
STRIDE = 4
#: Shift from the highest pixel towards its higher neighbour, px (`quarter_pixel`).
SUBPIXEL_SHIFT = 0.25
#: Smallest value whose logarithm is taken, relative to the peak (`log_parabola`).
_FLOOR = 1e-3

#: Rules for the position between pixels. `quarter_pixel` is the paper's: a quarter pixel towards
#: the higher neighbour. `log_parabola` is the vertex of the parabola through the logarithms of the
#: peak and its neighbours, which is exact for a Gaussian.
DECODINGS = ("quarter_pixel", "log_parabola")


def render(
    joints: Float[AnyArray, "*batch joints 2"],
    valid: Bool[AnyArray, "*batch joints"],
    side: int,
    sigma: float | Float[Array, ""],
) -> Float[Array, "*batch side side joints"]:
    """Target heat-maps G(Y_2D) of Eq. 1.

    Args:
        joints: positions, heat-map px.
        valid: annotated joints; the maps of others are empty.
        side: height and width of the maps, px.
        sigma: standard deviation, px.

    Returns:
        Maps with peak 1.
    """
    centres = jnp.arange(side, dtype=joints.dtype) + 0.5
    centres = centres.reshape(*(1 for _ in joints.shape[:-2]), side, 1)

    def profile(position):
        return jnp.exp(-((centres - position[..., None, :]) ** 2) / (2.0 * sigma**2))

    columns = profile(joints[..., 0])
    columns = columns * valid[..., None, :].astype(columns.dtype)
    rows = profile(joints[..., 1])
    # Not an einsum: accelerators round the factors of a matrix product to 8 or 10 bits.
    return rows[..., :, None, :] * columns[..., None, :, :]


def decode(
    heatmaps: Float[AnyArray, "*batch h w joints"], stride: int, decoding: str = DECODINGS[0]
) -> tuple[Float[Array, "*batch joints 2"], Float[Array, "*batch joints"]]:
    """Joint positions: the highest pixel of each map, refined between pixels.

    A peak at the border of the map is not refined across it.

    Args:
        heatmaps: predicted maps.
        stride: input px per heat-map px.
        decoding: rule of the refinement, one of `DECODINGS`.

    Returns:
        Positions in px of the network's input, and the value of each peak.
    """
    height, width = heatmaps.shape[-3:-1]
    maps = jnp.moveaxis(heatmaps, -1, -3)
    flat = maps.reshape(*maps.shape[:-2], height * width)
    index = lax.argmax(flat, flat.ndim - 1, jnp.int32)
    # Not `//` and `%`: they have cases for negative numbers that ONNX converters do not support.
    row = lax.div(index, jnp.int32(width))
    column = index - row * width
    peak = flat.max(-1)

    def value(r, c):
        inside = jnp.clip(r, 0, height - 1) * width + jnp.clip(c, 0, width - 1)
        return jnp.take_along_axis(flat, inside[..., None], axis=-1)[..., 0]

    def shift(before, after, position, size):
        inner = (position > 0) & (position < size - 1)
        if decoding == "quarter_pixel":
            offset = jnp.sign(after - before) * SUBPIXEL_SHIFT
        else:
            offset = _parabola_vertex(before, peak, after)
        return jnp.where(inner, offset, 0.0)

    x = shift(value(row, column - 1), value(row, column + 1), column, width)
    y = shift(value(row - 1, column), value(row + 1, column), row, height)
    pixel = jnp.stack([column, row], axis=-1).astype(heatmaps.dtype)
    return (pixel + jnp.stack([x, y], axis=-1) + 0.5) * stride, peak


def _parabola_vertex(
    before: Float[Array, "*batch"], peak: Float[Array, "*batch"], after: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """Vertex of the parabola through the logarithms of three pixels; from −0.5 to 0.5 px.

    Neighbours below `_FLOOR` of the peak count as that; a peak that is not positive has no shift.
    """
    lowest = jnp.maximum(_FLOOR * peak, jnp.finfo(peak.dtype).tiny)
    left, centre, right = (jnp.log(jnp.maximum(v, lowest)) for v in (before, peak, after))
    curvature = left - 2.0 * centre + right
    curved = (curvature < 0) & (peak > 0)
    return jnp.where(curved, 0.5 * (left - right) / jnp.where(curved, curvature, 1.0), 0.0)
