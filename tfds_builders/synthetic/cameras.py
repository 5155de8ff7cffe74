"""Perspective cameras in a world whose y axis points down; metres and pixels."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

#: Side of the box in units of the person's extent.
BOX_MARGIN = 1.25


class Camera(NamedTuple):
    """A pinhole camera. Rows of `rotation` are its right, down and forward axes."""

    rotation: Float[Array, "3 3"]
    position: Float[Array, "3"]
    focal: Float[Array, ""]
    centre: Float[Array, "2"]


def look_at(
    position: Float[Array, "3"], target: Float[Array, "3"], roll: Float[Array, ""]
) -> Float[Array, "3 3"]:
    """The rotation of a camera that looks from `position` to `target`; roll in radians."""
    forward = (target - position) / jnp.linalg.norm(target - position)
    right = jnp.cross(jnp.array([0.0, 1.0, 0.0]), forward)
    right = right / jnp.linalg.norm(right)
    down = jnp.cross(forward, right)
    cos, sin = jnp.cos(roll), jnp.sin(roll)
    return jnp.stack([cos * right + sin * down, cos * down - sin * right, forward])


def to_camera(camera: Camera, points: Float[Array, "*n 3"]) -> Float[Array, "*n 3"]:
    """World points in the camera's axes, metres."""
    return (points - camera.position) @ camera.rotation.T


def project(camera: Camera, points: Float[Array, "*n 3"]) -> Float[Array, "*n 2"]:
    """World points to continuous pixels."""
    points = to_camera(camera, points)
    return camera.focal * points[..., :2] / points[..., 2:] + camera.centre


def frame_person(
    rotation: Float[Array, "3 3"],
    position: Float[Array, "3"],
    joints: Float[Array, "16 3"],
    box_side: int,
    image_side: int,
    zoom: Float[Array, ""],
    shift: Float[Array, "2"],
) -> Camera:
    """The camera whose image is the person's square crop.

    Cropping and resizing change only focal length and principal point, so the crop is rendered
    directly.

    Args:
        rotation: of the camera.
        position: of the camera.
        joints: in the world.
        box_side: side of the person's box, centred in the image, px.
        image_side: px.
        zoom: factor on the person's size; 1 gives `BOX_MARGIN`.
        shift: of the person, in box sides.
    """
    camera = Camera(rotation, position, jnp.float32(1), jnp.zeros(2, jnp.float32))
    plane, depth = project(camera, joints), to_camera(camera, joints)[:, 2]
    low, high = plane.min(0), plane.max(0)
    # Depth counts as extent too, so that normalised depth stays within [-1, 1] for people who lie
    # along the line of sight.
    extent = jnp.maximum((high - low).max(), (depth.max() - depth.min()) / depth[6])
    focal = zoom * box_side / (BOX_MARGIN * extent)
    centre = image_side / 2 + shift * box_side - focal * (low + high) / 2
    return Camera(rotation, position, focal, centre)
