"""Scenes of the domain "varied": all people, places, poses and viewpoints."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tfds_builders.synthetic import actions, cameras, scenes
from tfds_builders.synthetic.random_stream import RandomStream
from tfds_builders.synthetic.subjects import Subject

#: Range of the camera's distance, metres.
_DISTANCES = (2.3, 12.0)
#: Minimum height of the camera, metres.
_LOWEST_CAMERA = 0.08


def varied_scene(
    rng: RandomStream,
    subject: Subject,
    companion: Subject,
    motions: actions.MotionTable,
    action: Int[Array, ""],
    box_side: int,
    image_side: int,
) -> tuple[scenes.Scene, scenes.Person]:
    """A person in the laboratory (15 %) or elsewhere, and in 40 % a second person nearby."""
    azimuth = rng.uniform(-jnp.pi, jnp.pi)
    person = scenes.sample_person(rng, subject, motions, action, azimuth, frontal=0.5)
    camera = _camera(rng, person, azimuth, box_side, image_side)
    distance = jnp.hypot(camera.position[0], camera.position[2])

    in_lab = rng.chance(0.15)
    room, light = scenes.wild_room(rng, distance), scenes.wild_light(rng)
    plain = scenes.lab_room()
    plain = plain._replace(half=jnp.maximum(plain.half, distance + 0.5))
    room, light = jax.tree.map(
        lambda lab, wild: jnp.where(in_lab, lab, wild),
        (plain, scenes.lab_light()), (room, light),
    )  # fmt: skip
    clutter = scenes.clutter(rng, camera.position)
    clutter = clutter._replace(half=jnp.where(in_lab | rng.chance(0.3), 0, clutter.half))
    other = _companion(rng, companion, motions, azimuth)
    cones = jax.tree.map(lambda *x: jnp.concatenate(x), person.cones, other.cones)
    stool = scenes.seat(rng, person, jnp.asarray(motions.seated)[action])
    boxes = jax.tree.map(lambda *x: jnp.concatenate(x), stool, clutter)
    # Lens and sensor are simulated later, by `camera_effects`.
    sensor = scenes.Sensor(jnp.float32(0), jnp.float32(0.15), rng.uniform(shape=(2,)))
    return scenes.Scene(camera, cones, boxes, room, light, sensor), person


def _camera(
    rng: RandomStream,
    person: scenes.Person,
    azimuth: Float[Array, ""],
    box_side: int,
    image_side: int,
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
        cameras.look_at(position, target, roll), position, person.joints, box_side, image_side,
        zoom=rng.uniform(0.88, 1.05), shift=rng.uniform(-0.04, 0.04, (2,)),
    )  # fmt: skip


def _companion(
    rng: RandomStream, subject: Subject, motions: actions.MotionTable, azimuth: Float[Array, ""]
) -> scenes.Person:
    """A second person behind or beside the first, or (60 %) far below the floor."""
    other = scenes.sample_person(rng, subject, motions, rng.index(len(motions.seated)), azimuth)
    where = azimuth + jnp.pi + rng.uniform(-1.6, 1.6)
    away = rng.uniform(0.8, 4.5)
    depth = jnp.where(rng.chance(0.4), 0, 1000)
    return other.moved(jnp.stack([away * jnp.sin(where), depth, away * jnp.cos(where)]))
