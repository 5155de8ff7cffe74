"""From a seed to records.

Record i of a split is a function of the seed, the split and i alone: however many are made, in
whatever order or company, it is the same, bit by bit on the same machine and version of JAX.
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

from pose3d_jax.images.jpeg import JPEG_QUALITY, encode_image
from tfds_builders.synthetic import (
    actions,
    body,
    cameras,
    photographs,
    render,
    scenes,
    subjects,
    varied,
)
from tfds_builders.synthetic.draws import Draws
from tfds_builders.synthetic.subjects import DOMAINS, SPLITS

#: Images that one call of the compiled program renders.
CHUNK = 32
#: MPII's head size is 0.6 × the diagonal of a loosely drawn head box, 1/8 to 1/9 of a standing
#: person's height: so much is added on each side of the head's own outline.
_HEAD_MARGIN = 0.04
_HEAD_PARTS = tuple(body.PART_NAMES.index(name) for name in ("head", "hair"))
#: How often the border of the photograph runs through the person, in `SPLITS`. Test people are
#: whole, so that the error of every joint can be measured.
_CUT_PROBABILITY = {"lab": (0.0, 0.0), "wild": (0.12, 0.0), "varied": (0.0, 0.0)}
_LEAST_JOINTS = 8
#: Corners of an uncut image, in image sides.
_WHOLE = np.array([[0.0, 0.0], [1.0, 1.0]], np.float32)
#: Random numbers that one record may use.
_POOL = {"lab": 512, "wild": 512, "varied": 896}
_COMPILING = threading.Lock()


@dataclass(frozen=True)
class Benchmark:
    """All that a set of synthetic records depends on.

    Attributes:
        domain: "lab", "wild" or "varied".
        box_side: px; the network's input.
        image_side: px; in the wild 1.5 × the box. The crops of augmentation (scale up to 1.41,
            rotation up to 60°) can reach 2 × the box, which would take 1.8 times as long to
            render. 1.5 × holds a crop of any scale that is not rotated; what a rotated one lacks
            are corners, black as beyond the border of a photograph.
        train: number of training records.
        test: number of test records.
        seed: decides everything.
    """

    domain: str
    box_side: int
    image_side: int
    train: int
    test: int
    seed: int = 0

    def size(self, split: str) -> int:
        """The number of records of a split."""
        return {"train": self.train, "test": self.test}[split]


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
    """The scene and the labels of one record; `split` counts `SPLITS`."""
    domain = benchmark.domain
    root = jax.random.key(benchmark.seed, impl="threefry2x32")
    root = jax.random.fold_in(root, 1000 + DOMAINS.index(domain))
    draws = Draws(jax.random.fold_in(jax.random.fold_in(root, split), index), _POOL[domain])
    person_number = subjects.draw_number(draws, domain, split)
    subject = subjects.sample_subject(benchmark.seed, domain, person_number)
    if domain == "lab":
        outfit = subjects.draw_outfit(draws, split)
        other = subjects.sample_subject(benchmark.seed, domain, outfit)
        subject = subjects.change_clothes(subject, other)
    moves = actions.moves(domain)
    action = draws.index(len(moves.seated))
    camera_number = draws.index(len(scenes.LAB_CAMERAS))
    sides = benchmark.box_side, benchmark.image_side
    if domain == "lab":
        scene, person = scenes.lab_scene(draws, subject, moves, action, camera_number, *sides)
    elif domain == "varied":
        number = subjects.draw_number(draws, domain, split)
        companion = subjects.sample_subject(benchmark.seed, domain, number)
        scene, person = varied.varied_scene(draws, subject, companion, moves, action, *sides)
    else:
        scene, person = scenes.wild_scene(draws, subject, moves, action, *sides)

    joints_2d = cameras.project(scene.camera, person.joints)
    cut = draws.chance(jnp.array(_CUT_PROBABILITY[domain])[split])
    border = _cut_border(draws, *sides)
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
        labels["border"] = _close_border(draws, joints_2d, *sides)
        labels["photograph"] = photographs.draw_photograph(draws)
    return scene, labels


def _inside(points: Real[Array, "*n 2"], border: Float[Array, "2 2"]) -> Bool[Array, "*n"]:
    """Which points lie within corners (low, high)."""
    return ((points >= border[0]) & (points < border[1])).all(-1)


def _cut_border(draws: Draws, box_side: int, image_side: int) -> Float[Array, "2 2"]:
    """Corners (low, high) of what a photograph shows whose border runs through the person."""
    place = draws.uniform(0.12, 0.4) * box_side
    edge = draws.index(4)
    moved = jnp.round(image_side / 2 + jnp.where(edge < 2, -place, place))
    return jnp.where(jnp.arange(4) == edge, moved, image_side * _WHOLE.ravel()).reshape(2, 2)


def _close_border(
    draws: Draws, joints: Float[Array, "16 2"], box_side: int, image_side: int
) -> Float[Array, "2 2"]:
    """Corners (low, high) of a photograph that ends, perhaps, not far from the person."""
    low, high = draws.uniform(0.06, 0.5, (2, 2)) * box_side
    close = jnp.round(jnp.stack([joints.min(0) - low, joints.max(0) + high]))
    close = jnp.clip(close, 0, image_side)
    return jnp.where(draws.chance(0.5, (2, 2)), close, image_side * _WHOLE)


def _render(
    benchmark: Benchmark,
    scene: scenes.Scene,
    border: Float[Array, "2 2"],
    photograph: photographs.Photograph | None,
):
    """The picture of a scene, black beyond the border, and the body's parts that show."""
    side = benchmark.image_side
    # Joints lie within the box, and hands and feet within this square; other people anywhere.
    window = side if benchmark.domain == "varied" else min(side, 2 * int(0.64 * benchmark.box_side))
    picture, parts = render.render(scene, side, window, folds=benchmark.domain == "varied")
    parts = jnp.where(parts < len(body.PARTS), parts, -1)
    before = (side - window) // 2
    after = side - window - before
    parts = jnp.pad(parts, ((before, after), (before, after)), constant_values=-1)
    if photograph is not None:
        picture = photographs.take(picture, parts >= 0, photograph)
    pixels = jnp.stack(jnp.meshgrid(jnp.arange(side), jnp.arange(side)), -1)
    inside = _inside(pixels, border)
    return jnp.where(inside[..., None], picture, 0), jnp.where(inside, parts, -1)


def _programs(benchmark: Benchmark):
    """Compiled: (split, `CHUNK` indices) to scenes and labels; these to pictures."""
    with _COMPILING:  # Else each thread would compile its own.
        return _compile(benchmark)


@functools.cache
def _compile(benchmark: Benchmark):
    numbers = jax.ShapeDtypeStruct((CHUNK,), jnp.int32)
    split = jax.ShapeDtypeStruct((), jnp.int32)

    @jax.jit
    def sample(split, indices):
        return jax.vmap(lambda index: _sample(benchmark, split, index))(indices)

    @jax.jit
    def draw(scenes, borders, photographs):
        return jax.lax.map(lambda one: _render(benchmark, *one), (scenes, borders, photographs))

    shapes = jax.eval_shape(sample, split, numbers)
    lowered_sample = sample.lower(split, numbers)
    lowered_draw = draw.lower(shapes[0], shapes[1]["border"], shapes[1].get("photograph"))
    with futures.ThreadPoolExecutor(1) as pool:
        compiled_draw = pool.submit(lowered_draw.compile)
        # It runs for a moment, and optimised it would take longer to compile than the renderer.
        compiled_sample = lowered_sample.compile({"xla_backend_optimization_level": 0})
        return compiled_sample, compiled_draw.result()


def render_chunk(
    benchmark: Benchmark, split: str, indices: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Renders at most `CHUNK` records.

    Returns:
        Pictures (n, side, side, 3) uint8; per pixel the row of `body.PARTS` that shows or -1,
        (n, side, side); and the labels, one leading axis n.
    """
    padded = np.zeros(CHUNK, np.int32)
    padded[: len(indices)] = indices
    sample, draw = _programs(benchmark)
    scene, labels = sample(np.int32(SPLITS.index(split)), padded)
    results = *draw(scene, labels["border"], labels.get("photograph")), labels
    return jax.tree.map(lambda x: np.asarray(x)[: len(indices)], results)


def render_records(
    benchmark: Benchmark, split: str, indices: Sequence[int]
) -> list[dict[str, Any]]:
    """Makes the records `indices` of a split, in that order."""
    made = []
    for first in range(0, len(indices), CHUNK):
        chunk = indices[first : first + CHUNK]
        pictures, _, labels = render_chunk(benchmark, split, chunk)
        for i, index in enumerate(chunk):
            row = jax.tree.map(lambda x, i=i: x[i], labels)
            made.append(_record(benchmark, split, index, pictures[i], row))
    return made


def _record(
    benchmark: Benchmark, split: str, index: int, picture: np.ndarray, labels: dict[str, Any]
) -> dict[str, Any]:
    domain = benchmark.domain
    has_3d = domain != "wild" or split == "test"
    quality = float(labels["photograph"].quality) if domain == "varied" else JPEG_QUALITY
    half = benchmark.image_side / 2
    valid = labels["joints_valid"]
    return {
        "image": encode_image(picture, quality),
        "joints_2d": np.where(valid[:, None], labels["joints_2d"], np.float32(0)),
        "joints_valid": valid,
        "joints_3d": labels["joints_3d"] if has_3d else np.zeros_like(labels["joints_3d"]),
        "has_3d": has_3d,
        "box": np.array([half, half, benchmark.box_side], np.float32),
        "head_size": labels["head_size"],
        "image_id": f"{domain}-{split}-{index:06d}",
        "subject": f"{domain}-{labels['subject']}",
        "action": list(actions.ACTIONS[domain])[labels["action"]],
        "camera": f"lab-{labels['camera'] + 1}" if domain == "lab" else "free",
        "frame": index,
        "to_source": np.eye(2, 3, dtype=np.float32),
    }
