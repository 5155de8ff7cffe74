"""Random scenes: a person in a room, a light and a camera.

The laboratory is one plain room with four cameras and even light. The wild has other people,
places, lights and viewpoints, and objects behind and in front of the person. `varied` has both.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from tfds_builders.synthetic import actions, body, cameras
from tfds_builders.synthetic.kinematics import forward_kinematics
from tfds_builders.synthetic.random_stream import RandomStream
from tfds_builders.synthetic.subjects import Subject, linear

#: Positions of the laboratory's cameras: corners of the room, metres, y down.
LAB_CAMERAS = (
    (-2.4, -1.45, -4.5), (2.5, -1.60, -4.3), (-2.3, -1.55, 4.4), (2.6, -1.50, 4.6),
)  # fmt: skip
#: Range of the camera's distance, and its minimum height, in the domain "varied", metres.
_DISTANCES, _LOWEST_CAMERA = (2.3, 12.0), 0.08
_POSE_CANDIDATES = 6
_NUM_BEHIND, _NUM_FRONT = 6, 2

#: Colours in sRGB: sand, asphalt, grass, concrete, wood, tiles.
_GROUNDS = "c2b08c 5c5c60 607a42 96948e 96704e c4beb6 78543e 6e828c"
#: Brick, leaves, plaster, stone, water, wood, paint.
_WALLS = "965442 3e5c30 cec6b4 78746e 587896 74543a aa9660 363c46 dcdcda 8ca082 b2786e 243422"
_THINGS = "c83c34 3460a0 4a864c e2c45a 805a3c 3c3e44 dedcd6 966a8c d28240 6e96a0 a0988c"


class Room(NamedTuple):
    """An upright box seen from inside. Colours are linear RGB."""

    half: Float[Array, "2"]
    ceiling: Float[Array, ""]
    #: Height of the walls, metres; the sky is above.
    wall_height: Float[Array, ""]
    yaw: Float[Array, ""]
    floor: Float[Array, "2 3"]
    wall: Float[Array, "3 3"]
    sky: Float[Array, "2 3"]
    #: Patches of the floor per metre.
    grain: Float[Array, ""]
    #: Strength of the backdrop's noise per scale (coarse to fine), and its contrast.
    clutter: Float[Array, "5"]
    contrast: Float[Array, ""]


class Boxes(NamedTuple):
    """Upright boxes: furniture, clutter, occluders. A box of size 0 is absent."""

    centre: Float[Array, "boxes 3"]
    half: Float[Array, "boxes 3"]
    yaw: Float[Array, " boxes"]
    colour: Float[Array, "boxes 3"]
    #: Frequency of stripes, radians per metre; 0 is plain.
    stripes: Float[Array, " boxes"]


class Light(NamedTuple):
    """One distant lamp and ambient light."""

    direction: Float[Array, "3"]
    colour: Float[Array, "3"]
    ambient: Float[Array, "3"]
    #: Width of a shadow's edge, metres per metre of distance from the occluder.
    softness: Float[Array, ""]


class Sensor(NamedTuple):
    """Sensor noise in units of full white, and blur from 0 to 1."""

    noise: Float[Array, ""]
    blur: Float[Array, ""]
    seed: Float[Array, "2"]


class Scene(NamedTuple):
    """Input of the renderer."""

    camera: cameras.Camera
    cones: body.Cones
    boxes: Boxes
    room: Room
    light: Light
    sensor: Sensor


class Person(NamedTuple):
    """A posed and dressed person: world metres, radians."""

    joints: Float[Array, "16 3"]
    cones: body.Cones
    yaw: Float[Array, ""]

    def moved(self, offset: Float[Array, "3"]) -> "Person":
        """The same person, translated."""
        cones = self.cones
        cones = cones._replace(start=cones.start + offset, origin=cones.origin + offset)
        return self._replace(joints=self.joints + offset, cones=cones)


def sample_person(
    rng: RandomStream,
    subject: Subject,
    motions: actions.MotionTable,
    action: Int[Array, ""],
    towards: Float[Array, ""],
    frontal: float = 0.75,
) -> Person:
    """Poses a subject on the floor (y = 0), or above it if the action allows.

    Args:
        rng: random numbers.
        subject: the person.
        motions: the domain's actions.
        action: index of the action.
        towards: azimuth of the camera, radians.
        frontal: share of people who roughly face the camera. The others face any direction, so that
            left and right cannot be told apart by the side of the image.
    """
    turn = jnp.where(rng.chance(frontal), 0.6 * rng.normal(), rng.uniform(-jnp.pi, jnp.pi))
    yaw = towards + turn

    def pose(angles):
        figure = forward_kinematics(angles, subject.bones, yaw)
        cones = body.build_body(figure, subject)
        return Person(figure.joints, cones, yaw), body.overlap(cones)

    # The candidate whose limbs overlap least.
    candidates, overlaps = jax.vmap(pose)(
        actions.sample_angles(rng, motions, action, _POSE_CANDIDATES)
    )
    person = jax.tree.map(lambda x: x[jnp.argmin(overlaps)], candidates)
    floor = body.lowest(person.cones)
    if motions.lift.any():
        floor += rng.uniform() * jnp.asarray(motions.lift)[action]
    return person.moved(jnp.stack([0.0, -floor, 0.0]))


def seat(rng: RandomStream, person: Person, seated: Bool[Array, ""]) -> Boxes:
    """A box under a seated person, up to the pelvis."""
    pelvis = body.PART_NAMES.index("pelvis")
    bottom = person.joints[6, 1] + 0.8 * person.cones.start_radius[pelvis]
    height = jnp.where(seated & (bottom < -0.15), -bottom, 0)
    width = rng.uniform(0.17, 0.24)
    x, _, z = person.joints[6] - 0.03 * jnp.stack([jnp.sin(person.yaw), 0, jnp.cos(person.yaw)])
    return Boxes(
        centre=jnp.stack([x, -height / 2, z])[None],
        half=jnp.stack([width, height / 2, width])[None] * (height > 0),
        yaw=person.yaw[None],
        colour=rng.uniform(0.02, 0.35, (1, 3)),
        stripes=jnp.zeros(1),
    )


def lab_room() -> Room:
    """The laboratory: plain and grey."""
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
    rng: RandomStream,
    subject: Subject,
    motions: actions.MotionTable,
    action: Int[Array, ""],
    camera_index: Int[Array, ""],
    sides: tuple[int, int],
) -> tuple[Scene, Person]:
    """A person in the laboratory; `sides` are those of the box and of the image, px."""
    position = jnp.array(LAB_CAMERAS, jnp.float32)[camera_index]
    towards = jnp.arctan2(position[0], position[2])
    person = sample_person(rng, subject, motions, action, towards)
    person = person.moved(rng.uniform(-1.0, 1.0, (3,)) * jnp.array([1.0, 0.0, 1.0]))
    rotation = cameras.look_at(position, jnp.array([0.0, -0.85, 0.0]), jnp.float32(0))
    camera = cameras.frame_person(
        rotation, position, person.joints, *sides,
        zoom=rng.uniform(0.94, 1.04), shift=rng.uniform(-0.02, 0.02, (2,)),
    )  # fmt: skip
    stool = seat(rng, person, jnp.asarray(motions.seated)[action])
    stool = stool._replace(colour=jnp.array([[0.10, 0.10, 0.12]]))
    sensor = Sensor(jnp.float32(0.01), jnp.float32(0.15), rng.uniform(shape=(2,)))
    return Scene(camera, person.cones, stool, lab_room(), lab_light(), sensor), person


def clutter(rng: RandomStream, camera: Float[Array, "3"]) -> Boxes:
    """Boxes behind and, sometimes, in front of a person at the origin."""
    distance = jnp.hypot(camera[0], camera[2])
    away = jnp.arctan2(-camera[0], -camera[2])

    angle = away + rng.uniform(-1.3, 1.3, (_NUM_BEHIND,))
    radius = rng.uniform(1.1, 4.0, (_NUM_BEHIND,))
    half = rng.uniform(0.08, 0.45, (_NUM_BEHIND, 3)) * jnp.array([1.0, 1.6, 1.0])
    hanging = rng.chance(0.25, (_NUM_BEHIND,))
    height = jnp.where(hanging, rng.uniform(1.2, 2.4, (_NUM_BEHIND,)), half[:, 1])
    behind = jnp.stack([radius * jnp.sin(angle), -height, radius * jnp.cos(angle)], -1)

    nearness = rng.uniform(0.35, 0.6, (_NUM_FRONT,)) * distance
    sideways = rng.uniform(0.12, 0.5, (_NUM_FRONT,)) * jnp.array([1.0, -1.0])
    front_half = rng.uniform(0.04, 0.2, (_NUM_FRONT, 3)) * jnp.array([1.0, 2.4, 1.0])
    front = jnp.stack([
        -nearness * jnp.sin(away) + sideways * jnp.cos(away),
        -front_half[:, 1],
        -nearness * jnp.cos(away) - sideways * jnp.sin(away),
    ], -1)  # fmt: skip
    count = _NUM_BEHIND + _NUM_FRONT
    return Boxes(
        centre=jnp.concatenate([behind, front]),
        half=jnp.concatenate([half, front_half * rng.chance(0.4, (_NUM_FRONT, 1))]),
        yaw=rng.uniform(-jnp.pi, jnp.pi, (count,)),
        colour=_tinted(rng, _THINGS, count),
        stripes=rng.chance(0.4, (count,)) * rng.uniform(10.0, 60.0, (count,)),
    )


def _tinted(rng: RandomStream, colours: str, count: int) -> Float[Array, "count 3"]:
    """Random shades of random colours."""
    options = linear(colours)
    chosen = options[rng.index(len(options), (count,))]
    brightness = rng.uniform(0.5, 1.2, (count, 1))
    return chosen * brightness * rng.uniform(0.8, 1.2, (count, 3))


def wild_room(rng: RandomStream, distance: Float[Array, ""]) -> Room:
    """A place, outdoors or indoors, larger than the distance of the camera."""
    outdoors = rng.chance(0.5)
    space = rng.uniform(0.0, 1.0, (2,)) * jnp.where(outdoors, 15, 4) + 0.6
    blue = jnp.array([[0.30, 0.50, 0.85], [0.75, 0.82, 0.90]]) * rng.uniform(0.6, 1.1)
    return Room(
        half=distance + space,
        ceiling=jnp.where(outdoors, -1000.0, rng.uniform(-3.6, -2.7)),
        wall_height=jnp.where(outdoors, rng.uniform(0.6, 7.0), 1000.0),
        yaw=rng.uniform(-jnp.pi, jnp.pi),
        floor=_tinted(rng, _GROUNDS, 1) * rng.uniform(0.6, 1.2, (2, 1)),
        wall=_tinted(rng, _WALLS, 3),
        sky=jnp.where(outdoors, blue, 0.7),
        grain=rng.uniform(3.0, 16.0),
        clutter=rng.uniform(0.2, 1.0, (5,)),
        contrast=jnp.exp(rng.uniform(-0.7, 2.0)),
    )


def wild_light(rng: RandomStream) -> Light:
    """Sun or lamp from a random direction."""
    azimuth, height = rng.uniform(-jnp.pi, jnp.pi), rng.uniform(0.45, 1.35)
    warm = 1 + rng.uniform(-0.25, 0.25) * jnp.array([1.0, 0.1, -1.0])
    flat = jnp.cos(height)
    return Light(
        direction=jnp.stack([
            flat * jnp.sin(azimuth), -jnp.sin(height), flat * jnp.cos(azimuth)
        ]),
        colour=rng.uniform(0.5, 1.9) * warm,
        ambient=rng.uniform(0.2, 0.6) * (2 - warm),
        softness=rng.uniform(0.03, 0.25),
    )  # fmt: skip


def wild_scene(
    rng: RandomStream,
    subject: Subject,
    motions: actions.MotionTable,
    action: Int[Array, ""],
    sides: tuple[int, int],
) -> tuple[Scene, Person]:
    """A person outside the laboratory."""
    azimuth, distance = rng.uniform(-jnp.pi, jnp.pi), rng.uniform(2.6, 6.5)
    person = sample_person(rng, subject, motions, action, azimuth)
    # Mostly eye level, sometimes near the floor or above.
    height = rng.pick(jnp.array([1.4, 1.4, 1.4, 1.4, 0.5, 2.3])) + rng.uniform(-0.3, 0.3)
    position = jnp.stack([distance * jnp.sin(azimuth), -height, distance * jnp.cos(azimuth)])
    target = person.joints[6] + rng.uniform(-0.4, 0.4, (3,))
    rotation = cameras.look_at(position, target, 0.09 * rng.normal())
    camera = cameras.frame_person(
        rotation, position, person.joints, *sides,
        zoom=rng.uniform(0.85, 1.05), shift=rng.uniform(-0.04, 0.04, (2,)),
    )  # fmt: skip
    stool = seat(rng, person, jnp.asarray(motions.seated)[action])
    boxes = jax.tree.map(lambda *x: jnp.concatenate(x), stool, clutter(rng, position))
    sensor = Sensor(
        noise=rng.uniform(0.0, 0.05),
        blur=jnp.maximum(rng.uniform(-0.2, 0.6), 0.15),
        seed=rng.uniform(shape=(2,)),
    )
    room = wild_room(rng, distance)
    return Scene(camera, person.cones, boxes, room, wild_light(rng), sensor), person


def varied_scene(
    rng: RandomStream,
    subject: Subject,
    companion: Subject,
    motions: actions.MotionTable,
    action: Int[Array, ""],
    sides: tuple[int, int],
) -> tuple[Scene, Person]:
    """A person in the laboratory (15 %) or elsewhere, and in 40 % a second person nearby."""
    azimuth = rng.uniform(-jnp.pi, jnp.pi)
    person = sample_person(rng, subject, motions, action, azimuth, frontal=0.5)
    camera = _varied_camera(rng, person, azimuth, sides)
    distance = jnp.hypot(camera.position[0], camera.position[2])

    in_lab = rng.chance(0.15)
    room, light = wild_room(rng, distance), wild_light(rng)
    plain = lab_room()
    plain = plain._replace(half=jnp.maximum(plain.half, distance + 0.5))
    room, light = jax.tree.map(
        lambda lab, wild: jnp.where(in_lab, lab, wild),
        (plain, lab_light()), (room, light),
    )  # fmt: skip
    things = clutter(rng, camera.position)
    things = things._replace(half=jnp.where(in_lab | rng.chance(0.3), 0, things.half))
    other = _companion(rng, companion, motions, azimuth)
    cones = jax.tree.map(lambda *x: jnp.concatenate(x), person.cones, other.cones)
    stool = seat(rng, person, jnp.asarray(motions.seated)[action])
    boxes = jax.tree.map(lambda *x: jnp.concatenate(x), stool, things)
    # Lens and sensor are simulated later, by `camera_effects`.
    sensor = Sensor(jnp.float32(0), jnp.float32(0.15), rng.uniform(shape=(2,)))
    return Scene(camera, cones, boxes, room, light, sensor), person


def _varied_camera(
    rng: RandomStream, person: Person, azimuth: Float[Array, ""], sides: tuple[int, int]
) -> cameras.Camera:
    """A camera in the given direction, mostly level with the person, else below or above."""
    near, far = (jnp.log(jnp.float32(distance)) for distance in _DISTANCES)
    distance = jnp.exp(near + (far - near) * rng.uniform())
    level, steep = 0.05 + 0.12 * rng.normal(), rng.uniform(-0.4, 1.15)
    elevation = jnp.where(rng.chance(0.7), level, steep)
    position = person.joints[6] + distance * jnp.stack([
        jnp.cos(elevation) * jnp.sin(azimuth),
        -jnp.sin(elevation),
        jnp.cos(elevation) * jnp.cos(azimuth),
    ])  # fmt: skip
    position = position.at[1].min(-_LOWEST_CAMERA)
    target = person.joints[6] + rng.uniform(-0.4, 0.4, (3,))
    # Most cameras are nearly level.
    roll = rng.normal() * jnp.where(rng.chance(0.75), 0.08, 0.35)
    return cameras.frame_person(
        cameras.look_at(position, target, roll), position, person.joints, *sides,
        zoom=rng.uniform(0.88, 1.05), shift=rng.uniform(-0.04, 0.04, (2,)),
    )  # fmt: skip


def _companion(
    rng: RandomStream, subject: Subject, motions: actions.MotionTable, azimuth: Float[Array, ""]
) -> Person:
    """A second person behind or beside the first, or (60 %) far below the floor."""
    other = sample_person(rng, subject, motions, rng.index(len(motions.seated)), azimuth)
    where = azimuth + jnp.pi + rng.uniform(-1.6, 1.6)
    away = rng.uniform(0.8, 4.5)
    depth = jnp.where(rng.chance(0.4), 0, 1000)
    return other.moved(jnp.stack([away * jnp.sin(where), depth, away * jnp.cos(where)]))
