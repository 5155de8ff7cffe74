"""Scenes of the varied configuration: anyone, anywhere, in any pose, from any direction."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tfds_builders.synthetic import actions, cameras, scenes
from tfds_builders.synthetic.draws import Draws
from tfds_builders.synthetic.subjects import Subject

#: Distances of the camera, metres: across a room to across a playing field.
_DISTANCES = (2.3, 12.0)
#: No camera is nearer to the floor, metres.
_LOWEST_CAMERA = 0.08


def varied_scene(
    draws: Draws,
    subject: Subject,
    companion: Subject,
    moves: actions.Moves,
    action: Int[Array, ""],
    box_side: int,
    image_side: int,
) -> tuple[scenes.Scene, scenes.Person]:
    """A person in the laboratory or, mostly, anywhere else, perhaps with somebody else near."""
    azimuth = draws.uniform(-jnp.pi, jnp.pi)
    person = scenes.sample_person(draws, subject, moves, action, azimuth, frontal=0.5)
    camera = _camera(draws, person, azimuth, box_side, image_side)
    distance = jnp.hypot(camera.position[0], camera.position[2])

    in_lab = draws.chance(0.15)
    room, light = scenes.wild_room(draws, distance), scenes.wild_light(draws)
    plain = scenes.lab_room()
    plain = plain._replace(half=jnp.maximum(plain.half, distance + 0.5))
    room, light = jax.tree.map(
        lambda lab, wild: jnp.where(in_lab, lab, wild),
        (plain, scenes.lab_light()), (room, light),
    )  # fmt: skip
    clutter = scenes.clutter(draws, camera.position)
    clutter = clutter._replace(half=jnp.where(in_lab | draws.chance(0.3), 0, clutter.half))
    other = _companion(draws, companion, moves, azimuth)
    cones = jax.tree.map(lambda *x: jnp.concatenate(x), person.cones, other.cones)
    stool = scenes.seat(draws, person, jnp.asarray(moves.seated)[action])
    boxes = jax.tree.map(lambda *x: jnp.concatenate(x), stool, clutter)
    # What a lens and a sensor add comes later: see `photographs`.
    film = scenes.Film(jnp.float32(0), jnp.float32(0.15), draws.uniform(shape=(2,)))
    return scenes.Scene(camera, cones, boxes, room, light, film), person


def _camera(
    draws: Draws, person: scenes.Person, azimuth: Float[Array, ""], box_side: int, image_side: int
) -> cameras.Camera:
    """A camera in the given direction: mostly level with the person, else from below or above."""
    near, far = (jnp.log(jnp.float32(distance)) for distance in _DISTANCES)
    distance = jnp.exp(near + (far - near) * draws.uniform())
    level, steep = 0.05 + 0.12 * draws.normal(), draws.uniform(-0.4, 1.15)
    elevation = jnp.where(draws.chance(0.7), level, steep)
    position = person.joints[6] + distance * jnp.stack([
        jnp.cos(elevation) * jnp.sin(azimuth),
        -jnp.sin(elevation),
        jnp.cos(elevation) * jnp.cos(azimuth),
    ])  # fmt: skip
    position = position.at[1].min(-_LOWEST_CAMERA)
    target = person.joints[6] + draws.uniform(-0.4, 0.4, (3,))
    # Most cameras are held nearly level, some are not.
    roll = draws.normal() * jnp.where(draws.chance(0.75), 0.08, 0.35)
    return cameras.frame_person(
        cameras.look_at(position, target, roll), position, person.joints, box_side, image_side,
        zoom=draws.uniform(0.88, 1.05), shift=draws.uniform(-0.04, 0.04, (2,)),
    )  # fmt: skip


def _companion(
    draws: Draws, subject: Subject, moves: actions.Moves, azimuth: Float[Array, ""]
) -> scenes.Person:
    """Somebody else: behind or beside the person, as seen by a camera at `azimuth`, or nowhere."""
    other = scenes.sample_person(draws, subject, moves, draws.index(len(moves.seated)), azimuth)
    where = azimuth + jnp.pi + draws.uniform(-1.6, 1.6)
    away = draws.uniform(0.8, 4.5)
    # Nowhere is far below the floor.
    depth = jnp.where(draws.chance(0.4), 0, 1000)
    return other.moved(jnp.stack([away * jnp.sin(where), depth, away * jnp.cos(where)]))
