"""Scenes: a person in a room, a light and a camera, drawn at random.

The laboratory is one plain room with four cameras and even light. The wild is everything else:
other people, places, lights, viewpoints, things behind and in front of the person. `varied` draws
from both.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from tfds_builders.synthetic import actions, body, cameras
from tfds_builders.synthetic.draws import Draws
from tfds_builders.synthetic.kinematics import forward_kinematics
from tfds_builders.synthetic.subjects import Subject, linear

#: Positions of the laboratory's cameras: corners of the room, metres, y down.
LAB_CAMERAS = (
    (-2.4, -1.45, -4.5), (2.5, -1.60, -4.3), (-2.3, -1.55, 4.4), (2.6, -1.50, 4.6),
)  # fmt: skip
_POSE_CANDIDATES = 6
_NUM_BEHIND, _NUM_FRONT = 6, 2

#: Colours in sRGB, 0–255: sand, asphalt, grass, concrete, wood, tiles.
_GROUNDS = [
    (194, 176, 140), (92, 92, 96), (96, 122, 66), (150, 148, 142), (150, 112, 78), (196, 190, 182),
    (120, 84, 62), (110, 130, 140),
]  # fmt: skip
#: Brick, leaves, plaster, stone, water, wood, paint.
_WALLS = [
    (150, 84, 66), (62, 92, 48), (206, 198, 180), (120, 116, 110), (88, 120, 150), (116, 84, 58),
    (170, 150, 96), (54, 60, 70), (220, 220, 218), (140, 160, 130), (178, 120, 110), (36, 52, 34),
]  # fmt: skip
_THINGS = [
    (200, 60, 52), (52, 96, 160), (74, 134, 76), (226, 196, 90), (128, 90, 60), (60, 62, 68),
    (222, 220, 214), (150, 106, 140), (210, 130, 64), (110, 150, 160), (160, 152, 140),
]  # fmt: skip


class Room(NamedTuple):
    """The inside of an upright box, seen from within. Colours are linear light."""

    half: Float[Array, "2"]
    ceiling: Float[Array, ""]
    #: Above this height walls give way to the sky.
    wall_height: Float[Array, ""]
    yaw: Float[Array, ""]
    floor: Float[Array, "2 3"]
    wall: Float[Array, "3 3"]
    sky: Float[Array, "2 3"]
    #: Patches of the floor per metre.
    grain: Float[Array, ""]
    #: How strongly the backdrop's noise shows, per scale (coarse to fine), and how hard its edges.
    clutter: Float[Array, "5"]
    contrast: Float[Array, ""]


class Boxes(NamedTuple):
    """Upright boxes: furniture, clutter, occluders. A box of no size is not there."""

    centre: Float[Array, "boxes 3"]
    half: Float[Array, "boxes 3"]
    yaw: Float[Array, " boxes"]
    colour: Float[Array, "boxes 3"]
    #: Radians of stripe per metre; 0 is plain.
    stripes: Float[Array, " boxes"]


class Light(NamedTuple):
    """One distant lamp and the light of the surroundings."""

    direction: Float[Array, "3"]
    colour: Float[Array, "3"]
    ambient: Float[Array, "3"]
    #: Width of a shadow's edge, metres per metre of distance from what casts it.
    softness: Float[Array, ""]


class Film(NamedTuple):
    """What the camera adds: noise in units of full white, and blur from 0 to 1."""

    noise: Float[Array, ""]
    blur: Float[Array, ""]
    seed: Float[Array, "2"]


class Scene(NamedTuple):
    """Everything that the renderer needs."""

    camera: cameras.Camera
    cones: body.Cones
    boxes: Boxes
    room: Room
    light: Light
    film: Film


class Person(NamedTuple):
    """A posed and dressed person: world metres, radians."""

    joints: Float[Array, "16 3"]
    cones: body.Cones
    yaw: Float[Array, ""]

    def moved(self, offset: Float[Array, "3"]) -> "Person":
        """The same person elsewhere."""
        cones = self.cones
        cones = cones._replace(start=cones.start + offset, origin=cones.origin + offset)
        return self._replace(joints=self.joints + offset, cones=cones)


def _facing(draws: Draws, frontal: float) -> Float[Array, ""]:
    """How far a person is turned away from the camera, radians.

    People mostly face who takes their picture, a share `frontal` of them. The others face
    anywhere, so that left and right have to be recognised by more than their side of the image.
    """
    return jnp.where(draws.chance(frontal), 0.6 * draws.normal(), draws.uniform(-jnp.pi, jnp.pi))


def sample_person(
    draws: Draws,
    subject: Subject,
    moves: actions.Moves,
    action: Int[Array, ""],
    towards: Float[Array, ""],
    frontal: float = 0.75,
) -> Person:
    """Poses a subject on the floor (y = 0), or above it if the action leaves the ground.

    Args:
        draws: random numbers.
        subject: who.
        moves: what there is to do.
        action: which of it.
        towards: where the camera is, an azimuth in radians.
        frontal: how many people face about there.
    """
    yaw = towards + _facing(draws, frontal)

    def pose(angles):
        figure = forward_kinematics(angles, subject.bones, yaw)
        cones = body.build_body(figure, subject)
        return Person(figure.joints, cones, yaw), body.overlap(cones)

    # The best of a few draws, so that limbs do not run through each other.
    candidates, overlaps = jax.vmap(pose)(
        actions.sample_angles(draws, moves, action, _POSE_CANDIDATES)
    )
    person = jax.tree.map(lambda x: x[jnp.argmin(overlaps)], candidates)
    floor = body.lowest(person.cones)
    if moves.lift.any():
        floor += draws.uniform() * jnp.asarray(moves.lift)[action]
    return person.moved(jnp.stack([0.0, -floor, 0.0]))


def seat(draws: Draws, person: Person, seated: Bool[Array, ""]) -> Boxes:
    """A stool or a chest under the person, up to the pelvis."""
    pelvis = body.PART_NAMES.index("pelvis")
    bottom = person.joints[6, 1] + 0.8 * person.cones.start_radius[pelvis]
    height = jnp.where(seated & (bottom < -0.15), -bottom, 0)
    width = draws.uniform(0.17, 0.24)
    x, _, z = person.joints[6] - 0.03 * jnp.stack([jnp.sin(person.yaw), 0, jnp.cos(person.yaw)])
    return Boxes(
        centre=jnp.stack([x, -height / 2, z])[None],
        half=jnp.stack([width, height / 2, width])[None] * (height > 0),
        yaw=person.yaw[None],
        colour=draws.uniform(0.02, 0.35, (1, 3)),
        stripes=jnp.zeros(1),
    )


def lab_room() -> Room:
    """The laboratory, plain and grey."""
    return Room(
        half=jnp.array([3.6, 5.4]), ceiling=jnp.float32(-3.2), wall_height=jnp.float32(9),
        yaw=jnp.float32(0),
        floor=jnp.array([[0.42, 0.30, 0.22], [0.34, 0.24, 0.18]]),
        wall=jnp.array([[0.48, 0.52, 0.55], [0.40, 0.44, 0.47], [0.55, 0.55, 0.52]]),
        sky=jnp.full((2, 3), 0.6), grain=jnp.float32(6),
        clutter=jnp.array([0.5, 0.3, 0.1, 0.1, 0.1]), contrast=jnp.float32(1),
    )  # fmt: skip


def lab_light() -> Light:
    """Even light from above."""
    return Light(
        direction=jnp.array([0.22, -0.95, 0.21]), colour=jnp.full(3, 0.65),
        ambient=jnp.full(3, 0.55), softness=jnp.float32(0.35),
    )  # fmt: skip


def lab_scene(
    draws: Draws,
    subject: Subject,
    moves: actions.Moves,
    action: Int[Array, ""],
    camera_index: Int[Array, ""],
    box_side: int,
    image_side: int,
) -> tuple[Scene, Person]:
    """A person in the laboratory."""
    position = jnp.array(LAB_CAMERAS, jnp.float32)[camera_index]
    towards = jnp.arctan2(position[0], position[2])
    person = sample_person(draws, subject, moves, action, towards)
    person = person.moved(draws.uniform(-1.0, 1.0, (3,)) * jnp.array([1.0, 0.0, 1.0]))
    rotation = cameras.look_at(position, jnp.array([0.0, -0.85, 0.0]), jnp.float32(0))
    camera = cameras.frame_person(
        rotation, position, person.joints, box_side, image_side,
        zoom=draws.uniform(0.94, 1.04), shift=draws.uniform(-0.02, 0.02, (2,)),
    )  # fmt: skip
    stool = seat(draws, person, jnp.asarray(moves.seated)[action])
    stool = stool._replace(colour=jnp.array([[0.10, 0.10, 0.12]]))
    film = Film(jnp.float32(0.01), jnp.float32(0.15), draws.uniform(shape=(2,)))
    return Scene(camera, person.cones, stool, lab_room(), lab_light(), film), person


def clutter(draws: Draws, camera: Float[Array, "3"]) -> Boxes:
    """Boxes behind the person, and perhaps before them; the person stands at the origin."""
    distance = jnp.hypot(camera[0], camera[2])
    away = jnp.arctan2(-camera[0], -camera[2])

    angle = away + draws.uniform(-1.3, 1.3, (_NUM_BEHIND,))
    radius = draws.uniform(1.1, 4.0, (_NUM_BEHIND,))
    half = draws.uniform(0.08, 0.45, (_NUM_BEHIND, 3)) * jnp.array([1.0, 1.6, 1.0])
    hanging = draws.chance(0.25, (_NUM_BEHIND,))
    height = jnp.where(hanging, draws.uniform(1.2, 2.4, (_NUM_BEHIND,)), half[:, 1])
    behind = jnp.stack([radius * jnp.sin(angle), -height, radius * jnp.cos(angle)], -1)

    nearness = draws.uniform(0.35, 0.6, (_NUM_FRONT,)) * distance
    sideways = draws.uniform(0.12, 0.5, (_NUM_FRONT,)) * jnp.array([1.0, -1.0])
    front_half = draws.uniform(0.04, 0.2, (_NUM_FRONT, 3)) * jnp.array([1.0, 2.4, 1.0])
    front = jnp.stack([
        -nearness * jnp.sin(away) + sideways * jnp.cos(away),
        -front_half[:, 1],
        -nearness * jnp.cos(away) - sideways * jnp.sin(away),
    ], -1)  # fmt: skip
    count = _NUM_BEHIND + _NUM_FRONT
    return Boxes(
        centre=jnp.concatenate([behind, front]),
        half=jnp.concatenate([half, front_half * draws.chance(0.4, (_NUM_FRONT, 1))]),
        yaw=draws.uniform(-jnp.pi, jnp.pi, (count,)),
        colour=_tinted(draws, linear(_THINGS), count),
        stripes=draws.chance(0.4, (count,)) * draws.uniform(10.0, 60.0, (count,)),
    )


def _tinted(draws: Draws, colours: Float[Array, "n 3"], count: int) -> Float[Array, "count 3"]:
    """Shades of some of the colours."""
    chosen = colours[draws.index(len(colours), (count,))]
    brightness = draws.uniform(0.5, 1.2, (count, 1))
    return chosen * brightness * draws.uniform(0.8, 1.2, (count, 3))


def wild_room(draws: Draws, distance: Float[Array, ""]) -> Room:
    """A place outdoors or indoors that holds a camera so far from the person."""
    outdoors = draws.chance(0.5)
    space = draws.uniform(0.0, 1.0, (2,)) * jnp.where(outdoors, 15, 4) + 0.6
    blue = jnp.array([[0.30, 0.50, 0.85], [0.75, 0.82, 0.90]]) * draws.uniform(0.6, 1.1)
    return Room(
        half=distance + space,
        ceiling=jnp.where(outdoors, -1000.0, draws.uniform(-3.6, -2.7)),
        wall_height=jnp.where(outdoors, draws.uniform(0.6, 7.0), 1000.0),
        yaw=draws.uniform(-jnp.pi, jnp.pi),
        floor=_tinted(draws, linear(_GROUNDS), 1) * draws.uniform(0.6, 1.2, (2, 1)),
        wall=_tinted(draws, linear(_WALLS), 3),
        sky=jnp.where(outdoors, blue, 0.7),
        grain=draws.uniform(3.0, 16.0),
        clutter=draws.uniform(0.2, 1.0, (5,)),
        contrast=jnp.exp(draws.uniform(-0.7, 2.0)),
    )


def wild_light(draws: Draws) -> Light:
    """Sun or lamp from any side."""
    azimuth, height = draws.uniform(-jnp.pi, jnp.pi), draws.uniform(0.45, 1.35)
    warm = 1 + draws.uniform(-0.25, 0.25) * jnp.array([1.0, 0.1, -1.0])
    flat = jnp.cos(height)
    return Light(
        direction=jnp.stack([
            flat * jnp.sin(azimuth), -jnp.sin(height), flat * jnp.cos(azimuth)
        ]),
        colour=draws.uniform(0.5, 1.9) * warm,
        ambient=draws.uniform(0.2, 0.6) * (2 - warm),
        softness=draws.uniform(0.03, 0.25),
    )  # fmt: skip


def wild_scene(
    draws: Draws,
    subject: Subject,
    moves: actions.Moves,
    action: Int[Array, ""],
    box_side: int,
    image_side: int,
) -> tuple[Scene, Person]:
    """A person anywhere."""
    azimuth, distance = draws.uniform(-jnp.pi, jnp.pi), draws.uniform(2.6, 6.5)
    person = sample_person(draws, subject, moves, action, azimuth)
    # Mostly at eye level; sometimes from near the floor or from above.
    height = draws.pick(jnp.array([1.4, 1.4, 1.4, 1.4, 0.5, 2.3])) + draws.uniform(-0.3, 0.3)
    position = jnp.stack([distance * jnp.sin(azimuth), -height, distance * jnp.cos(azimuth)])
    target = person.joints[6] + draws.uniform(-0.4, 0.4, (3,))
    rotation = cameras.look_at(position, target, 0.09 * draws.normal())
    camera = cameras.frame_person(
        rotation, position, person.joints, box_side, image_side,
        zoom=draws.uniform(0.85, 1.05), shift=draws.uniform(-0.04, 0.04, (2,)),
    )  # fmt: skip
    stool = seat(draws, person, jnp.asarray(moves.seated)[action])
    boxes = jax.tree.map(lambda *x: jnp.concatenate(x), stool, clutter(draws, position))
    film = Film(
        noise=draws.uniform(0.0, 0.05),
        blur=jnp.maximum(draws.uniform(-0.2, 0.6), 0.15),
        seed=draws.uniform(shape=(2,)),
    )
    room = wild_room(draws, distance)
    return Scene(camera, person.cones, boxes, room, wild_light(draws), film), person
