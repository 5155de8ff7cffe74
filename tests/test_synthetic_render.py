"""Cameras and rays against float64 geometry written another way; the effects of a camera."""

import jax
import jax.numpy as jnp
import numpy as np

from tfds_builders.synthetic import camera_effects, cameras, raycast


def unit_rays(rng, count):
    rays = rng.normal(size=(count, 3)) * [0.3, 0.3, 0.1] + [0, 0, 1]
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def columns(vectors):
    return tuple(jnp.asarray(vectors[:, i], jnp.float32) for i in range(3))


def cone_distance(points, cone, steps=150):
    """Signed distance to the union of spheres along the axis."""
    along = np.linspace(0, 1, steps)[:, None]
    centres, radii = cone[:3] + along * cone[3:6], cone[6] + along[:, 0] * (cone[7] - cone[6])
    return (np.linalg.norm(points[:, None] - centres, axis=-1) - radii).min(1)


def test_rounded_cone_is_hit_where_sphere_tracing_ends():
    rng = np.random.default_rng(0)
    rays = unit_rays(rng, 200)
    cone = np.array([-0.3, 0.1, 3.0, 0.7, -0.3, 0.4, 0.35, 0.15])
    t = np.zeros(len(rays))
    for _ in range(80):
        t += cone_distance(rays * t[:, None], cone)
    hit = t < 10
    found = np.asarray(raycast.hit_cone(jnp.asarray(cone, jnp.float32), columns(rays)))
    clear = np.abs(cone_distance(rays * np.clip(t, 0, 10)[:, None], cone)) < 1e-4
    assert 20 < hit.sum() < 180
    np.testing.assert_allclose(found[hit & clear], t[hit & clear], atol=2e-3)
    assert (found[~hit] == raycast.FAR).all()


def test_box_is_hit_where_marching_enters_it():
    rng = np.random.default_rng(1)
    rays, yaw = unit_rays(rng, 300), 0.6
    box = np.array([0.1, -0.1, 4.0, 0.5, 0.4, 0.3, np.cos(yaw), np.sin(yaw)])
    t = np.linspace(2.5, 5.5, 3001)
    points = rays[:, None] * t[:, None] - box[:3]
    x = np.cos(yaw) * points[..., 0] - np.sin(yaw) * points[..., 2]
    z = np.sin(yaw) * points[..., 0] + np.cos(yaw) * points[..., 2]
    inside = (np.abs(x) < 0.5) & (np.abs(points[..., 1]) < 0.4) & (np.abs(z) < 0.3)
    hit = inside.sum(1) > 3
    found = np.asarray(raycast.hit_box(jnp.asarray(box, jnp.float32), columns(rays)))
    np.testing.assert_allclose(found[hit], t[inside.argmax(1)][hit], atol=3e-3)
    assert (found[inside.sum(1) == 0] == raycast.FAR).all()
    absent = box.copy()
    absent[3:6] = 0
    assert (raycast.hit_box(jnp.asarray(absent, jnp.float32), columns(rays)) == raycast.FAR).all()


def test_nearest_keeps_the_nearer_body():
    near = [0, 0, 2, 0.01, 0, 0, 0.2, 0.2]
    far = [0, 0, 4, 0.01, 0, 0, 0.6, 0.6]
    rays = columns(np.array([[0, 0, 1.0], [np.sin(0.13), 0, np.cos(0.13)], [0.6, 0, 0.8]]))
    for order, expected in (((near, far), (0, 1)), ((far, near), (1, 0))):
        t, index = raycast.nearest(raycast.hit_cone, jnp.array(order, jnp.float32), rays)
        assert index[:2].tolist() == list(expected)
        np.testing.assert_allclose(t[0], 1.8, atol=1e-4)
        assert t[2] == raycast.FAR


def test_shadows_fall_where_rays_to_the_lamp_are_blocked():
    rng = np.random.default_rng(2)
    cone = np.array([0, -1.0, 0, 0.5, -0.4, 0.2, 0.3, 0.2])
    lamp = np.array([0.3, -0.9, 0.2])
    lamp /= np.linalg.norm(lamp)
    points = rng.uniform(-1.2, 1.2, (300, 3)) * [1, 0, 1]
    march = points[:, None] + np.linspace(0.3, 2.5, 220)[:, None] * lamp
    clearance = cone_distance(march.reshape(-1, 3), cone, 40).reshape(300, 220).min(1)
    seen = np.asarray(raycast.lamp_seen(
        jnp.asarray(cone, jnp.float32)[None], jnp.asarray(lamp, jnp.float32), jnp.float32(0.0),
        columns(points),
    ))  # fmt: skip
    assert (seen[clearance > 0.02] == 1).all()
    assert (seen[clearance < -0.02] == 0).all()
    assert (clearance < -0.02).sum() > 10
    # Nothing below casts a shadow upwards.
    above = columns(points - [0, 3, 0])
    bodies, towards = jnp.asarray(cone, jnp.float32)[None], jnp.asarray(lamp, jnp.float32)
    assert (raycast.lamp_seen(bodies, towards, jnp.float32(0.1), above) == 1).all()


def test_camera_looks_at_its_target_and_stands_upright():
    position, target = jnp.array([2.0, -1.5, -4.0]), jnp.array([0.2, -0.9, 0.3])
    rotation = cameras.look_at(position, target, jnp.float32(0))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(rotation) > 0
    camera = cameras.Camera(rotation, position, jnp.float32(700), jnp.array([60.0, 70.0]))
    np.testing.assert_allclose(cameras.project(camera, target), [60, 70], atol=1e-2)
    below = cameras.project(camera, target + jnp.array([0, 0.5, 0]))
    assert below[1] > 80
    np.testing.assert_allclose(below[0], 60, atol=1e-2)


def test_person_fills_the_box():
    rng = np.random.default_rng(4)
    for i in range(20):
        joints = jnp.asarray(rng.normal(size=(16, 3)) * [0.4, 0.6, 0.2], jnp.float32)
        position = jnp.asarray(rng.normal(size=3) * [0.5, 0.5, 0] + [0, 0, -4], jnp.float32)
        rotation = cameras.look_at(position, jnp.zeros(3), jnp.float32(0.1 * i))
        camera = cameras.frame_person(
            rotation, position, joints, 128, 160, jnp.float32(1), jnp.zeros(2)
        )
        pixels = np.asarray(cameras.project(camera, joints))
        extent = np.ptp(pixels, axis=0).max()
        np.testing.assert_allclose((pixels.min(0) + pixels.max(0)) / 2, 80, atol=1e-2)
        assert extent <= 128 / 1.25 + 1e-2
        depth = np.asarray(cameras.to_camera(camera, joints))[:, 2]
        depth_extent = np.ptp(depth) * camera.focal / depth[6]
        np.testing.assert_allclose(max(extent, depth_extent), 128 / 1.25, rtol=1e-4)


def test_projection_in_float64():
    rng = np.random.default_rng(5)
    turned = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    position, points = rng.normal(size=3) - [0, 0, 6], rng.normal(size=(16, 3))
    camera = cameras.Camera(*jax.tree.map(jnp.float32, (turned, position, 500.0, [64.0, 60.0])))
    camera = camera._replace(centre=jnp.array([64.0, 60.0]))
    seen = (turned @ (points - position).T).T
    expected = 500 * seen[:, :2] / seen[:, 2:] + [64, 60]
    np.testing.assert_allclose(
        cameras.project(camera, jnp.asarray(points, jnp.float32)), expected, rtol=1e-3, atol=0.02
    )


def effects(**changes):
    plain = camera_effects.CameraEffects(
        blur=jnp.full(2, 0.05), defocus=jnp.float32(0.05), exposure=jnp.full(3, 0.5),
        gamma=jnp.float32(1), saturation=jnp.float32(1), grain=jnp.zeros(2),
        place=jnp.zeros(2, jnp.int32), quality=jnp.float32(95),
    )  # fmt: skip
    return plain._replace(**changes)


def test_what_a_camera_does_to_a_picture():
    rng = np.random.default_rng(0)
    picture = rng.integers(60, 196, (32, 32, 3), dtype=np.uint8)
    person = np.zeros((32, 32), bool)
    person[8:24, 8:24] = True
    take = jax.jit(camera_effects.apply_effects)

    def taken(**changes):
        return np.asarray(take(picture, person, effects(**changes))).astype(np.float64)

    # Sharp, at an exposure of half white, and a picture whose mean is that already.
    np.testing.assert_allclose(taken(), picture * (0.5 / (picture.mean() / 255 + 0.02)), atol=1.5)
    np.testing.assert_allclose(taken(exposure=jnp.full(3, 0.3)).mean(), 0.3 * 255, rtol=0.06)
    grey = taken(saturation=jnp.float32(0))
    assert np.ptp(grey, axis=-1).max() <= 1
    assert taken(blur=jnp.full(2, 1.5)).std() < 0.5 * taken().std()
    behind = taken(defocus=jnp.float32(1.5))
    np.testing.assert_allclose(behind[person], taken()[person], atol=2)
    assert behind[~person].std() < 0.5 * taken()[~person].std()
    noisy = taken(grain=jnp.array([0.05, 0.0])) - taken()
    np.testing.assert_allclose(noisy.std(), 0.05 * 255, rtol=0.1)
