"""Body and clothes: rounded cones for a posed skeleton and a subject.

A rounded cone is the convex hull of two spheres. The table `PARTS` has the place of each cone; all
else is arithmetic on its rows.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tfds_builders.synthetic.kinematics import Figure
from tfds_builders.synthetic.subjects import HAIR, SHIRT, SHOES, SKIN, TROUSERS, Subject

#: How a garment covers a part: completely, or up to the subject's sleeve or trouser length.
_ALL, _SLEEVE_UPPER, _SLEEVE_LOWER, _LEG_UPPER, _LEG_LOWER = range(5)
#: Rows of `Figure`'s stacked rotations, the frames of the parts.
_PELVIS, _CHEST, _HEAD, _UPPER_ARM, _FOREARM, _THIGH, _SHIN, _FOOT = 0, 1, 2, 3, 5, 7, 9, 11
_TORSO_FLESH, _LIMB_FLESH, _BONE = range(3)


class _Part(NamedTuple):
    """Offsets and radii in metres for the canonical person, in the axes of the frame."""

    name: str
    frame: int
    start: tuple[int, tuple[float, float, float]]  # joint, offset
    end: tuple[int, tuple[float, float, float]]
    radii: tuple[float, float]
    material: int
    cover: int = _ALL
    flesh: int = _BONE


# fmt: off
_CENTRAL = (
    _Part("head", _HEAD, (8, (0, -.040, .026)), (8, (0, -.098, -.002)), (.060, .084), SKIN),
    _Part("nose", _HEAD, (8, (0, -.078, .078)), (8, (0, -.052, .094)), (.010, .014), SKIN),
    _Part("hair", _HEAD, (8, (0, -.106, -.016)), (8, (0, -.094, -.026)), (.087, .085), HAIR),
    _Part("neck", _CHEST, (8, (0, .000, .000)), (8, (0, .116, .010)), (.050, .058), SKIN),
    _Part("breast", _CHEST, (8, (0, .330, .006)), (8, (0, .195, .006)), (.100, .106), SHIRT,
          flesh=_TORSO_FLESH),
    _Part("belly", _CHEST, (6, (-.060, -.130, .006)), (6, (.060, -.130, .006)), (.104, .104),
          SHIRT, flesh=_TORSO_FLESH),
    _Part("pelvis", _PELVIS, (6, (-.074, -.015, -.006)), (6, (.074, -.015, -.006)), (.108, .108),
          TROUSERS, flesh=_TORSO_FLESH),
)
_RIGHT = (
    _Part("chest", _CHEST, (8, (.050, .330, .004)), (8, (.076, .200, .002)), (.098, .104), SHIRT,
          flesh=_TORSO_FLESH),
    _Part("shoulder", _CHEST, (8, (.030, .130, -.010)), (12, (-.012, .006, 0)), (.060, .053),
          SHIRT),
    _Part("upper arm", _UPPER_ARM, (12, (0, 0, 0)), (11, (0, 0, 0)), (.051, .042), SHIRT,
          _SLEEVE_UPPER, _LIMB_FLESH),
    _Part("forearm", _FOREARM, (11, (0, 0, 0)), (10, (0, 0, 0)), (.042, .029), SHIRT,
          _SLEEVE_LOWER, _LIMB_FLESH),
    _Part("hand", _FOREARM, (10, (0, .022, 0)), (10, (-.006, .090, .006)), (.032, .028), SKIN),
    _Part("thigh", _THIGH, (2, (-.034, .020, -.004)), (1, (0, 0, 0)), (.090, .058), TROUSERS,
          _LEG_UPPER, _LIMB_FLESH),
    _Part("shin", _SHIN, (1, (0, 0, -.006)), (0, (0, 0, 0)), (.057, .042), TROUSERS, _LEG_LOWER,
          _LIMB_FLESH),
    _Part("foot", _FOOT, (0, (0, .038, -.030)), (0, (.012, .046, .140)), (.040, .032), SHOES),
)


# fmt: on


def _mirror(part: _Part) -> _Part:
    joint = {12: 13, 11: 14, 10: 15, 2: 3, 1: 4, 0: 5, 8: 8}
    (a, (ax, ay, az)), (b, (bx, by, bz)) = part.start, part.end
    frame = part.frame if part.frame in (_PELVIS, _CHEST, _HEAD) else part.frame + 1
    return part._replace(
        frame=frame, start=(joint[a], (-ax, ay, az)), end=(joint[b], (-bx, by, bz))
    )


PARTS = (
    *_CENTRAL,
    *(p._replace(name=f"right {p.name}") for p in _RIGHT),
    *(_mirror(p)._replace(name=f"left {p.name}") for p in _RIGHT),
)
PART_NAMES = tuple(part.name for part in PARTS)

_FRAMES = np.array([p.frame for p in PARTS])
_JOINTS = np.array([[p.start[0], p.end[0]] for p in PARTS])
_OFFSETS = np.array([[p.start[1], p.end[1]] for p in PARTS], np.float32)
_RADII = np.array([p.radii for p in PARTS], np.float32)
_MATERIALS = np.array([p.material for p in PARTS])
_COVERS = np.array([p.cover for p in PARTS])
_FLESH = np.array([p.flesh for p in PARTS])
_HAIR = PART_NAMES.index("hair")
#: A position beyond either end of an axis, in its lengths.
_EVERYWHERE = 1e4
_IS_TORSO = np.array([p.frame in (_CHEST, _PELVIS) and p.material != SKIN for p in PARTS])
_IS_SHIN = np.array([p.name.endswith("shin") for p in PARTS])
#: Offset of the end of the part "hair" for long hair.
_HAIR_FALL = np.array([0, 0.17, -0.035], np.float32)


class Cones(NamedTuple):
    """Rounded cones in the world, metres, one row per row of `PARTS`."""

    start: Float[Array, "parts 3"]
    axis: Float[Array, "parts 3"]
    start_radius: Float[Array, " parts"]
    end_radius: Float[Array, " parts"]
    #: Position on the axis where the garment ends, in its lengths.
    cover: Float[Array, " parts"]
    #: Linear RGB of the garment, of its pattern, and of the part beyond its end.
    colour: Float[Array, "parts 3"]
    pattern_colour: Float[Array, "parts 3"]
    end_colour: Float[Array, "parts 3"]
    #: Weights of stripes along x, along y and of their product, and their waves per metre.
    pattern: Float[Array, "parts 4"]
    #: Origin and rotation of the part's axes, the coordinates of patterns and face.
    origin: Float[Array, "parts 3"]
    frame: Float[Array, "parts 3 3"]
    is_head: Float[Array, " parts"]
    #: Half the width of the open front, which shows a second garment; 0 except on the torso.
    opening: Float[Array, " parts"]


def build_body(figure: Figure, subject: Subject) -> Cones:
    """Builds the cones of a posed skeleton."""
    frames = jnp.concatenate([
        jnp.stack([figure.pelvis, figure.chest, figure.head]), figure.upper_arms,
        figure.forearms, figure.thighs, figure.shins, figure.feet,
    ])[_FRAMES]  # fmt: skip
    offsets = jnp.asarray(_OFFSETS).at[_HAIR, 1].add(subject.hair_length * _HAIR_FALL)
    ends = figure.joints[_JOINTS] + subject.scale * jnp.einsum("pij,pej->pei", frames, offsets)
    girth = jnp.stack([subject.torso_girth, subject.limb_girth, jnp.float32(1)])[_FLESH]
    radii = jnp.asarray(_RADII).at[_HAIR, 1].add(-0.03 * subject.hair_length)
    radii = radii * (subject.scale * girth)[:, None]

    def lower(reach):
        return jnp.where(reach > 1, reach - 1, -_EVERYWHERE)

    # A bare shin has skin, then a sock.
    sock = jnp.asarray(_IS_SHIN) & (subject.legs <= 1) & (subject.socks > 0)
    skin = subject.colours[SKIN]
    everywhere = jnp.float32(_EVERYWHERE)
    covers = jnp.stack([
        everywhere, subject.sleeves, lower(subject.sleeves), subject.legs, lower(subject.legs),
    ])  # fmt: skip
    garments = jnp.stack([
        jnp.zeros(4), jnp.zeros(4), subject.shirt_pattern, subject.trousers_pattern, jnp.zeros(4),
    ])  # fmt: skip
    return Cones(
        start=ends[:, 0],
        axis=ends[:, 1] - ends[:, 0],
        start_radius=radii[:, 0],
        end_radius=radii[:, 1],
        cover=jnp.where(sock, 1 - subject.socks, covers[_COVERS]),
        colour=jnp.where(sock[:, None], skin, subject.colours[_MATERIALS]),
        pattern_colour=jnp.where(sock[:, None], skin, subject.pattern_colours[_MATERIALS]),
        end_colour=jnp.where(sock[:, None], subject.pattern_colours[SHOES], skin),
        pattern=garments[_MATERIALS],
        origin=figure.joints[np.where(_IS_TORSO, 8, _JOINTS[:, 0])],
        frame=frames,
        is_head=jnp.asarray(np.array(PART_NAMES) == "head", jnp.float32),
        opening=subject.opening * jnp.asarray(_IS_TORSO, jnp.float32),
    )


def lowest(cones: Cones) -> Float[Array, ""]:
    """Largest y of the body, its lowest point, because y points down."""
    return jnp.maximum(
        cones.start[:, 1] + cones.start_radius,
        cones.start[:, 1] + cones.axis[:, 1] + cones.end_radius,
    ).max()


def _limb(name: str) -> str:
    """The limb that a part belongs to, or the trunk."""
    side, _, part = name.rpartition(" ")
    arm, leg = ("shoulder", "arm", "forearm", "hand"), ("thigh", "shin", "foot")
    return f"{side.split(' ')[0]} {'arm' if part in arm else 'leg' if part in leg else ''}"


_ENDS = [
    i for i, name in enumerate(PART_NAMES) if name.endswith(("forearm", "hand", "shin", "foot"))
]
_SOLID = [i for i, name in enumerate(PART_NAMES) if not name.endswith(("nose", "neck", "shoulder"))]
#: Pairs that must not overlap: forearms, hands, shins and feet with all parts of other limbs.
_PAIRS = np.array(
    [
        (solid, end)
        for end in _ENDS
        for solid in _SOLID
        if _limb(PART_NAMES[solid]) != _limb(PART_NAMES[end])
        and not (solid in _ENDS and solid > end)
    ]
)
_SAMPLES = np.array([0.25, 0.6, 1.0], np.float32)


def overlap(cones: Cones) -> Float[Array, ""]:
    """Sum of the overlaps of parts that should not touch, metres."""
    first, second = _PAIRS[:, 0], _PAIRS[:, 1]
    along = jnp.asarray(_SAMPLES)[None, :, None]
    points = cones.start[second, None] + along * cones.axis[second, None]
    radii = cones.start_radius[second, None] + _SAMPLES * (
        cones.end_radius - cones.start_radius
    )[second, None]  # fmt: skip
    start, axis = cones.start[first, None], cones.axis[first, None]
    h = ((points - start) * axis).sum(-1) / (axis**2).sum(-1)
    h = jnp.clip(h, 0, 1)
    distance = jnp.linalg.norm(points - start - h[..., None] * axis, axis=-1)
    other = cones.start_radius[first, None] * (1 - h) + cones.end_radius[first, None] * h
    return jnp.maximum(radii + other - distance - 0.01, 0).sum()
