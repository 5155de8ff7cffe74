"""Effects of lens, sensor and JPEG file that make a rendered picture resemble a photograph."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from tfds_builders.synthetic.random_stream import RandomStream

#: Half the width of the blurring kernels, px.
_REACH = 4
#: Side of the tiles of noise, px.
_TILE = 128
#: Weights of red, green and blue in brightness.
_LUMA = np.array([0.30, 0.59, 0.11], np.float32)


def _tiles() -> Float[np.ndarray, "2 3 side side"]:
    """Periodic standard normal noise: fine, and coarse like smoothed sensor noise."""
    fine, coarse = np.random.default_rng(1).normal(size=(2, 3, _TILE, _TILE))
    around = [np.roll(coarse, (dy, dx), (1, 2)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    return np.stack([fine, sum(around) / 3]).astype(np.float32)


_TILES = _tiles()


class CameraEffects(NamedTuple):
    """Parameters of the effects."""

    #: Standard deviations of the blur along the rows and the columns, px.
    blur: Float[Array, "2"]
    #: Standard deviation of the blur of everything but the person, px.
    defocus: Float[Array, ""]
    #: Target brightness of the exposure, per channel because of white balance.
    exposure: Float[Array, "3"]
    #: Exponent of brightness; above 1, shadows are darker.
    gamma: Float[Array, ""]
    #: 0 is grey, 1 as rendered.
    saturation: Float[Array, ""]
    #: Standard deviations of the fine and the coarse grain, in units of full white.
    grain: Float[Array, "2"]
    #: Offset in the tile of grain, px.
    place: Int[Array, "2"]
    #: JPEG quality, 0–100.
    quality: Float[Array, ""]


def sample_effects(rng: RandomStream) -> CameraEffects:
    """Samples the parameters."""
    focus = jnp.maximum(rng.uniform(-0.5, 1.3), 0.05)
    motion = rng.chance(0.15, (2,)) * rng.uniform(0.0, 1.6, (2,))
    warmth = 1 + rng.uniform(-0.12, 0.12) * jnp.array([1.0, 0.0, -1.0])
    return CameraEffects(
        blur=jnp.hypot(focus, motion),
        defocus=jnp.maximum(rng.uniform(-2.0, 2.2), 0.05),
        exposure=rng.uniform(0.3, 0.62) * warmth,
        gamma=jnp.exp(rng.uniform(-0.3, 0.45)),
        saturation=jnp.where(rng.chance(0.04), 0.0, rng.uniform(0.5, 1.4)),
        grain=jnp.square(rng.uniform(0.0, 1.0, (2,))) * jnp.array([0.03, 0.035]),
        place=rng.index(_TILE, (2,)),
        quality=rng.uniform(35.0, 96.0),
    )


def _blurred(picture: Float[Array, "3 h w"], axis: int, sigma: Float[Array, ""]) -> Array:
    """Gaussian blur along one axis, with the border repeated."""
    offsets = jnp.arange(-_REACH, _REACH + 1)
    weights = jnp.exp(-0.5 * (offsets / sigma) ** 2)
    weights = weights / weights.sum()
    before_after = [(_REACH, _REACH) if i == axis else (0, 0) for i in range(3)]
    padded, size = jnp.pad(picture, before_after, mode="edge"), picture.shape[axis]
    return sum(
        weight * jax.lax.slice_in_dim(padded, i, i + size, axis=axis)
        for i, weight in enumerate(weights)
    )


def _grain(number: int, place: Int[Array, "2"], side: int) -> Float[Array, "3 side side"]:
    """Standard normal noise: a square of a periodic tile with its own offset."""
    tile = jnp.asarray(_TILES[number])
    tile = jnp.roll(tile, place, (1, 2))
    return jnp.tile(tile, (1, -(-side // _TILE), -(-side // _TILE)))[:, :side, :side]


def apply_effects(
    picture: UInt8[Array, "h h 3"], person: Bool[Array, "h h"], effects: CameraEffects
) -> UInt8[Array, "h h 3"]:
    """Applies the effects; the pixels of `person` are in focus."""
    shown = jnp.moveaxis(picture, -1, 0) / jnp.float32(255)
    behind = _blurred(_blurred(shown, 1, effects.defocus), 2, effects.defocus)
    shown = jnp.where(person, shown, behind)
    shown = _blurred(_blurred(shown, 1, effects.blur[1]), 2, effects.blur[0])
    # Automatic exposure, with limits.
    factor = jnp.clip(effects.exposure / (shown.mean() + 0.02), 0.6, 2.2)
    shown = jnp.clip(shown * factor[:, None, None], 1e-4, 1) ** effects.gamma
    grey = jnp.tensordot(jnp.asarray(_LUMA), shown, 1)
    shown = grey + effects.saturation * (shown - grey)
    for number in range(2):
        noise = _grain(number, effects.place, picture.shape[0])
        shown = shown + effects.grain[number] * noise
    return jnp.moveaxis((jnp.clip(shown, 0, 1) * 255 + 0.5).astype(jnp.uint8), 0, -1)
