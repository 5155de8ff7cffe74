"""Augmentation by other squares: people who are cut off, and squares that show nobody.

A record's box shows the whole person. A photograph often does not: it ends at the chest or at the
knees, and its detected box fits what is visible. A detector also proposes squares without a person.
Both are cut out of the same records, and joints that are not visible get empty maps.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
from jaxtyping import Array, Bool, Float, Key

from pose3d_jax import geometry
from pose3d_jax.arrays import AnyArray

#: Side of a square in units of the visible joints' larger extent.
BOX = 1.3
#: A square is at least this part of the record's box: below it, a photograph has too few pixels.
SMALLEST = 0.3
#: Which side is cut off: below, right, left, above; and the part of the person that is kept at
#: least. At a quarter of an upright person's height are the shoulders.
SIDES = (0.6, 0.15, 0.15, 0.1)
LEAST = (0.25, 0.45, 0.45, 0.4)
MOST = 0.85
#: A cut that leaves fewer joints is not made.
FEWEST_JOINTS = 4
#: Share of cuts where the image ends; elsewhere it goes on outside the square.
BLACK = 0.6
#: Squares without a person: candidates, of which the one with the fewest joints counts. If it has
#: more than this many, a far too large square is taken.
CANDIDATES = 8
MOST_JOINTS = 1
#: Share of far too large squares among those that show nobody, and their sides in boxes.
TOO_LARGE = 0.25
LARGE_SIDES = (2.8, 4.5)


class Framing(NamedTuple):
    """Which part of its image each record of a batch shows.

    Attributes:
        box: centre x, y and side, px of the image.
        window: lowest x, y and highest x, y, px of the image; pixels outside are black.
        visible: annotated joints that may be seen.
        known: joints whose maps are known: annotated, or certainly not visible.
    """

    box: Float[Array, "b 3"]
    window: Float[Array, "b 4"]
    visible: Bool[Array, "b 16"]
    known: Bool[Array, "b 16"]


def whole_people(batch: Mapping[str, AnyArray]) -> Framing:
    """The framing that changes nothing."""
    valid = jnp.asarray(batch["joints_valid"])
    window = jnp.broadcast_to(jnp.array([-jnp.inf, -jnp.inf, jnp.inf, jnp.inf]), (len(valid), 4))
    return Framing(jnp.asarray(batch["box"]), window, valid, valid)


def draw_framing(
    keys: Key[Array, "b"],
    batch: Mapping[str, AnyArray],
    apply: Bool[AnyArray, "b"],
    config: ml_collections.ConfigDict,
) -> Framing:
    """Draws which records are cut off or show nobody.

    Args:
        keys: one random key per image.
        batch: `box`, `joints_2d` and `joints_valid` of the records, stacked.
        apply: which images may be changed.
        config: `cut_probability` and `empty_probability`.
    """

    def draw(key, whole: Framing, joints, apply):
        kind_key, cut_key, empty_key = jax.random.split(key, 3)
        kind = jax.random.uniform(kind_key)
        cut = cut_off(cut_key, whole, joints)
        empty = nobody(empty_key, whole, joints)

        def choose(whole, cut, empty):
            changed = jnp.where(kind < config.empty_probability, empty, cut)
            few = kind < config.empty_probability + config.cut_probability
            return jnp.where(apply & few, changed, whole)

        return jax.tree.map(choose, whole, cut, empty)

    return jax.vmap(draw)(keys, whole_people(batch), jnp.asarray(batch["joints_2d"]), apply)


def cut_off(key: Key[Array, ""], whole: Framing, joints: Float[Array, "16 2"]) -> Framing:
    """One person cut off at one side, in the square around the rest."""
    side_key, part_key, black_key = jax.random.split(key, 3)
    low, high = _extent(joints, whole.visible)
    which = jax.random.choice(side_key, len(SIDES), p=jnp.array(SIDES))
    part = jax.random.uniform(part_key, minval=jnp.array(LEAST)[which], maxval=MOST)
    axis = jnp.array([1, 0, 0, 1])[which]
    keeps_low = jnp.array([True, True, False, False])[which]
    length = (high - low)[axis]
    line = jnp.where(keeps_low, low[axis] + part * length, high[axis] - part * length)
    along = jnp.arange(2) == axis
    first = jnp.where(along & ~keeps_low, line, -jnp.inf)
    last = jnp.where(along & keeps_low, line, jnp.inf)
    kept = whole.visible & ((joints >= first) & (joints <= last)).all(-1)

    low, high = _extent(joints, kept)
    low, high = (
        jnp.where(jnp.isfinite(first), first, low),
        jnp.where(jnp.isfinite(last), last, high),
    )
    side = jnp.maximum(BOX * (high - low).max(), SMALLEST * whole.box[2])
    black = jax.random.bernoulli(black_key, BLACK)
    made = Framing(
        box=jnp.append((low + high) / 2, side),
        window=jnp.where(black, jnp.concatenate([first, last]), whole.window),
        visible=jnp.where(black, kept, whole.visible),
        known=whole.known,
    )
    enough = kept.sum() >= FEWEST_JOINTS
    return jax.tree.map(lambda cut, whole: jnp.where(enough, cut, whole), made, whole)


def nobody(key: Key[Array, ""], whole: Framing, joints: Float[Array, "16 2"]) -> Framing:
    """A square that shows nobody: background, a detail of a person, or a person far too small."""
    place_key, side_key, large_key, kind_key = jax.random.split(key, 4)
    low, high = _extent(joints, whole.visible)
    reach = 0.35 * whole.box[2]
    centres = jax.random.uniform(
        place_key, (CANDIDATES, 2), minval=low - reach, maxval=high + reach
    )
    sides = whole.box[2] * 2.0 ** jax.random.uniform(
        side_key, (CANDIDATES,), minval=-1.7, maxval=0.2
    )
    inside = (jnp.abs(joints - centres[:, None]) < sides[:, None, None] / 2).all(-1)
    counts = (inside & whole.visible).sum(-1)
    best = jnp.argmin(counts)
    small = jnp.append(centres[best], sides[best])
    factor = jax.random.uniform(large_key, minval=LARGE_SIDES[0], maxval=LARGE_SIDES[1])
    large = whole.box * jnp.array([1.0, 1.0, factor])
    too_large = jax.random.bernoulli(kind_key, TOO_LARGE) | (counts[best] > MOST_JOINTS)
    none = jnp.zeros_like(whole.visible)
    return Framing(jnp.where(too_large, large, small), whole.window, none, ~none)


def black_outside(
    images: Float[Array, "b s s 3"], matrix: Float[Array, "b 2 3"], window: Float[Array, "b 4"]
) -> Float[Array, "b s s 3"]:
    """Blackens the pixels of crops that are outside the window of their image.

    Args:
        images: crops.
        matrix: affine map from crop px to image px.
        window: lowest x, y and highest x, y, px of the image.
    """
    side = images.shape[1]
    centres = jnp.arange(side, dtype=jnp.float32) + 0.5
    grid = jnp.stack(jnp.meshgrid(centres, centres, indexing="xy"), axis=-1).reshape(-1, 2)
    points = geometry.apply_affine(matrix, jnp.broadcast_to(grid, (len(matrix), *grid.shape)))
    inside = (points >= window[:, None, :2]).all(-1) & (points <= window[:, None, 2:]).all(-1)
    return images * inside.reshape(-1, side, side, 1)


def _extent(
    joints: Float[Array, "16 2"], chosen: Bool[Array, "16"]
) -> tuple[Float[Array, "2"], Float[Array, "2"]]:
    """The lowest and highest coordinates of some joints; zeros where there are none."""
    low = jnp.where(chosen[:, None], joints, jnp.inf).min(0)
    high = jnp.where(chosen[:, None], joints, -jnp.inf).max(0)
    return jnp.where(chosen.any(), low, 0.0), jnp.where(chosen.any(), high, 0.0)
