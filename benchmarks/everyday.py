"""People in everyday photographs: `python -m benchmarks.everyday DIR [--checkpoint open]`.

DIR holds `pictures/` and `people.json`, a list of `{"picture": name, "people": […]}` in which a
person has COCO's `box` (x, y, width, height, px), `area`, `crowd` and 17 `keypoints` (x, y,
visibility). Pictures without people test false positives. Three measures:

- OKS with boxes: COCO's object keypoint similarity (Lin et al. 2014) over the 12 limb joints, with
  squares around the annotated boxes × 1.25. People of at least 60 px with 6 labelled limb joints
  count; "cut" are those with a limb joint that is not labelled.
- Detection: the share of these people who are detected with OKS ≥ 0.3; false positives per picture,
  detections whose median joint is outside every annotated box; and the share of pictures without
  people that get a detection. For several thresholds.
- Seconds per picture of detection.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from benchmarks import measure
from pose3d_jax import Predictor
from pose3d_jax.checkpoints import loading
from pose3d_jax.images import read_image
from pose3d_jax.prediction.detection import THRESHOLD
from pose3d_jax.prediction.pose import JOINT_SETS

#: COCO's standard deviations of annotators, in units of √area, of shoulders to ankles.
SIGMAS = np.repeat([0.079, 0.072, 0.062, 0.107, 0.087, 0.089], 2)
#: The 12 limb joints among COCO's 17.
LIMBS = slice(5, 17)
MARGIN, MIN_HEIGHT, MIN_JOINTS, MIN_OKS = 1.25, 60, 6, 0.3
assert tuple(JOINT_SETS["coco"][0])[5] == "left_shoulder"


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, help="with pictures/ and people.json")
    parser.add_argument("--checkpoint", default=loading.DEFAULT)
    parser.add_argument("--flip", action=argparse.BooleanOptionalAction, help="mirror images too")
    parser.add_argument("--scales", type=float, nargs="+", help="average over crops of these sizes")
    parser.add_argument("--limit", type=int, help="use the first pictures only")
    options = parser.parse_args()
    predictor = Predictor.from_checkpoint(
        options.checkpoint, flip=options.flip, scales=options.scales
    )
    pictures = json.loads((options.directory / "people.json").read_text())[: options.limit]
    similarities, cut, scored = [], [], []
    seconds = []
    for picture in pictures:
        image = read_image(options.directory / "pictures" / picture["picture"])
        people = [person for person in picture["people"] if is_eligible(person)]
        pose = predictor(image, [person["box"] for person in people], margin=MARGIN).to("coco")
        for person, joints in zip(people, pose.joints_2d):
            similarities.append(object_keypoint_similarity(person, joints))
            cut.append(bool((keypoints(person)[:, 2] == 0).any()))
        start = time.perf_counter()
        boxes, confidences = predictor.detect(image, threshold=-np.inf)
        seconds.append(time.perf_counter() - start)
        detected = predictor(image, boxes).to("coco").joints_2d
        scored.append(score_detections(picture["people"], detected, confidences))
    similarities, cut = np.array(similarities), np.array(cut)
    thresholds = sorted({*np.round(np.arange(0.1, 0.95, 0.05), 2).tolist(), THRESHOLD})
    measure.report(
        "everyday",
        {str(threshold): summarise(scored, threshold) for threshold in thresholds},
        **{
            "checkpoint": options.checkpoint,
            "pictures": len(pictures),
            "people": len(similarities),
            "OKS with boxes": float(similarities.mean()),
            "OKS of cut people": float(similarities[cut].mean()) if cut.any() else None,
            "OKS of others": float(similarities[~cut].mean()) if (~cut).any() else None,
            "OKS >= 0.5, %": float(100 * (similarities >= 0.5).mean()),
            "s per detection": float(np.median(seconds)),
        },
    )


def keypoints(person: dict[str, Any]) -> Float[np.ndarray, "12 3"]:
    """The annotated limb joints: x, y and visibility (0: not labelled)."""
    return np.array(person["keypoints"], float).reshape(17, 3)[LIMBS]


def is_eligible(person: dict[str, Any]) -> bool:
    """Whether a person counts: large enough, and enough limb joints are labelled."""
    labelled = (keypoints(person)[:, 2] > 0).sum()
    return not person["crowd"] and person["box"][3] >= MIN_HEIGHT and labelled >= MIN_JOINTS


def object_keypoint_similarity(person: dict[str, Any], joints: Float[np.ndarray, "17 2"]) -> float:
    """OKS over the labelled limb joints: the mean of exp(-d² / (2 · area · (2σ)²)).

    `person` has `keypoints` and `area`; the predicted joints are in COCO's order, px.
    """
    truth = keypoints(person)
    squared = ((joints[LIMBS] - truth[:, :2]) ** 2).sum(-1)
    similarity = np.exp(-squared / (2 * person["area"] * (2 * SIGMAS) ** 2))
    return float(similarity[truth[:, 2] > 0].mean())


def score_detections(
    people: list[dict[str, Any]],
    detected: Float[np.ndarray, "n 17 2"],
    confidences: Float[np.ndarray, "n"],
) -> tuple[Bool[np.ndarray, "people n"], Bool[np.ndarray, "n"], Float[np.ndarray, "n"], bool]:
    """Which detections show which eligible person, and which are outside every annotated box.

    Returns:
        Hits, false positives, the confidences, and whether the picture shows no person.
    """
    eligible = [person for person in people if is_eligible(person)]
    hits = np.array([
        [object_keypoint_similarity(person, joints) >= MIN_OKS for joints in detected]
        for person in eligible
    ], bool).reshape(len(eligible), len(detected))  # fmt: skip
    middle = np.median(detected[:, LIMBS], axis=1)[:, None]
    boxes = np.array([person["box"] for person in people]).reshape(-1, 4)
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    outside = ~((middle >= low) & (middle <= high)).all(-1).any(-1)
    return hits, outside, confidences, not people


def summarise(scored: list[tuple], threshold: float) -> dict[str, float]:
    """Detected people in %, false positives per picture, and empty pictures with people in %."""
    found, outside, empty = [], 0, []
    for hits, false, confidences, no_people in scored:
        kept = confidences >= threshold
        found += hits[:, kept].any(axis=1).tolist()
        outside += int(false[kept].sum())
        if no_people:
            empty.append(kept.any())
    percent = [100 * float(np.mean(values)) if values else np.nan for values in (found, empty)]
    return {
        "detected, %": percent[0],
        "false per picture": outside / len(scored),
        "empty pictures, %": percent[1],
    }


if __name__ == "__main__":
    measure.run(main)
