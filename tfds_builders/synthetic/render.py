"""Renders scenes: the surface that each ray hits, its colour and its light.

For `jax.lax.map` over images, which on a CPU is three times faster than `jax.vmap`: an image
stays in the cache.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from tfds_builders.synthetic.raycast import Vector, dot, hit_box, hit_cone, lamp_seen, nearest, turn
from tfds_builders.synthetic.scenes import Light, Scene, Sensor

_TILE = 256
_WHITE = np.random.default_rng(0).random((_TILE, _TILE)).astype(np.float32)


def _patches() -> Float[np.ndarray, "n n"]:
    """A periodic tile of patches of several sizes in [0, 1], the texture of floors and walls."""
    tile = sum(
        np.kron(_WHITE[:cells, :cells], np.ones((_TILE // cells,) * 2)) for cells in (8, 32, 128)
    )
    return ((tile - tile.min()) / np.ptp(tile)).astype(np.float32)


_PATCHES = _patches()


def _columns(table: Float[Array, "rows columns"], index: Int[Array, "h w"]) -> list[Array]:
    """`table[index]`, one array per column."""
    return [column[index] for column in table.T]


def _mix(a, b, share):
    return a + share * (b - a)


def _rays(scene: Scene, first: int, side: int) -> Vector:
    """Unit vectors in the world through the pixels [first, first + side)²."""
    camera = scene.camera
    pixels = first + jnp.arange(side, dtype=jnp.float32) + 0.5
    x = ((pixels - camera.centre[0]) / camera.focal)[None, :]
    y = ((pixels - camera.centre[1]) / camera.focal)[:, None]
    inverse = jax.lax.rsqrt(x * x + y * y + 1)
    right, down, forward = camera.rotation
    return tuple((right[i] * x + down[i] * y + forward[i]) * inverse for i in range(3))


def _cones(scene: Scene) -> Float[Array, "parts 8"]:
    """The body's cones in the format of `raycast`, relative to the camera."""
    cones = scene.cones
    radii = jnp.stack([cones.start_radius, cones.end_radius], 1)
    return jnp.concatenate([cones.start - scene.camera.position, cones.axis, radii], 1)


def _noise(sensor: Sensor, number: int, side: int) -> Float[Array, "side side"]:
    """White noise in [0, 1]: a square of a periodic tile, shifted differently in every picture."""
    place = ((sensor.seed * _TILE).astype(jnp.int32) + 37 * number) % _TILE
    tiled = jnp.asarray(np.tile(_WHITE, (-(-side // _TILE) + 1,) * 2))
    return jax.lax.dynamic_slice(tiled, (place[0], place[1]), (side, side))


def _backdrop(scene: Scene, side: int) -> list[Float[Array, "side side"]]:
    """Two fields of noise at several scales in the image plane, in [0, 1]."""
    fields = [jnp.full((side, side), 0.5, jnp.float32)] * 2
    for i, cells in enumerate((3, 7, 17, 41, 97)):
        noise = scene.room.clutter[i] * (_noise(scene.sensor, i, cells) - 0.5)
        fields[i % 2] += jax.image.resize(noise, (side, side), "linear")
    return [jnp.clip((f - 0.5) * scene.room.contrast + 0.5, 0, 1) for f in fields]


class Surface(NamedTuple):
    """The first surface along each ray, before colour."""

    distance: Array
    normal: Vector
    #: Row of the palette, and shares of its colours (see `_paint`).
    row: Int[Array, "h w"]
    second: Array
    third: Array
    shade: Array


def _see_room(scene: Scene, rays: Vector) -> Surface:
    """The floor, the walls and the sky: rows 0, 1 and 2."""
    room, eye = scene.room, scene.camera.position
    cos, sin = jnp.cos(room.yaw), jnp.sin(room.yaw)
    ox, oz = turn(cos, sin, eye[0], eye[2])
    (rx, rz), ry = turn(cos, sin, rays[0], rays[2]), rays[1]
    tx = (jnp.sign(rx) * room.half[0] - ox) / rx
    tz = (jnp.sign(rz) * room.half[1] - oz) / rz
    ty = (jnp.where(ry > 0, 0, room.ceiling) - eye[1]) / ry
    wall_t = jnp.minimum(tx, tz)
    t = jnp.minimum(wall_t, ty)
    is_floor, on_x = (ty <= wall_t) & (ry > 0), tx < tz
    x, height, z = ox + t * rx, -(eye[1] + t * ry), oz + t * rz
    is_sky = (height > room.wall_height) | ((ty <= wall_t) & (ry <= 0))

    # Patches are horizontal on the floor and vertical on the walls.
    across, along = jnp.where(is_floor | ~on_x, x, z), jnp.where(is_floor, z, height)
    row, column = (
        jnp.floor(8 * room.grain * place).astype(jnp.int32) % _TILE for place in (across, along)
    )
    patches = jnp.asarray(_PATCHES).reshape(-1)[row * _TILE + column]
    first, second = _backdrop(scene, rays[0].shape[0])
    first = jnp.clip(first + room.clutter[4] * 0.5 * (patches - 0.5), 0, 1)
    nx = jnp.where(is_floor | ~on_x, 0, -jnp.sign(rx))
    nz = jnp.where(is_floor | on_x, 0, -jnp.sign(rz))
    nx, nz = turn(cos, -sin, nx, nz)
    return Surface(
        distance=t,
        normal=(nx, jnp.where(is_floor, -1.0, 0.0), nz),
        row=jnp.where(is_sky, 2, jnp.where(is_floor, 0, 1)),
        second=jnp.where(is_sky, jnp.clip(-2 * ry, 0, 1), jnp.where(is_floor, patches, first)),
        third=jnp.where(is_sky | is_floor, 0, second),
        shade=jnp.ones_like(t),
    )


def _see_boxes(scene: Scene, rays: Vector) -> Surface:
    """The nearest box: rows 3 and following."""
    boxes = scene.boxes
    yaw = jnp.stack([jnp.cos(boxes.yaw), jnp.sin(boxes.yaw)], 1)
    table = jnp.concatenate([boxes.centre - scene.camera.position, boxes.half, yaw], 1)
    t, index = nearest(hit_box, table, rays)
    columns = _columns(jnp.concatenate([table, boxes.stripes[:, None]], 1), index)
    cx, cy, cz, hx, hy, hz, cos, sin, waves = columns
    x, y, z = t * rays[0] - cx, t * rays[1] - cy, t * rays[2] - cz
    x, z = turn(cos, sin, x, z)
    # The face whose coordinate is closest to its half size.
    ax, ay, az = (jnp.abs(p) / (h + 1e-6) for p, h in ((x, hx), (y, hy), (z, hz)))
    on_y = (ay > ax) & (ay > az)
    on_x = (ax > az) & ~on_y
    nx, nz = jnp.where(on_x, jnp.sign(x), 0), jnp.where(on_x | on_y, 0, jnp.sign(z))
    nx, nz = turn(cos, -sin, nx, nz)
    striped = (waves > 0) & (jnp.sin(waves * (x + y + z)) > 0)
    none = jnp.zeros_like(t)
    return Surface(
        distance=t,
        normal=(nx, jnp.where(on_y, jnp.sign(y), 0), nz),
        row=3 + index,
        second=none,
        third=none,
        shade=jnp.where(striped, 0.4, 1.0),
    )


def _squares(scene: Scene, first: int, window: int, square: int) -> Int[Array, "parts 2"]:
    """First row and column, in the window, of a square that contains a part; -1 if none does."""
    camera, cones = scene.camera, _cones(scene)
    centres = jnp.stack([cones[:, 0:3], cones[:, 0:3] + cones[:, 3:6]]) @ camera.rotation.T
    plane, depth, radius = centres[..., :2], centres[..., 2:], cones[:, 6:8].T[..., None]
    # Tangents of the directions that touch a sphere, in the xz and the yz plane.
    spread = radius * jnp.sqrt(plane**2 + depth**2 - radius**2)
    scale = camera.focal / (depth**2 - radius**2)
    low, high = plane * depth - spread, plane * depth + spread
    low = (low * scale).min(0) + camera.centre - first
    high = (high * scale).max(0) + camera.centre - first
    fits = (jnp.ceil(high) - jnp.floor(low)).max(1) < square
    corners = jnp.clip(jnp.floor(low), 0, window - square).astype(jnp.int32)
    return jnp.where(fits[:, None], corners, -1)[:, ::-1]


def _folds(seed: Float[Array, "2"], x: Array, y: Array, z: Array) -> Array:
    """Brightness factor of creased cloth, around 1, at a position in metres."""
    across = jnp.sin(43 * x + 31 * z + 2.2 * jnp.sin(57 * y + 6 * seed[0]) + 40 * seed[1])
    along = jnp.sin(39 * y + 2.0 * jnp.sin(47 * x - 23 * z) + 40 * seed[0])
    return 1 + 0.14 * across * along + 0.07 * along


def _see_body(scene: Scene, rays: Vector, first: int, folds: bool) -> Surface:
    """The body, with one palette row per row of `body.PARTS`, in a window from `first`."""
    cones = scene.cones
    shapes, window = _cones(scene), len(rays[0])
    square = window // 3
    corners = _squares(scene, first, window, square)
    t, part = nearest(hit_cone, shapes, rays, corners, square)
    table = jnp.concatenate([
        shapes, cones.cover[:, None], cones.is_head[:, None], cones.opening[:, None],
        cones.pattern, cones.origin - scene.camera.position, cones.frame.reshape(-1, 9),
    ], 1)  # fmt: skip
    columns = iter(_columns(table, part))

    def take(count):
        return tuple(next(columns) for _ in range(count))

    start, axis, (ra, rb, cover, is_head, opening) = take(3), take(3), take(5)
    (stripes, hoops, spots, waves), origin, frame = take(4), take(3), take(9)

    points = tuple(t * ray for ray in rays)
    offset = tuple(p - a for p, a in zip(points, start, strict=True))
    # Position on the axis of the sphere that touches the surface at this point.
    length2, along, rr = dot(axis, axis), dot(offset, axis), ra - rb
    radial = jnp.sqrt(jnp.maximum(dot(offset, offset) * length2 - along * along, 0))
    touch = jnp.clip((along + radial * rr * jax.lax.rsqrt(length2 - rr * rr)) / length2, 0, 1)
    normal = tuple(o - touch * b for o, b in zip(offset, axis, strict=True))
    inverse = jax.lax.rsqrt(dot(normal, normal) + 1e-12)

    local = tuple(p - o for p, o in zip(points, origin, strict=True))
    x, y, z = (dot(frame[i::3], local) for i in range(3))
    sx, sy, sz = (jnp.sin(6.28 * waves * place) for place in (x, y, z))
    pattern = jnp.clip(3 * (stripes * sx + hoops * sy + spots * (2 * sx * sy * sz - 0.2)), 0, 1)
    # Only the front has an opening, from collar to hem, and an emblem.
    front = (opening > 0) & (z > 0.03)
    emblem = front & (jnp.abs(x) < 0.06) & (jnp.abs(y - 0.22) < 0.045)
    fastening = front & (jnp.abs(x) < opening)

    face = (is_head > 0) & (z > 0.03)
    aside = jnp.abs(jnp.abs(x) - 0.030)
    eyes = (aside < 0.014) & (jnp.abs(y + 0.086) < 0.008)
    brows = (aside < 0.018) & (jnp.abs(y + 0.108) < 0.005)
    mouth = (jnp.abs(x) < 0.024) & (jnp.abs(y + 0.026) < 0.006)
    bare = along > cover * length2
    shade = jnp.where(face & (eyes | brows), 0.15, jnp.where(face & mouth, 0.4, 1.0))
    if folds:
        shade *= jnp.where(bare | (is_head > 0), 1, _folds(scene.sensor.seed, x, y, z))
    return Surface(
        distance=t,
        normal=tuple(n * inverse for n in normal),
        row=part,
        second=jnp.where(emblem | fastening, 1, pattern),
        third=jnp.where(bare, 1.0, 0.0),
        shade=shade,
    )


def _paint(surface: Surface, palette: Float[Array, "rows 3"], lamp, ambient, around, seen):
    """One colour channel of a surface under the lamp and the ambient light, of these strengths.

    A row of the palette has three colours: the second covers `second` of the first, then the third
    covers `third` of both. A pixel sees the share `around` of the surroundings, and `seen` of the
    lamp, times the cosine.
    """
    first, second, third = _columns(palette, surface.row)
    colour = _mix(_mix(first, second, surface.second), third, surface.third) * surface.shade
    return colour * (ambient * around + lamp * seen)


def _palettes(scene: Scene) -> tuple[Float[Array, "3 rows 3"], Float[Array, "3 parts 3"]]:
    """Colours of surroundings and body: channel, row, colour."""
    room, cones = scene.room, scene.cones
    floor = jnp.concatenate([room.floor, room.floor[:1]])
    sky = jnp.concatenate([room.sky[::-1], room.sky[:1]])
    boxes = jnp.stack([scene.boxes.colour] * 3, 1)
    around = jnp.concatenate([jnp.stack([floor, room.wall, sky]), boxes])
    body = jnp.stack([cones.colour, cones.pattern_colour, cones.end_colour], 1)
    return jnp.moveaxis(around, 2, 0), jnp.moveaxis(body, 2, 0)


def _facing(light: Light, normal: Vector) -> tuple[Array, Array]:
    """Cosine to the lamp, and the factor of the ambient light, which is brighter from above."""
    return jnp.maximum(dot(light.direction, normal), 0), 0.72 - 0.28 * normal[1]


def render(
    scene: Scene, side: int, window: int, *, folds: bool = False
) -> tuple[UInt8[Array, "side side 3"], Int[Array, "window window"]]:
    """Renders a scene.

    Args:
        scene: one scene.
        side: of the picture, px.
        window: side of the square at the picture's centre that the body lies in, px.
        folds: whether cloth is creased.

    Returns:
        The picture (the square root of linear light, near to sRGB), and per pixel of the window
        the part of the body that shows (a row of `body.PARTS`), or -1.
    """
    cones, light, sensor = _cones(scene), scene.light, scene.sensor
    rays = _rays(scene, 0, side)
    room, boxes = _see_room(scene, rays), _see_boxes(scene, rays)
    is_box = boxes.distance < room.distance
    back = jax.tree.map(lambda b, r: jnp.where(is_box, b, r), boxes, room)
    # The body's shadow is soft, so half the resolution suffices.
    half = tuple((back.distance * ray)[::2, ::2] for ray in rays)
    seen = lamp_seen(cones, light.direction, light.softness, half)
    seen = jax.image.resize(seen, (side, side), "linear")
    cosine, around = _facing(light, back.normal)
    is_sky = back.row == 2
    back_light = jnp.where(is_sky, 0, cosine * seen), jnp.where(is_sky, 1, around)

    first = (side - window) // 2
    here = (slice(first, first + window),) * 2
    rays = _rays(scene, first, window)
    body = _see_body(scene, rays, first, folds)
    is_body = body.distance < back.distance[here]
    points = tuple(body.distance * ray for ray in rays)
    seen = lamp_seen(cones, light.direction, light.softness, points)
    cosine, around = _facing(light, body.normal)
    body_light = cosine * seen, around

    def channel(inputs):
        back_palette, body_palette, lamp, ambient = inputs
        seen, around = back_light
        ambient_back = jnp.where(is_sky, 1, ambient)
        shown = _paint(back, back_palette, lamp, ambient_back, around, seen)
        seen, around = body_light
        shown_body = _paint(body, body_palette, lamp, ambient, around, seen)
        shown_body = jnp.where(is_body, shown_body, shown[here])
        shown = jax.lax.dynamic_update_slice(shown, shown_body, (first, first))
        return jnp.sqrt(jnp.clip(shown, 0, 1))

    # One channel after another; shared terms are computed once.
    picture = jax.lax.map(channel, (*_palettes(scene), light.colour, light.ambient))
    for axis in (1, 2):
        near = (jnp.roll(picture, 1, axis) + jnp.roll(picture, -1, axis)) / 2
        picture = _mix(picture, near, sensor.blur)
    picture = picture + sensor.noise * (2 * _noise(sensor, 9, side) - 1)
    picture = (jnp.clip(picture, 0, 1) * 255 + 0.5).astype(jnp.uint8)
    return jnp.moveaxis(picture, 0, -1), jnp.where(is_body, body.row, -1)
