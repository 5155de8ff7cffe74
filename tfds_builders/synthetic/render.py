"""A ray-caster in JAX: rounded cones, boxes and a room, with soft shadows.

Written for one CPU core per image: one coordinate per array (no dot products over an axis of 3),
a loop over the parts that keeps only the nearest hit, and shading once per pixel, after a single
gather of the nearest part's properties. `jax.lax.map` over images keeps an image in the cache.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from tfds_builders.synthetic.scenes import Boxes, Light, Room, Scene

_FAR = 1e4
_GRAIN_SIDE = 256
ROOM, BOX, PERSON = 0, 1, 2


def _grain_tile() -> Float[np.ndarray, "n n"]:
    """A periodic tile of noise at several scales in [0, 1]: what floors are made of."""
    rng, tile = np.random.default_rng(0), np.zeros((_GRAIN_SIDE, _GRAIN_SIDE))
    for cells in (8, 32, 128, 256):
        step = _GRAIN_SIDE // cells
        tile += np.kron(rng.random((cells, cells)), np.ones((step, step)))
    return ((tile - tile.min()) / np.ptp(tile)).astype(np.float32)


_GRAIN = _grain_tile()


def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _columns(x):
    return tuple(x[..., i] for i in range(x.shape[-1]))


def _turn(yaw, x, z):
    """Coordinates in axes turned by `yaw` about the vertical."""
    cos, sin = jnp.cos(yaw), jnp.sin(yaw)
    return cos * x - sin * z, sin * x + cos * z


def _rays(scene: Scene, side: int):
    """Unit directions in the world, one array per coordinate."""
    camera = scene.camera
    pixels = jnp.arange(side, dtype=jnp.float32) + 0.5
    x = ((pixels - camera.centre[0]) / camera.focal)[None, :]
    y = ((pixels - camera.centre[1]) / camera.focal)[:, None]
    inverse = jax.lax.rsqrt(x * x + y * y + 1)
    right, down, forward = camera.rotation
    return tuple((right[i] * x + down[i] * y + forward[i]) * inverse for i in range(3))


def _hit_cone(row, rays):
    """Distance to one rounded cone from the origin, or `_FAR`.

    After Inigo Quilez, "Rounded Cone - intersection": the body of the cone, else the nearer of
    the two spheres.
    """
    a, ba, ra, rb = row[0:3], row[3:6], row[6], row[7]
    m0, m1, m5 = _dot(ba, ba), -_dot(ba, a), _dot(a, a)
    rr = ra - rb
    m2, m3 = _dot(ba, rays), -_dot(a, rays)
    d2 = m0 - rr * rr
    k2 = d2 - m2 * m2
    k1 = d2 * m3 - m1 * m2 + m2 * rr * ra
    k0 = d2 * m5 - m1 * m1 + m1 * rr * ra * 2 - m0 * ra * ra
    h = k1 * k1 - k0 * k2
    t = (-jnp.sqrt(jnp.maximum(h, 0)) - k1) / k2
    y = m1 - ra * rr + t * m2
    on_body = (h > 0) & (y > 0) & (y < d2)
    m6, m7 = m3 - m2, m5 - 2 * m1 + m0
    h1 = m3 * m3 - m5 + ra * ra
    h2 = m6 * m6 - m7 + rb * rb
    t1 = jnp.where(h1 > 0, -m3 - jnp.sqrt(jnp.maximum(h1, 0)), _FAR)
    t2 = jnp.where(h2 > 0, -m6 - jnp.sqrt(jnp.maximum(h2, 0)), _FAR)
    return jnp.where(on_body, t, jnp.minimum(t1, t2))


def _hit_box(row, rays):
    """Distance to one upright box from the origin, or `_FAR`."""
    centre, half, yaw = row[0:3], row[3:6], row[6]
    cx, cz = _turn(yaw, centre[0], centre[2])
    rx, rz = _turn(yaw, rays[0], rays[2])
    near, far = jnp.float32(0), jnp.float32(_FAR)
    for c, h, r in ((cx, half[0], rx), (centre[1], half[1], rays[1]), (cz, half[2], rz)):
        t1, t2 = (c - h) / r, (c + h) / r
        near, far = jnp.maximum(near, jnp.minimum(t1, t2)), jnp.minimum(far, jnp.maximum(t1, t2))
    return jnp.where((near < far) & (near > 0) & (half[0] > 0), near, _FAR)


def _nearest(hit, rows, rays):
    """The nearest hit among `rows`: distance and row index per pixel."""

    def step(carry, row_and_index):
        nearest, index = carry
        row, i = row_and_index
        t = hit(row, rays)
        return (jnp.minimum(t, nearest), jnp.where(t < nearest, i, index)), None

    start = jnp.full_like(rays[0], _FAR), jnp.zeros(rays[0].shape, jnp.int32)
    (t, index), _ = jax.lax.scan(step, start, (rows, jnp.arange(len(rows), dtype=jnp.int32)))
    return t, index


def _cone_rows(scene: Scene) -> Float[Array, "parts 8"]:
    cones = scene.cones
    return jnp.concatenate([
        cones.start - scene.camera.position, cones.axis, cones.start_radius[:, None],
        cones.end_radius[:, None],
    ], 1)  # fmt: skip


def _light_left(rows, light: Light, points):
    """How much of the lamp each point sees, past the body's cones.

    Seen from the lamp, a cone is a flat shape: a point's distance from its outline gives a soft
    edge without casting a second ray.
    """
    towards = light.direction
    side = jnp.cross(towards, jnp.array([0.30, 0.10, 0.95]))
    side = side / jnp.linalg.norm(side)
    axes = jnp.stack([side, jnp.cross(towards, side), towards])
    u, v, w = (_dot(axis, points) for axis in axes)
    start, axis = rows[:, 0:3] @ axes.T, rows[:, 3:6] @ axes.T
    flat = jnp.concatenate([start, axis, rows[:, 6:8]], 1)

    def step(left, row):
        pu, pv = u - row[0], v - row[1]
        h = (pu * row[3] + pv * row[4]) / (row[3] ** 2 + row[4] ** 2 + 1e-6)
        h = jnp.clip(h, 0, 1)
        du, dv = pu - h * row[3], pv - h * row[4]
        gap = jnp.sqrt(du * du + dv * dv) - row[6] - h * (row[7] - row[6])
        above = row[2] + h * row[5] - w
        soft = 0.01 + light.softness * jnp.maximum(above, 0)
        seen = jnp.clip(gap / soft + 0.5, 0, 1)
        return jnp.where(above > 0, jnp.minimum(left, seen), left), None

    return jax.lax.scan(step, jnp.ones_like(u), flat)[0]


def _paint_body(scene: Scene, index, points):
    """Albedo and normals of the body's pixels."""
    cones = scene.cones
    count = len(cones.cover)
    table = jnp.concatenate([
        _cone_rows(scene), cones.cover[:, None], cones.colour, cones.pattern_colour,
        cones.end_colour, cones.pattern, cones.origin - scene.camera.position,
        cones.frame.reshape(count, 9), cones.is_head[:, None], cones.is_torso[:, None],
    ], 1)  # fmt: skip
    columns = _columns(table[index])
    a, ba, (ra, rb, cover) = columns[0:3], columns[3:6], columns[6:9]
    colour, second, bare = columns[9:12], columns[12:15], columns[15:18]
    (stripes, hoops, spots, waves), origin = columns[18:22], columns[22:25]
    frame, (is_head, is_torso) = columns[25:34], columns[34:36]

    offset = tuple(p - q for p, q in zip(points, a, strict=True))
    m0, rr = _dot(ba, ba), ra - rb
    # The axis point whose sphere touches the surface here.
    radial = jnp.sqrt(jnp.maximum(_dot(offset, offset) - _dot(offset, ba) ** 2 / m0, 0))
    h = (_dot(offset, ba) + radial * rr * jax.lax.rsqrt(m0 - rr * rr) * jnp.sqrt(m0)) / m0
    h = jnp.clip(h, 0, 1)
    normal = tuple(o - h * b for o, b in zip(offset, ba, strict=True))
    inverse = jax.lax.rsqrt(_dot(normal, normal) + 1e-12)
    normal = tuple(n * inverse for n in normal)

    local = tuple(p - q for p, q in zip(points, origin, strict=True))
    x, y, z = (_dot(frame[i::3], local) for i in range(3))
    sx, sy = jnp.sin(6.28 * waves * x), jnp.sin(6.28 * waves * y)
    wave = stripes * sx + hoops * sy + spots * (2 * sx * sy * jnp.sin(6.28 * waves * z) - 0.2)
    wave = jnp.clip(3 * wave, 0, 1)
    # A front: collar to hem fastening and an emblem on the chest.
    front = is_torso * (z > 0.03)
    emblem = front * (jnp.abs(x) < 0.06) * (jnp.abs(y - 0.22) < 0.045)
    fastening = front * (jnp.abs(x) < 0.009)
    wave = jnp.maximum(wave * (1 - emblem), jnp.maximum(emblem, fastening))
    colour = tuple(c + wave * (s - c) for c, s in zip(colour, second, strict=True))
    along = _dot(offset, ba) / m0
    colour = tuple(jnp.where(along > cover, s, c) for c, s in zip(colour, bare, strict=True))

    face = is_head * (z > 0.03)
    aside = jnp.abs(jnp.abs(x) - 0.030)
    dark = face * ((aside < 0.014) & (jnp.abs(y + 0.086) < 0.008))
    dark = jnp.maximum(dark, face * ((aside < 0.018) & (jnp.abs(y + 0.108) < 0.005)))
    mouth = face * ((jnp.abs(x) < 0.024) & (jnp.abs(y + 0.026) < 0.006))
    colour = tuple(c * (1 - 0.85 * dark) * (1 - m * mouth) for c, m in
                   zip(colour, (0.4, 0.75, 0.7), strict=True))  # fmt: skip
    return colour, normal


def _paint_boxes(boxes: Boxes, camera, index, points):
    """Albedo and normals of the boxes' pixels."""
    count = len(boxes.yaw)
    table = jnp.concatenate([
        boxes.centre - camera, boxes.half, jnp.cos(boxes.yaw)[:, None],
        jnp.sin(boxes.yaw)[:, None], boxes.colour, boxes.stripes[:, None],
    ], 1)  # fmt: skip
    assert table.shape == (count, 12)
    columns = _columns(table[index])
    x, y, z = (p - c for p, c in zip(points, columns[0:3], strict=True))
    cos, sin = columns[6], columns[7]
    x, z = cos * x - sin * z, sin * x + cos * z
    ax, ay, az = (jnp.abs(p) / (h + 1e-6) for p, h in zip((x, y, z), columns[3:6], strict=True))
    is_y = (ay > ax) & (ay > az)
    is_x = (ax > az) & ~is_y
    nx = jnp.where(is_x, jnp.sign(x), 0)
    nz = jnp.where(~is_x & ~is_y, jnp.sign(z), 0)
    normal = cos * nx + sin * nz, jnp.where(is_y, jnp.sign(y), 0), -sin * nx + cos * nz
    stripe = jnp.where(columns[11] > 0, jnp.sin(columns[11] * (x + y + z)) > 0, False)
    shade = jnp.where(stripe, 0.4, 1.0)
    return tuple(c * shade for c in columns[8:11]), normal


def _backdrop(key, clutter, side: int):
    """Coloured noise at several scales, in the image plane, about ±1 times `clutter`."""
    total = [jnp.zeros((side, side), jnp.float32)] * 3
    for i, (cells, coloured) in enumerate(((3, 1), (7, 1), (17, 1), (41, 0), (97, 0))):
        noise = jax.random.uniform(
            jax.random.fold_in(key, i), (3 if coloured else 1, cells, cells), minval=-1
        )
        noise = clutter[i] * jax.image.resize(noise, (noise.shape[0], side, side), "linear")
        total = [t + noise[c % noise.shape[0]] for c, t in enumerate(total)]
    return total


def _paint_room(room: Room, camera, rays, key):
    """Distance, albedo and normals of the room, and where its light is its own (the sky)."""
    side = rays[0].shape[0]
    ox, oz = _turn(room.yaw, camera[0], camera[2])
    rx, rz = _turn(room.yaw, rays[0], rays[2])
    ry = rays[1]
    tx = (jnp.sign(rx) * room.half[0] - ox) / rx
    tz = (jnp.sign(rz) * room.half[1] - oz) / rz
    ty = (jnp.where(ry > 0, 0, room.ceiling) - camera[1]) / ry
    t = jnp.minimum(jnp.minimum(tx, tz), ty)
    on_floor = (ty <= jnp.minimum(tx, tz)) & (ry > 0)
    height = -(camera[1] + t * ry)
    sky = (height > room.wall_height) | ((ty <= jnp.minimum(tx, tz)) & (ry <= 0))
    x, z = ox + t * rx, oz + t * rz

    cell = jnp.stack([x, z]) * room.grain * 8
    cell = jnp.floor(cell).astype(jnp.int32) % _GRAIN_SIDE
    grain = jnp.asarray(_GRAIN).reshape(-1)[cell[0] * _GRAIN_SIDE + cell[1]]
    noise = _backdrop(key, room.clutter, side)
    upright = jnp.clip(height / 3.0, 0, 1)
    colour = []
    for c in range(3):
        floor = room.floor[0, c] + grain * (room.floor[1, c] - room.floor[0, c])
        wall = room.wall[0, c] + upright * (room.wall[1, c] - room.wall[0, c])
        wall = jnp.clip(wall * (1 + noise[c]) + 0.1 * jnp.maximum(noise[c], 0), 0.01, 1)
        colour.append(jnp.where(on_floor, floor, wall))
    heaven = jnp.clip(-2.0 * ry, 0, 1)
    sky_colour = [s[1] + heaven * (s[0] - s[1]) for s in room.sky.T]
    wall_x = tx < tz
    nx = jnp.where(on_floor | ~wall_x, 0, -jnp.sign(rx))
    nz = jnp.where(on_floor | wall_x, 0, -jnp.sign(rz))
    cos, sin = jnp.cos(room.yaw), jnp.sin(room.yaw)
    normal = cos * nx + sin * nz, jnp.where(on_floor, -1.0, 0.0), -sin * nx + cos * nz
    return t, tuple(colour), normal, sky, sky_colour


def render(scene: Scene, side: int) -> tuple[UInt8[Array, "side side 3"], Int[Array, "side side"]]:
    """Renders a scene.

    Returns:
        The picture (sRGB-like: the square root of linear light), and per pixel the part of the
        body that shows (a row of `body.PARTS`), or -1.
    """
    position = scene.camera.position
    rays = _rays(scene, side)
    room_t, room_colour, room_normal, sky, sky_colour = _paint_room(
        scene.room, position, rays, scene.key
    )
    rows = _cone_rows(scene)
    cone_t, part = _nearest(_hit_cone, rows, rays)
    boxes = scene.boxes
    box_rows = jnp.concatenate([boxes.centre - position, boxes.half, boxes.yaw[:, None]], 1)
    box_t, box = _nearest(_hit_box, box_rows, rays)

    t = jnp.minimum(jnp.minimum(room_t, box_t), cone_t)
    points = tuple(r * t for r in rays)
    is_body, is_box = cone_t <= t, box_t <= t
    body_colour, body_normal = _paint_body(scene, part, points)
    box_colour, box_normal = _paint_boxes(boxes, position, box, points)

    def choose(body, box, room):
        return tuple(
            jnp.where(is_body, b, jnp.where(is_box, x, r))
            for b, x, r in zip(body, box, room, strict=True)
        )

    colour = choose(body_colour, box_colour, room_colour)
    normal = choose(body_normal, box_normal, room_normal)
    light = scene.light
    lamp = jnp.maximum(_dot(light.direction, normal), 0) * _light_left(rows, light, points)
    around = 0.72 - 0.28 * normal[1]
    shown = []
    for c in range(3):
        lit = colour[c] * (light.ambient[c] * around + light.colour[c] * lamp)
        shown.append(jnp.where(sky & ~is_body & ~is_box, sky_colour[c], lit))
    picture = jnp.sqrt(jnp.clip(jnp.stack(shown, -1), 0, 1))
    for axis in (0, 1):
        near = (jnp.roll(picture, 1, axis) + jnp.roll(picture, -1, axis)) / 2
        picture = picture + light.blur * (near - picture)
    noise = jax.random.uniform(jax.random.fold_in(scene.key, 99), (side, side, 1), minval=-1)
    picture = picture + light.noise * noise
    picture = (jnp.clip(picture, 0, 1) * 255 + 0.5).astype(jnp.uint8)
    return picture, jnp.where(is_body, part, -1)
