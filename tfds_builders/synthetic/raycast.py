"""Rays against rounded cones and boxes, and the soft shadows of rounded cones.

Written for speed on a CPU core: one array per coordinate (no dot products over an axis of three),
and a loop over the bodies that keeps only the nearest hit; colours are computed later, once per
pixel. Vectors are tuples of three arrays, one entry per pixel.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Vector = tuple[Array, Array, Array]
#: Distance for rays without a hit, metres.
FAR = 1e4


def dot(a, b) -> Array:
    """The inner product of vectors, or of a vector and three numbers."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def turn(cos, sin, x, z) -> tuple[Array, Array]:
    """Horizontal coordinates in axes rotated about the vertical."""
    return cos * x - sin * z, sin * x + cos * z


def hit_cone(cone: Float[Array, "8"], rays: Vector) -> Array:
    """The distance along unit rays from the origin to a rounded cone, or `FAR`.

    A cone is its start (3), its axis (3), and its radius at the start and at the end. After Inigo
    Quilez, "rounded cone - intersection": the flank of the cone, else the nearer of the two
    spheres.
    """
    a, ba, ra, rb = cone[0:3], cone[3:6], cone[6], cone[7]
    # Names as in Quilez's code; oa = -a, ob = -a - ba.
    m0, m1, m5, rr = dot(ba, ba), -dot(ba, a), dot(a, a), ra - rb
    m2, m3 = dot(ba, rays), -dot(a, rays)
    d2 = m0 - rr * rr
    k2 = d2 - m2 * m2
    k1 = d2 * m3 - m1 * m2 + m2 * rr * ra
    k0 = d2 * m5 - m1 * m1 + m1 * rr * ra * 2 - m0 * ra * ra
    h = k1 * k1 - k0 * k2
    t = (-jnp.sqrt(jnp.maximum(h, 0)) - k1) / k2
    y = m1 - ra * rr + t * m2
    m6, m7 = m3 - m2, m5 - 2 * m1 + m0
    h1, h2 = m3 * m3 - m5 + ra * ra, m6 * m6 - m7 + rb * rb
    t1 = jnp.where(h1 > 0, -m3 - jnp.sqrt(jnp.maximum(h1, 0)), FAR)
    t2 = jnp.where(h2 > 0, -m6 - jnp.sqrt(jnp.maximum(h2, 0)), FAR)
    return jnp.where((h > 0) & (y > 0) & (y < d2), t, jnp.minimum(t1, t2))


def hit_box(box: Float[Array, "8"], rays: Vector) -> Array:
    """The distance along rays from the origin to an upright box, or `FAR`.

    A box is its centre (3), its half sizes (3), and cosine and sine of its yaw.
    """
    half = box[3:6]
    x, z = turn(box[6], box[7], box[0], box[2])
    rx, rz = turn(box[6], box[7], rays[0], rays[2])
    near, far = jnp.float32(0), jnp.float32(FAR)
    for centre, h, ray in ((x, half[0], rx), (box[1], half[1], rays[1]), (z, half[2], rz)):
        inverse = 1 / ray
        t1, t2 = (centre - h) * inverse, (centre + h) * inverse
        near = jnp.maximum(near, jnp.minimum(t1, t2))
        far = jnp.minimum(far, jnp.maximum(t1, t2))
    return jnp.where((near < far) & (near > 0) & (half[0] > 0), near, FAR)


def nearest(
    hit: Callable[[Array, Vector], Array],
    bodies: Float[Array, "n 8"],
    rays: Vector,
    corners: Int[Array, "n 2"] | None = None,
    square: int = 0,
) -> tuple[Float[Array, "*rays"], Int[Array, "*rays"]]:
    """Nearest hit among bodies: distance and index of the body, per ray.

    Args:
        hit: `hit_cone` or `hit_box`.
        bodies: its first argument, for each body.
        rays: its second.
        corners: the first row and column of a square of rays that holds all that meet a body,
            -1 where no such square does; by default every ray is tried with every body.
        square: side of that square.
    """

    def best_of(body, rays, best):
        t = hit(bodies[body], rays)
        return jnp.minimum(t, best[0]), jnp.where(t < best[0], body, best[1])

    def in_square(i, best):
        corner = corners[order[i]]
        some = tuple(jax.lax.dynamic_slice(x, corner, (square, square)) for x in (*rays, *best))
        found = best_of(order[i], some[:3], some[3:])
        return tuple(
            jax.lax.dynamic_update_slice(old, new, corner)
            for old, new in zip(best, found, strict=True)
        )

    if corners is None:
        corners = jnp.full((len(bodies), 2), -1)
    fits = corners[:, 0] >= 0
    # Small bodies, then the others; the lengths of the loops depend on the scene.
    order = jnp.argsort(~fits).astype(jnp.int32)
    best = jnp.full_like(rays[0], FAR), jnp.zeros(rays[0].shape, jnp.int32)
    if square:
        best = jax.lax.fori_loop(0, fits.sum(), in_square, best)
    return jax.lax.fori_loop(
        fits.sum(), len(bodies), lambda i, best: best_of(order[i], rays, best), best
    )


def lamp_seen(
    cones: Float[Array, "n 8"],
    direction: Float[Array, "3"],
    softness: Float[Array, ""],
    points: Vector,
) -> Array:
    """Visibility of a distant lamp behind rounded cones, from 0 to 1.

    Seen from the lamp a cone is a flat shape, and a point's distance from its outline gives a
    shadow with a soft edge without any second ray.

    Args:
        cones: as in `hit_cone`.
        direction: towards the lamp, a unit vector.
        softness: width of the shadow's edge per distance from the cone.
        points: where to look from.
    """
    across = jnp.cross(direction, jnp.array([0.30, 0.10, 0.95]))
    across = across / jnp.linalg.norm(across)
    axes = jnp.stack([across, jnp.cross(direction, across), direction])
    u, v, height = (dot(axis, points) for axis in axes)
    flat = jnp.concatenate([cones[:, 0:3] @ axes.T, cones[:, 3:6] @ axes.T, cones[:, 6:8]], 1)

    def step(seen, cone):
        pu, pv = u - cone[0], v - cone[1]
        inverse = 1 / (cone[3] ** 2 + cone[4] ** 2 + 1e-6)
        h = jnp.clip((pu * cone[3] + pv * cone[4]) * inverse, 0, 1)
        du, dv = pu - h * cone[3], pv - h * cone[4]
        gap = jnp.sqrt(du * du + dv * dv) - cone[6] - h * (cone[7] - cone[6])
        above = cone[2] + h * cone[5] - height
        past = jnp.clip(gap / (0.01 + softness * jnp.maximum(above, 0)) + 0.5, 0, 1)
        return jnp.where(above > 0, jnp.minimum(seen, past), seen), None

    return jax.lax.scan(step, jnp.ones_like(u), flat)[0]
