"""Detection in synthetic scenes: `python -m benchmarks.detection [--checkpoint open]`.

Test photographs of Leeds Sports Pose (prepared by `tfds_builders.prepare`) are pasted into larger
pictures without people: backgrounds of other photographs beside their person, enlarged and mirrored
until they fill the picture, gradients, and noise. For each kind of scene:

- PCK@0.2 of the torso over the 12 limb joints, with squares around the true joints × 1.3 and with
  `boxes="auto"`, where a person who is not detected has every joint wrong;
- the share of detected people: the boxes around predicted and true joints share `OVERLAP` of their
  union;
- false positives per picture, other people in the photographs among them;
- seconds per picture of detection and prediction.

Then, for several thresholds, the share of one-person scenes in which the person is detected and of
empty scenes with a detection. `benchmarks.everyday` does the same with photographs as they are.
"""

import argparse
import time
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from benchmarks import measure
from pose3d_jax.checkpoints import loading
from pose3d_jax.data.catalog import open_dataset
from pose3d_jax.data.mosaics import photograph_area
from pose3d_jax.data.sources import open_source, subset
from pose3d_jax.images.jpeg import decode_image
from pose3d_jax.prediction.detection import THRESHOLD, squares_around
from pose3d_jax.prediction.predictor import Predictor
from pose3d_jax.skeleton import LEFT_SHOULDER, PCKH_GROUPS, RIGHT_HIP

WIDTH, HEIGHT = 640, 480
LIMBS = [joint for name, group in PCKH_GROUPS.items() if name != "head" for joint in group]
#: Heights of the people in each kind of scene, in heights of the picture.
SCENES = {
    "fifth": (0.2,),
    "third": (1 / 3,),
    "half": (0.5,),
    "all": (0.95,),
    "two": (0.45, 0.6),
    "three": (0.4, 0.35, 0.45),
    "empty": (),
}
THRESHOLDS = np.round(np.arange(0.05, 0.8, 0.05), 2)
#: Detections of a scene that are scored, from the highest confidence.
MAX_DETECTIONS = 8
#: Intersection over union of boxes from which a detection is of a person.
OVERLAP = 0.3


class Photograph(NamedTuple):
    """One person's photograph."""

    pixels: UInt8[np.ndarray, "h w 3"]  # RGB
    joints: Float[np.ndarray, "16 2"]  # px


class Scene(NamedTuple):
    """A picture and the people in it."""

    pixels: UInt8[np.ndarray, "h w 3"]
    joints: Float[np.ndarray, "n 16 2"]


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default=loading.DEFAULT, help="default: open")
    parser.add_argument("--data_dir", help="where lsp is prepared; default: TFDS's place")
    parser.add_argument("--scenes", type=int, default=100, help="of each kind")
    parser.add_argument("--kinds", nargs="+", choices=SCENES, default=list(SCENES))
    parser.add_argument("--threshold", type=float, default=THRESHOLD, help="of the first table")
    options = parser.parse_args()

    predictor = Predictor.from_checkpoint(options.checkpoint)
    photographs = read_photographs(options.data_dir, 4 * options.scenes)
    predictor.detect(np.zeros((HEIGHT, WIDTH, 3), np.uint8))  # Compiles.
    rows, confidences = {}, {}
    for name in options.kinds:
        rng = np.random.default_rng(0)
        scenes = [make_scene(photographs, SCENES[name], rng) for _ in range(options.scenes)]
        rows[name], confidences[name] = measure_scenes(predictor, scenes, options.threshold)
    kinds = [name for name in options.kinds if len(SCENES[name]) < 2]
    sweep = {
        str(threshold): {
            f"{kind}, %": float(100 * np.mean(np.array(confidences[kind]) >= threshold))
            for kind in kinds
        }
        for threshold in THRESHOLDS
    }
    facts = {"checkpoint": options.checkpoint, "scenes": options.scenes}
    measure.report("detection", rows, **facts, threshold=options.threshold)
    measure.report("detection by threshold", sweep, **facts)


def read_photographs(data_dir: str | None, count: int) -> list[Photograph]:
    """Photographs of the test split, evenly spaced, without the black around them."""
    builder = open_dataset("lsp", data_dir)
    source = open_source(builder, "test")
    photographs = []
    for record in subset(source, count):
        pixels = decode_image(record["image"])
        low, high = (ends.astype(int) for ends in photograph_area(pixels))
        low, high = low + 3, high - 3  # A seam beside the black is dark as well.
        joints = np.asarray(record["joints_2d"], np.float64) - low
        photographs.append(Photograph(pixels[low[1] : high[1], low[0] : high[0]], joints))
    return photographs


def make_scene(
    photographs: list[Photograph], heights: tuple[float, ...], rng: np.random.Generator
) -> Scene:
    """A picture with people of these heights, each in a column of its own."""
    pixels = background(photographs, rng)
    everybody, columns = [], np.linspace(0, WIDTH, len(heights) + 1).astype(int)
    for left, right, height in zip(columns[:-1], columns[1:], rng.permutation(heights)):
        photograph = photographs[rng.integers(len(photographs))]
        everybody.append(paste(pixels, photograph, height, left, right, rng))
    return Scene(pixels, np.array(everybody).reshape(-1, 16, 2))


def paste(pixels, photograph: Photograph, height: float, left: int, right: int, rng) -> np.ndarray:
    """Puts a photograph into a column of a picture, somewhere; returns the joints."""
    extent = np.ptp(photograph.joints, axis=0).max()
    zoom = height * HEIGHT / extent
    size = np.maximum(np.round(zoom * np.array(photograph.pixels.shape[1::-1])), 1).astype(int)
    resized = np.asarray(Image.fromarray(photograph.pixels).resize(tuple(size), Image.BICUBIC))
    joints = photograph.joints * (size / photograph.pixels.shape[1::-1])
    # The person stays in the column; of the photograph, what lies beyond is cut off.
    low, high = joints.min(axis=0), joints.max(axis=0)
    first, last = (left, 0) - low, (right, HEIGHT) - high
    offset = np.round(np.where(first < last, rng.uniform(np.minimum(first, last),
                      np.maximum(first, last)), (first + last) / 2)).astype(int)  # fmt: skip
    x0, y0 = np.maximum(offset, (left, 0))
    x1, y1 = np.minimum(offset + size, (right, HEIGHT))
    inner = resized[y0 - offset[1] : y1 - offset[1], x0 - offset[0] : x1 - offset[0]]
    pixels[y0:y1, x0:x1] = inner
    return joints + offset


def background(photographs: list[Photograph], rng: np.random.Generator) -> np.ndarray:
    """A picture without people: the surroundings of a person, a gradient, or noise."""
    kind = rng.integers(5)
    if kind == 3:
        corners = rng.integers(0, 256, (2, 2, 3)).astype(np.uint8)
        return np.array(Image.fromarray(corners).resize((WIDTH, HEIGHT), Image.BILINEAR))
    if kind == 4:
        cell = rng.integers(1, 40)
        noise = rng.integers(0, 256, (HEIGHT // cell + 1, WIDTH // cell + 1, 3)).astype(np.uint8)
        return np.array(Image.fromarray(noise).resize((WIDTH, HEIGHT), Image.BICUBIC))
    while True:
        strip = beside(photographs[rng.integers(len(photographs))])
        if min(strip.shape[:2]) >= 24:
            break
    zoom = rng.uniform(1.5, 3.0)
    size = tuple(int(zoom * extent) for extent in strip.shape[1::-1])
    strip = np.asarray(Image.fromarray(strip).resize(size, Image.BICUBIC))
    room = ((0, max(HEIGHT - size[1], 0)), (0, max(WIDTH - size[0], 0)), (0, 0))
    return np.pad(strip, room, "symmetric")[:HEIGHT, :WIDTH].copy()


def beside(photograph: Photograph) -> np.ndarray:
    """The larger part of a photograph left or right of the person, or above."""
    extent = np.ptp(photograph.joints, axis=0).max()
    x, y = photograph.joints.min(axis=0) - 0.1 * extent
    x1 = photograph.joints[:, 0].max() + 0.1 * extent
    pixels = photograph.pixels
    parts = (pixels[:, : max(int(x), 0)], pixels[:, int(x1) :], pixels[: max(int(y), 0)])
    return max(parts, key=lambda part: part.shape[0] * part.shape[1])


def measure_scenes(
    predictor: Predictor, scenes: list[Scene], threshold: float
) -> tuple[dict[str, float], list[float]]:
    """The row of a kind of scene.

    Returns:
        The row; and of each scene the highest confidence of a detection that is a person, or of any
        detection in an empty scene.
    """
    with_true, with_auto, found, confidences = [], [], [], []
    false, seconds = 0, 0.0
    for scene in scenes:
        start = time.perf_counter()
        boxes, scores = predictor.detect(scene.pixels, threshold=-np.inf, max_people=MAX_DETECTIONS)
        poses = predictor(scene.pixels, boxes).joints_2d
        seconds += time.perf_counter() - start
        hits = np.array([of_person(truth, poses) for truth in scene.joints], bool)
        hits = hits.reshape(len(scene.joints), len(poses))
        own_scores = scores[hits.any(axis=0) if len(hits) else ...]
        confidences.append(max(own_scores, default=-np.inf))
        kept = scores >= threshold
        poses, hits = poses[kept], hits[:, kept]
        false += int((~hits.any(axis=0)).sum()) if len(hits) else int(kept.sum())
        found += hits.any(axis=1).tolist()
        squares = squares_around(scene.joints, np.ones(scene.joints.shape[:2]))
        with_boxes = predictor.predict_squares([scene.pixels], [squares]).joints_2d
        for truth, own, boxed in zip(scene.joints, hits, with_boxes):
            with_true.append(close(truth, boxed[None])[0])
            # The most confident detection of this person counts; without one, all joints are wrong.
            best = np.concatenate([poses[own], np.full((1, 16, 2), np.inf)])[:1]
            with_auto.append(close(truth, best)[0])
    row = {"people": len(found) / len(scenes)}
    if found:
        row["PCK, true boxes"] = float(100 * np.mean(with_true))
        row["PCK, auto"] = float(100 * np.mean(with_auto))
        row["detected, %"] = float(100 * np.mean(found))
    return row | {"false": false / len(scenes), "s": seconds / len(scenes)}, confidences


def close(truth: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Which limb joints of poses are within 0.2 of the true torso, (n, 12)."""
    torso = np.linalg.norm(truth[LEFT_SHOULDER] - truth[RIGHT_HIP])
    return np.linalg.norm(poses - truth, axis=-1)[:, LIMBS] <= 0.2 * torso


def of_person(truth: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Which poses show this person, by the boxes around their joints, (n,)."""
    low, high = truth.min(axis=0), truth.max(axis=0)
    lows, highs = poses.min(axis=1), poses.max(axis=1)
    shared = np.maximum(np.minimum(high, highs) - np.maximum(low, lows), 0).prod(-1)
    union = (high - low).prod() + (highs - lows).prod(-1) - shared
    return shared >= OVERLAP * union


if __name__ == "__main__":
    measure.run(main)
