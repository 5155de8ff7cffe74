"""Renders the records of the synthetic benchmark.

Record i of a split depends only on the seed, the split and i, not on the number or order of the
records; it is bit-identical on the same machine and version of JAX.
"""

import functools
import threading
from collections.abc import Sequence
from concurrent import futures
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Real

from pose3d_jax import geometry
from pose3d_jax.images.jpeg import JPEG_QUALITY, encode_image
from pose3d_jax.records import make_record
from tfds_builders.synthetic import actions, body, camera_effects, cameras, render, scenes, subjects
from tfds_builders.synthetic.random_stream import RandomStream
from tfds_builders.synthetic.subjects import DOMAINS, SPLITS

#: Records per call of the compiled programs.
CHUNK = 32
#: MPII's head boxes are drawn loosely: their size, 0.6 × the diagonal, is 1/8 to 1/9 of a standing
#: person's height. This margin on each side of the head's outline gives the same ratio.
_HEAD_MARGIN = 0.04
_HEAD_PARTS = tuple(body.PART_NAMES.index(name) for name in ("head", "hair"))
#: Probability that the border of the image cuts the person off, by split. Test people are complete,
#: so that the error of every joint can be measured.
_CUT_PROBABILITY = {"lab": (0.0, 0.0), "wild": (0.12, 0.0), "varied": (0.0, 0.0)}
_LEAST_JOINTS = 8
#: Corners of an uncut image, in image sides.
_WHOLE = np.array([[0.0, 0.0], [1.0, 1.0]], np.float32)
#: Random numbers per record.
_POOL = {"lab": 512, "wild": 512, "varied": 896}
_COMPILING = threading.Lock()


@dataclass(frozen=True)
class Benchmark:
    """Everything that a set of synthetic records depends on."""

    domain: str  # "lab", "wild" or "varied"
    box_side: int  # side of the network's input, px
    #: Side of the images, px. The crops of augmentation (scale up to 1.41, rotation up to 60°) can
    #: reach 2 × the box, which would take 1.8 times as long to render. 1.5 × contains crops of any
    #: scale that are not rotated; rotated ones may have black corners, as at the border of a
    #: photograph. All domains have the same factor, so that borders do not reveal the domain.
    image_side: int
    train: int  # number of training records
    test: int  # number of test records
    seed: int = 0  # of all random numbers


def _head_size(camera: cameras.Camera, cones: body.Cones) -> Array:
    rows = jnp.array(_HEAD_PARTS)
    start, axis = cones.start[rows], cones.axis[rows]
    centres = jnp.concatenate([start, start + axis])
    radii = jnp.concatenate([cones.start_radius[rows], cones.end_radius[rows]])
    depth = cameras.to_camera(camera, centres)[:, 2]
    radii = (camera.focal * radii / depth)[:, None]
    pixels = cameras.project(camera, centres)
    extent = (pixels + radii).max(0) - (pixels - radii).min(0)
    return 0.6 * jnp.linalg.norm(extent) * (1 + 2 * _HEAD_MARGIN)


def _sample(
    benchmark: Benchmark, split: Int[Array, ""], index: Int[Array, ""]
) -> tuple[scenes.Scene, dict[str, Array]]:
    """The scene and the labels of one record; `split` is an index of `SPLITS`."""
    domain = benchmark.domain
    root = jax.random.key(benchmark.seed, impl="threefry2x32")
    root = jax.random.fold_in(root, 1000 + DOMAINS.index(domain))
    rng = RandomStream(jax.random.fold_in(jax.random.fold_in(root, split), index), _POOL[domain])
    person_number = subjects.sample_subject_number(rng, domain, split)
    subject = subjects.sample_subject(benchmark.seed, domain, person_number)
    if domain == "lab":
        outfit = subjects.sample_outfit(rng, split)
        other = subjects.sample_subject(benchmark.seed, domain, outfit)
        subject = subjects.change_clothes(subject, other)
    motions = actions.motion_table(domain)
    action = rng.index(len(motions.seated))
    camera_number = rng.index(len(scenes.LAB_CAMERAS))
    sides = benchmark.box_side, benchmark.image_side
    if domain == "lab":
        scene, person = scenes.lab_scene(rng, subject, motions, action, camera_number, sides)
    elif domain == "varied":
        number = subjects.sample_subject_number(rng, domain, split)
        companion = subjects.sample_subject(benchmark.seed, domain, number)
        scene, person = scenes.varied_scene(rng, subject, companion, motions, action, sides)
    else:
        scene, person = scenes.wild_scene(rng, subject, motions, action, sides)

    joints_2d = cameras.project(scene.camera, person.joints)
    cut = rng.chance(jnp.array(_CUT_PROBABILITY[domain])[split])
    border = _cut_border(rng, *sides)
    cut &= _inside(joints_2d, border).sum() >= _LEAST_JOINTS
    border = jnp.where(cut, border, benchmark.image_side * _WHOLE)
    labels = {
        "joints_2d": joints_2d,
        "joints_valid": _inside(joints_2d, border),
        "joints_3d": 1000 * cameras.to_camera(scene.camera, person.joints),
        "head_size": _head_size(scene.camera, scene.cones),
        "subject": person_number,
        "action": action,
        "camera": camera_number,
        "border": border,
    }
    if domain == "varied":
        labels["border"] = _close_border(rng, joints_2d, *sides)
        labels["effects"] = camera_effects.sample_effects(rng)
    return scene, labels


def _inside(points: Real[Array, "*n 2"], border: Float[Array, "2 2"]) -> Bool[Array, "*n"]:
    """Which points are between the corners (low, high)."""
    return ((points >= border[0]) & (points < border[1])).all(-1)


def _cut_border(rng: RandomStream, box_side: int, image_side: int) -> Float[Array, "2 2"]:
    """Corners (low, high) of a visible region whose border cuts the person off."""
    place = rng.uniform(0.12, 0.4) * box_side
    edge = rng.index(4)
    moved = jnp.round(image_side / 2 + jnp.where(edge < 2, -place, place))
    return jnp.where(jnp.arange(4) == edge, moved, image_side * _WHOLE.ravel()).reshape(2, 2)


def _close_border(
    rng: RandomStream, joints: Float[Array, "16 2"], box_side: int, image_side: int
) -> Float[Array, "2 2"]:
    """Corners (low, high) of a visible region that may end close to the person."""
    low, high = rng.uniform(0.06, 0.5, (2, 2)) * box_side
    close = jnp.round(jnp.stack([joints.min(0) - low, joints.max(0) + high]))
    close = jnp.clip(close, 0, image_side)
    return jnp.where(rng.chance(0.5, (2, 2)), close, image_side * _WHOLE)


def _render(
    benchmark: Benchmark,
    scene: scenes.Scene,
    border: Float[Array, "2 2"],
    effects: camera_effects.CameraEffects | None,
):
    """The picture of a scene, black beyond the border, and the visible body part per pixel."""
    side = benchmark.image_side
    # The window contains the person with hands and feet; a second person may be anywhere.
    window = side if benchmark.domain == "varied" else min(side, 2 * int(0.64 * benchmark.box_side))
    picture, parts = render.render(scene, side, window, folds=benchmark.domain == "varied")
    parts = jnp.where(parts < len(body.PARTS), parts, -1)
    before = (side - window) // 2
    after = side - window - before
    parts = jnp.pad(parts, ((before, after), (before, after)), constant_values=-1)
    if effects is not None:
        picture = camera_effects.apply_effects(picture, parts >= 0, effects)
    pixels = jnp.stack(jnp.meshgrid(jnp.arange(side), jnp.arange(side)), -1)
    inside = _inside(pixels, border)
    return jnp.where(inside[..., None], picture, 0), jnp.where(inside, parts, -1)


def _programs(benchmark: Benchmark):
    """The compiled programs of `lower_programs`."""
    with _COMPILING:  # One thread compiles for all.
        return _compile(benchmark)


@geometry.full_precision
def lower_programs(benchmark: Benchmark) -> tuple[jax.stages.Lowered, jax.stages.Lowered]:
    """Traces the programs: (split, `CHUNK` indices) to scenes and labels, and these to pictures.

    Matrix products have full precision: with the default of accelerators, labels would be up to
    250 mm wrong.
    """
    numbers = jax.ShapeDtypeStruct((CHUNK,), jnp.int32)
    split = jax.ShapeDtypeStruct((), jnp.int32)

    @jax.jit
    def sample(split, indices):
        return jax.vmap(lambda index: _sample(benchmark, split, index))(indices)

    @jax.jit
    def render_all(scenes, borders, effects):
        return jax.lax.map(lambda one: _render(benchmark, *one), (scenes, borders, effects))

    scenes, labels = jax.eval_shape(sample, split, numbers)
    lowered = render_all.lower(scenes, labels["border"], labels.get("effects"))
    return sample.lower(split, numbers), lowered


@functools.cache
def _compile(benchmark: Benchmark):
    lowered_sample, lowered_render = lower_programs(benchmark)
    with futures.ThreadPoolExecutor(1) as pool:
        compiled_render = pool.submit(lowered_render.compile)
        # Fast to run; with optimisation it would take longer to compile than the renderer.
        compiled_sample = lowered_sample.compile({"xla_backend_optimization_level": 0})
        return compiled_sample, compiled_render.result()


def render_chunk(
    benchmark: Benchmark, split: str, indices: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Renders at most `CHUNK` records.

    Returns:
        Pictures (n, side, side, 3) uint8; the visible row of `body.PARTS` per pixel or -1,
        (n, side, side); and the labels with leading axis n.
    """
    padded = np.zeros(CHUNK, np.int32)
    padded[: len(indices)] = indices
    sample, render_all = _programs(benchmark)
    scene, labels = sample(np.int32(SPLITS.index(split)), padded)
    results = *render_all(scene, labels["border"], labels.get("effects")), labels
    return jax.tree.map(lambda x: np.asarray(x)[: len(indices)], results)


def render_records(
    benchmark: Benchmark, split: str, indices: Sequence[int]
) -> list[dict[str, Any]]:
    """Renders the records `indices` of a split, in that order."""
    records = []
    for first in range(0, len(indices), CHUNK):
        chunk = indices[first : first + CHUNK]
        pictures, _, labels = render_chunk(benchmark, split, chunk)
        for i, index in enumerate(chunk):
            row = jax.tree.map(lambda x, i=i: x[i], labels)
            records.append(_record(benchmark, split, index, pictures[i], row))
    return records


def _record(
    benchmark: Benchmark, split: str, index: int, picture: np.ndarray, labels: dict[str, Any]
) -> dict[str, Any]:
    domain = benchmark.domain
    has_3d = domain != "wild" or split == "test"
    quality = float(labels["effects"].quality) if domain == "varied" else JPEG_QUALITY
    return make_record(
        encode_image(picture, quality),
        labels["joints_2d"],
        image_side=benchmark.image_side,
        box_side=benchmark.box_side,
        head_size=labels["head_size"],
        image_id=f"{domain}-{split}-{index:06d}",
        to_source=np.eye(2, 3, dtype=np.float32),
        joints_valid=labels["joints_valid"],
        joints_3d=labels["joints_3d"] if has_3d else None,
        subject=f"{domain}-{labels['subject']}",
        action=list(actions.ACTIONS[domain])[labels["action"]],
        camera=f"lab-{labels['camera'] + 1}" if domain == "lab" else "free",
        frame=index,
    )
