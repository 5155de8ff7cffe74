"""From a seed to records.

Record i of a split is a function of the seed, the split and i alone: however many are made, in
whatever order or company, it is the same, bit by bit on the same machine and version of JAX.
"""

import collections
import functools
import os
from collections.abc import Iterator, Sequence
from concurrent import futures
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from pose3d_jax import records
from tfds_builders.synthetic import actions, body, cameras, render, scenes, subjects

#: Images that one call of the compiled program renders.
CHUNK = 32
#: MPII's head size is 0.6 × the diagonal of a loosely drawn head box: a 1/8 to a 1/9 of a
#: standing person's height. This much is added around the head's own outline.
_HEAD_MARGIN = 0.12
_HEAD_PARTS = tuple(body.PART_NAMES.index(name) for name in ("head", "hair"))
_SPLITS = ("train", "test")
#: How often the photograph's border runs through the person. Test people are whole, so that the
#: error of every joint can be measured.
_CUT_PROBABILITY = {
    ("lab", "train"): 0.0, ("lab", "test"): 0.0, ("wild", "train"): 0.12, ("wild", "test"): 0.0,
}  # fmt: skip
#: Corners of an uncut image, in image sides.
_WHOLE = np.array([[0.0, 0.0], [1.0, 1.0]], np.float32)
#: A compiled program keeps one core busy.
_THREADS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True)
class Benchmark:
    """All that a set of synthetic records depends on.

    Attributes:
        domain: "lab" or "wild".
        box_side: px; the network's input.
        image_side: px; in the wild 1.5 × the box. Augmentation (scale up to 1.41, rotation up to
            60°) can reach 2 × the box, but the person, who fills 1/1.25 of it, needs 1.5 × at
            most; a farther corner is black, as beyond the border of a photograph.
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
    benchmark: Benchmark, moves: actions.Moves, split: str, index: Int[Array, ""]
) -> tuple[scenes.Scene, dict[str, Array]]:
    """The scene and the labels of one record."""
    root = jax.random.key(benchmark.seed, impl="threefry2x32")
    root = jax.random.fold_in(root, {"lab": 1, "wild": 2}[benchmark.domain])
    key = jax.random.fold_in(jax.random.fold_in(root, 1000 + _SPLITS.index(split)), index)
    keys = jax.random.split(key, 5)
    people = jnp.asarray(subjects.subject_numbers(benchmark.domain, split), jnp.int32)
    number = people[jax.random.randint(keys[0], (), 0, len(people))]
    subject = subjects.sample_subject(
        subjects.subject_key(benchmark.seed, benchmark.domain, number),
        patterned={"lab": 0.3, "wild": 0.6}[benchmark.domain],
    )
    action = jax.random.randint(keys[1], (), 0, len(moves.seated))
    camera_index = jax.random.randint(keys[2], (), 0, len(scenes.LAB_CAMERAS))
    sides = benchmark.box_side, benchmark.image_side
    if benchmark.domain == "lab":
        scene, person = scenes.lab_scene(keys[3], subject, moves, action, camera_index, *sides)
    else:
        scene, person = scenes.wild_scene(keys[3], subject, moves, action, *sides)
    joints_2d = cameras.project(scene.camera, person.joints)
    cut = jax.random.bernoulli(keys[4], _CUT_PROBABILITY[benchmark.domain, split])
    frame = jnp.where(cut, _cut_frame(keys[4], *sides), benchmark.image_side * _WHOLE)
    valid = ((joints_2d >= frame[0]) & (joints_2d < frame[1])).all(-1)
    return scene, {
        "joints_2d": joints_2d,
        "joints_valid": valid,
        "joints_3d": 1000 * cameras.to_camera(scene.camera, person.joints),
        "head_size": _head_size(scene.camera, scene.cones),
        "subject": number,
        "action": action,
        "camera": camera_index,
        "frame": frame,
    }


def _cut_frame(key: Key[Array, ""], box_side: int, image_side: int) -> Array:
    """Corners (low, high) of what a photograph shows whose border runs through the person."""
    side_key, place_key = jax.random.split(key)
    place = jax.random.uniform(place_key, (), minval=0.12, maxval=0.4) * box_side
    edges = image_side * jnp.ravel(_WHOLE)
    edge = jax.random.randint(side_key, (), 0, 4)
    moved = image_side / 2 + jnp.where(edge < 2, -place, place)
    return edges.at[edge].set(jnp.round(moved)).reshape(2, 2)


@functools.lru_cache(maxsize=None)
def _program(benchmark: Benchmark, split: str):
    """The compiled function from `CHUNK` indices to pictures, body parts and labels."""
    moves = actions.moves(benchmark.domain)
    side = benchmark.image_side

    @jax.jit
    def program(indices):
        scene, labels = jax.vmap(lambda i: _sample(benchmark, moves, split, i))(indices)
        pictures, parts = jax.lax.map(lambda s: render.render(s, side), scene)
        pixels = jnp.stack(jnp.meshgrid(jnp.arange(side), jnp.arange(side), indexing="xy"), -1)
        low, high = labels["frame"][:, None, None, 0], labels["frame"][:, None, None, 1]
        inside = ((pixels >= low) & (pixels < high)).all(-1)
        return jnp.where(inside[..., None], pictures, 0), parts, labels

    return program


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
    results = _program(benchmark, split)(padded)
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
            row = {name: value[i] for name, value in labels.items()}
            made.append(_record(benchmark, split, index, pictures[i], row))
    return made


def _record(
    benchmark: Benchmark, split: str, index: int, picture: np.ndarray, labels: dict[str, Any]
) -> dict[str, Any]:
    domain = benchmark.domain
    has_3d = domain == "lab" or split == "test"
    half = benchmark.image_side / 2
    valid = labels["joints_valid"]
    return {
        "image": records.encode_image(picture),
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


def iterate_records(benchmark: Benchmark, split: str) -> Iterator[dict[str, Any]]:
    """All records of a split, in order, made by `_THREADS` threads."""
    chunks = [
        range(first, min(first + CHUNK, benchmark.size(split)))
        for first in range(0, benchmark.size(split), CHUNK)
    ]
    with futures.ThreadPoolExecutor(_THREADS) as pool:
        pending: collections.deque[futures.Future] = collections.deque()
        for chunk in chunks:
            pending.append(pool.submit(render_records, benchmark, split, chunk))
            # Bounded: a slow disk must not fill the memory with pictures.
            if len(pending) > 2 * _THREADS:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
