"""Scenes: a person in a room, a light and a camera, drawn from a key.

The laboratory is one plain room with four cameras and even light. The wild is everything else:
other people, places, lights, viewpoints, things behind and in front of the person.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from tfds_builders.synthetic import actions, body, cameras
from tfds_builders.synthetic.kinematics import forward_kinematics
from tfds_builders.synthetic.subjects import Subject

#: Positions of the laboratory's cameras: corners of the room, metres, y down.
LAB_CAMERAS = (
    (-2.4, -1.45, -4.5), (2.5, -1.60, -4.3), (-2.3, -1.55, 4.4), (2.6, -1.50, 4.6),
)  # fmt: skip
_POSE_CANDIDATES = 4
_NUM_BEHIND, _NUM_FRONT = 6, 2


class Room(NamedTuple):
    """The inside of an upright box, seen from within. Colours are linear light."""

    half: Float[Array, "2"]
    ceiling: Float[Array, ""]
    #: Above this height walls give way to the sky.
    wall_height: Float[Array, ""]
    yaw: Float[Array, ""]
    floor: Float[Array, "2 3"]
    wall: Float[Array, "2 3"]
    sky: Float[Array, "2 3"]
    #: Patches of the floor per metre.
    grain: Float[Array, ""]
    #: How strongly the backdrop's noise shows, per scale (coarse to fine).
    clutter: Float[Array, "5"]


class Boxes(NamedTuple):
    """Upright boxes: furniture, clutter, occluders. A box of no size is not there."""

    centre: Float[Array, "boxes 3"]
    half: Float[Array, "boxes 3"]
    yaw: Float[Array, " boxes"]
    colour: Float[Array, "boxes 3"]
    stripes: Float[Array, " boxes"]


class Light(NamedTuple):
    """One distant lamp and the light of the surroundings."""

    direction: Float[Array, "3"]
    colour: Float[Array, "3"]
    ambient: Float[Array, "3"]
    #: Width of a shadow's edge, metres per metre of distance from what casts it.
    softness: Float[Array, ""]
    noise: Float[Array, ""]
    blur: Float[Array, ""]


class Scene(NamedTuple):
    """Everything that the renderer needs."""

    camera: cameras.Camera
    cones: body.Cones
    boxes: Boxes
    room: Room
    light: Light
    key: Key[Array, ""]


class Person(NamedTuple):
    """What is known of the person in a scene: world metres."""

    joints: Float[Array, "16 3"]
    cones: body.Cones
    seat_height: Float[Array, ""]
    yaw: Float[Array, ""]


def _uniform(key, low, high, shape=()):
    return jax.random.uniform(key, shape, minval=low, maxval=high)


def sample_person(
    key: Key[Array, ""], subject: Subject, moves: actions.Moves, action: Int[Array, ""]
) -> Person:
    """Poses a subject on the floor (y = 0), facing anywhere."""
    pose_key, yaw_key = jax.random.split(key)
    yaw = _uniform(yaw_key, -jnp.pi, jnp.pi)

    def candidate(key):
        angles = actions.sample_angles(key, moves, action)
        figure = forward_kinematics(angles, subject.bones, yaw)
        cones = body.build_body(figure, subject)
        return figure.joints, cones, body.overlap(cones)

    # The best of a few draws, so that limbs do not run through each other.
    drawn = jax.vmap(candidate)(jax.random.split(pose_key, _POSE_CANDIDATES))
    best = jnp.argmin(drawn[2])
    joints, cones = jax.tree.map(lambda x: x[best], drawn[:2])
    return Person(*_move(joints, cones, jnp.array([0, -body.lowest(cones), 0])), yaw=yaw,
                  seat_height=jnp.float32(0))  # fmt: skip


def _move(joints, cones, offset):
    return joints + offset, cones._replace(start=cones.start + offset, origin=cones.origin + offset)


def _seat(key: Key[Array, ""], person: Person, seated: Bool[Array, ""]) -> Boxes:
    """A stool or a chest under the person, up to the pelvis."""
    keys = jax.random.split(key, 3)
    pelvis = body.PART_NAMES.index("pelvis")
    bottom = person.joints[6, 1] + 0.8 * person.cones.start_radius[pelvis]
    height = jnp.where(seated & (bottom < -0.15), -bottom, 0)
    width = _uniform(keys[0], 0.17, 0.24)
    back = 0.03 * jnp.array([jnp.sin(person.yaw), 0, jnp.cos(person.yaw)])
    return Boxes(
        (person.joints[6] * jnp.array([1, 0, 1]) - back - jnp.array([0, height / 2, 0]))[None],
        (jnp.array([width, height / 2, width]) * (height > 0))[None],
        person.yaw[None],
        _uniform(keys[1], 0.02, 0.35, (1, 3)),
        jnp.zeros(1),
    )


def _join(*boxes: Boxes) -> Boxes:
    return jax.tree.map(lambda *x: jnp.concatenate(x), *boxes)


def lab_scene(
    key: Key[Array, ""],
    subject: Subject,
    moves: actions.Moves,
    action: Int[Array, ""],
    camera_index: Int[Array, ""],
    box_side: int,
    image_side: int,
) -> tuple[Scene, Person]:
    """A person in the laboratory."""
    keys = jax.random.split(key, 6)
    person = sample_person(keys[0], subject, moves, action)
    x, z = _uniform(keys[1], -1.0, 1.0, (2,))
    joints, cones = _move(person.joints, person.cones, jnp.stack([x, jnp.zeros(()), z]))
    person = person._replace(joints=joints, cones=cones)

    position = jnp.array(LAB_CAMERAS, jnp.float32)[camera_index]
    rotation = cameras.look_at(position, jnp.array([0.0, -0.85, 0.0]), jnp.float32(0))
    camera = cameras.frame_person(
        rotation, position, joints, box_side, image_side,
        zoom=_uniform(keys[2], 0.94, 1.04), shift=_uniform(keys[3], -0.02, 0.02, (2,)),
    )  # fmt: skip
    room = Room(
        half=jnp.array([3.6, 5.4]), ceiling=jnp.float32(-3.2), wall_height=jnp.float32(9),
        yaw=jnp.float32(0),
        floor=jnp.array([[0.42, 0.30, 0.22], [0.34, 0.24, 0.18]]),
        wall=jnp.array([[0.50, 0.53, 0.55], [0.36, 0.40, 0.44]]),
        sky=jnp.full((2, 3), 0.6), grain=jnp.float32(6),
        clutter=jnp.array([0.10, 0.04, 0.02, 0.02, 0.02]),
    )  # fmt: skip
    light = Light(
        direction=jnp.array([0.22, -0.95, 0.21]), colour=jnp.full(3, 0.65),
        ambient=jnp.full(3, 0.55), softness=jnp.float32(0.35), noise=jnp.float32(0.01),
        blur=jnp.float32(0),
    )  # fmt: skip
    seat = _seat(keys[4], person, jnp.asarray(moves.seated)[action])
    seat = seat._replace(colour=jnp.array([[0.10, 0.10, 0.12]]))
    return Scene(camera, cones, seat, room, light, keys[5]), person


def _clutter(key: Key[Array, ""], camera: Float[Array, "3"]) -> Boxes:
    """Boxes behind the person, and perhaps before them; the person stands at the origin."""
    keys = jax.random.split(key, 12)
    distance = jnp.linalg.norm(camera[jnp.array([0, 2])])
    away = jnp.arctan2(-camera[0], -camera[2])

    angle = away + _uniform(keys[0], -1.3, 1.3, (_NUM_BEHIND,))
    radius = _uniform(keys[1], 1.1, 4.0, (_NUM_BEHIND,))
    half = _uniform(keys[2], 0.08, 0.45, (_NUM_BEHIND, 3)) * jnp.array([1.0, 1.6, 1.0])
    hanging = jax.random.bernoulli(keys[3], 0.25, (_NUM_BEHIND,))
    height = jnp.where(hanging, _uniform(keys[4], 1.2, 2.4, (_NUM_BEHIND,)), half[:, 1])
    behind = jnp.stack([radius * jnp.sin(angle), -height, radius * jnp.cos(angle)], -1)

    nearness = _uniform(keys[5], 0.35, 0.6, (_NUM_FRONT,)) * distance
    sideways = _uniform(keys[6], 0.12, 0.5, (_NUM_FRONT,)) * jnp.array([1, -1])
    front_half = _uniform(keys[7], 0.04, 0.2, (_NUM_FRONT, 3))
    front_half = front_half.at[:, 1].set(_uniform(keys[8], 0.1, 0.45, (_NUM_FRONT,)))
    front = jnp.stack([
        -nearness * jnp.sin(away) + sideways * jnp.cos(away), -front_half[:, 1],
        -nearness * jnp.cos(away) - sideways * jnp.sin(away),
    ], -1)  # fmt: skip
    there = jax.random.bernoulli(keys[9], 0.4, (_NUM_FRONT, 1))
    count = _NUM_BEHIND + _NUM_FRONT
    return Boxes(
        jnp.concatenate([behind, front]),
        jnp.concatenate([half, front_half * there]),
        _uniform(keys[10], -jnp.pi, jnp.pi, (count,)),
        _uniform(jax.random.fold_in(keys[11], 0), 0.02, 0.6, (count, 3)),
        jax.random.bernoulli(jax.random.fold_in(keys[11], 1), 0.4, (count,))
        * _uniform(jax.random.fold_in(keys[11], 2), 10.0, 60.0, (count,)),
    )


def _wild_room(key: Key[Array, ""], distance: Float[Array, ""]) -> Room:
    keys = jax.random.split(key, 10)
    outdoors = jax.random.bernoulli(keys[0], 0.5)
    space = _uniform(keys[1], 0.0, 1.0, (2,)) * jnp.where(outdoors, 15, 4) + 0.6
    tint = _uniform(keys[2], 0.05, 0.55, (2, 3))
    grey = tint.mean(-1, keepdims=True)
    blue = jnp.array([[0.30, 0.50, 0.85], [0.75, 0.82, 0.90]]) * _uniform(keys[3], 0.6, 1.1)
    return Room(
        half=distance + space,
        ceiling=jnp.where(outdoors, -1000.0, -_uniform(keys[4], 2.7, 3.6)),
        wall_height=jnp.where(outdoors, _uniform(keys[5], 0.6, 7.0), 1000.0),
        yaw=_uniform(keys[6], -jnp.pi, jnp.pi),
        floor=0.5 * grey + 0.5 * tint,
        wall=_uniform(keys[7], 0.03, 0.65, (2, 3)),
        sky=jnp.where(outdoors, blue, 0.7),
        grain=_uniform(keys[8], 4.0, 20.0),
        clutter=_uniform(keys[9], 0.1, 0.8, (5,)) * jnp.array([1.0, 0.9, 0.8, 0.7, 0.5]),
    )


def _wild_light(key: Key[Array, ""]) -> Light:
    keys = jax.random.split(key, 7)
    azimuth, height = _uniform(keys[0], -jnp.pi, jnp.pi), _uniform(keys[1], 0.45, 1.35)
    warm = 1 + 0.25 * _uniform(keys[2], -1, 1) * jnp.array([1.0, 0.1, -1.0])
    strength = _uniform(keys[3], 0.5, 1.9)
    return Light(
        direction=jnp.stack([
            jnp.cos(height) * jnp.sin(azimuth), -jnp.sin(height),
            jnp.cos(height) * jnp.cos(azimuth),
        ]),
        colour=strength * warm,
        ambient=_uniform(keys[4], 0.18, 0.6) * (2 - warm),
        softness=_uniform(keys[5], 0.03, 0.25),
        noise=_uniform(keys[6], 0.0, 0.05),
        blur=jnp.maximum(_uniform(jax.random.fold_in(keys[6], 1), -0.3, 0.5), 0),
    )  # fmt: skip


def wild_scene(
    key: Key[Array, ""],
    subject: Subject,
    moves: actions.Moves,
    action: Int[Array, ""],
    box_side: int,
    image_side: int,
) -> tuple[Scene, Person]:
    """A person anywhere."""
    keys = jax.random.split(key, 14)
    person = sample_person(keys[0], subject, moves, action)
    azimuth, distance = _uniform(keys[1], -jnp.pi, jnp.pi), _uniform(keys[2], 2.6, 6.5)
    # Mostly at eye level; sometimes from near the floor or from above.
    height = jnp.array([1.4, 0.5, 2.3])[
        jax.random.choice(keys[3], 3, p=jnp.array([0.64, 0.16, 0.2]))
    ] + _uniform(keys[4], -0.3, 0.3)
    position = jnp.stack([distance * jnp.sin(azimuth), -height, distance * jnp.cos(azimuth)])
    target = person.joints[6] + _uniform(keys[5], -0.4, 0.4, (3,))
    rotation = cameras.look_at(position, target, 0.09 * jax.random.normal(keys[6]))
    camera = cameras.frame_person(
        rotation, position, person.joints, box_side, image_side,
        zoom=_uniform(keys[7], 0.85, 1.05), shift=_uniform(keys[8], -0.04, 0.04, (2,)),
    )  # fmt: skip
    seat = _seat(keys[9], person, jnp.asarray(moves.seated)[action])
    boxes = _join(seat, _clutter(keys[10], position))
    room = _wild_room(keys[11], distance)
    return Scene(camera, person.cones, boxes, room, _wild_light(keys[12]), keys[13]), person
