"""Augmentation by other boxes: truncated people, and boxes without a person.

A record's box contains the whole person. A photograph may end at the chest or at the knees, and its
detected box fits the visible part. A detector also proposes boxes without a person. Both are crops
of the same records, and joints that are not visible get empty heat-maps.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
from jaxtyping import Array, Bool, Float, Key

from pose3d_jax import geometry
from pose3d_jax.arrays import AnyArray

#: Side of a box in units of the visible joints' larger extent.
BOX = 1.3
#: Smallest side in units of the record's box; below it, a photograph has too few pixels.
SMALLEST = 0.3
#: Probability that the person is truncated below, right, left, above; and the smallest part that is
#: kept. The shoulders are at a quarter of an upright person's height.
SIDES = (0.6, 0.15, 0.15, 0.1)
LEAST = (0.25, 0.45, 0.45, 0.4)
MOST = 0.85
#: People are not truncated to fewer joints.
FEWEST_JOINTS = 4
#: Share of truncations at which the image ends (black); otherwise it continues.
BLACK = 0.6
#: Boxes without a person: number of candidates, of which the one with the fewest joints is used,
#: and its maximum number of joints; with more, the box is far too large.
CANDIDATES = 8
MOST_JOINTS = 1
#: Share of far too large boxes among those without a person, and the range of their sides.
TOO_LARGE = 0.25
LARGE_SIDES = (2.8, 4.5)


class Framing(NamedTuple):
    """The visible part of each image of a batch."""

    box: Float[Array, "b 3"]  # centre x, y and side, px of the image
    #: Lowest x, y and highest x, y, px of the image; pixels outside are black.
    window: Float[Array, "b 4"]
    visible: Bool[Array, "b 16"]  # annotated joints in the visible part
    known: Bool[Array, "b 16"]  # joints with a known heat-map: annotated, or certainly not visible


def whole_people(batch: Mapping[str, AnyArray]) -> Framing:
    """The framing by the records' boxes. A record without joints shows no person."""
    valid = jnp.asarray(batch["joints_valid"])
    known = valid | ~valid.any(axis=1, keepdims=True)
    window = jnp.broadcast_to(jnp.array([-jnp.inf, -jnp.inf, jnp.inf, jnp.inf]), (len(valid), 4))
    return Framing(jnp.asarray(batch["box"]), window, valid, known)


def sample_framing(
    keys: Key[Array, "b"],
    batch: Mapping[str, AnyArray],
    apply: Bool[AnyArray, "b"],
    config: ml_collections.ConfigDict,
) -> Framing:
    """Samples which people are truncated and which boxes show no person.

    Args:
        keys: one random key per image.
        batch: `box`, `joints_2d` and `joints_valid` of the records, stacked.
        apply: which images may change.
        config: `cut_probability` and `empty_probability`.
    """

    def sample_one(key, whole: Framing, joints, apply):
        kind_key, cut_key, empty_key = jax.random.split(key, 3)
        kind = jax.random.uniform(kind_key)
        cut = truncate(cut_key, whole, joints)
        empty = empty_box(empty_key, whole, joints)

        someone = whole.visible.any()

        def choose(whole, cut, empty):
            changed = jnp.where(kind < config.empty_probability, empty, cut)
            few = kind < config.empty_probability + config.cut_probability
            return jnp.where(apply & few & someone, changed, whole)

        return jax.tree.map(choose, whole, cut, empty)

    return jax.vmap(sample_one)(keys, whole_people(batch), jnp.asarray(batch["joints_2d"]), apply)


def truncate(key: Key[Array, ""], whole: Framing, joints: Float[Array, "16 2"]) -> Framing:
    """Truncates a person at one side; the box is that of the rest."""
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
    truncated = Framing(
        box=jnp.append((low + high) / 2, side),
        window=jnp.where(black, jnp.concatenate([first, last]), whole.window),
        visible=jnp.where(black, kept, whole.visible),
        known=whole.known,
    )
    enough = kept.sum() >= FEWEST_JOINTS
    return jax.tree.map(lambda cut, whole: jnp.where(enough, cut, whole), truncated, whole)


def empty_box(key: Key[Array, ""], whole: Framing, joints: Float[Array, "16 2"]) -> Framing:
    """A box without a person: background, a detail of a person, or a person far too small."""
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


def is_inside(
    matrix: Float[Array, "b 2 3"], window: Float[Array, "b 4"], side: int
) -> Bool[Array, "b s s"]:
    """Which pixels of crops are inside the window of their image.

    Args:
        matrix: affine map from crop px to image px.
        window: lowest x, y and highest x, y, px of the image.
        side: of the crops, px.
    """
    centres = jnp.arange(side, dtype=jnp.float32) + 0.5
    grid = jnp.stack(jnp.meshgrid(centres, centres, indexing="xy"), axis=-1).reshape(-1, 2)
    points = geometry.apply_affine(matrix, jnp.broadcast_to(grid, (len(matrix), *grid.shape)))
    inside = (points >= window[:, None, :2]).all(-1) & (points <= window[:, None, 2:]).all(-1)
    return inside.reshape(-1, side, side)


def _extent(
    joints: Float[Array, "16 2"], chosen: Bool[Array, "16"]
) -> tuple[Float[Array, "2"], Float[Array, "2"]]:
    """Lowest and highest coordinates of the chosen joints; zeros if none is chosen."""
    low = jnp.where(chosen[:, None], joints, jnp.inf).min(0)
    high = jnp.where(chosen[:, None], joints, -jnp.inf).max(0)
    return jnp.where(chosen.any(), low, 0.0), jnp.where(chosen.any(), high, 0.0)
