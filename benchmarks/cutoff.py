"""Cut-off people: `python -m benchmarks.cutoff [--checkpoint open]`.

Test photographs of Leeds Sports Pose (prepared by `tfds_builders.prepare`) are cropped at the waist
and at the chest: the image ends there, perpendicular to the image axis that is closer to the
person's trunk. The network gets a square around the visible joints and the cut, as a detector gives
it. Prints PCK@0.2 of the torso over the limb joints inside the crop, and the mean confidence of the
joints inside and outside.
"""

import argparse
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from benchmarks import measure
from benchmarks.detection import LIMBS, Photograph, read_photographs
from pose3d_jax import metrics
from pose3d_jax.checkpoints import loading
from pose3d_jax.prediction.predictor import Predictor
from pose3d_jax.skeleton import NECK, PELVIS

#: Where the image ends, as a share of the vector from neck to pelvis; whole people for comparison.
CUTS = {"whole": None, "waist": 0.85, "chest": 0.5}
#: Side of the square in units of the larger extent of what is visible.
MARGIN = 1.3
#: People with fewer visible limb joints are left out.
MIN_JOINTS = 2


class Crop(NamedTuple):
    """A cropped photograph of one person."""

    pixels: UInt8[np.ndarray, "h w 3"]  # RGB
    joints: Float[np.ndarray, "16 2"]  # px of the crop
    visible: Bool[np.ndarray, "16"]  # joints inside the crop
    box: Float[np.ndarray, "4"]  # x, y, width, height of the visible part, px


def crop_person(photograph: Photograph, share: float | None) -> Crop:
    """Crops a photograph at a share of the vector from neck to pelvis; None crops nothing."""
    pixels, joints = photograph
    low, high = np.zeros(2), np.array(pixels.shape[1::-1], float)
    axis, sign = 0, 0
    if share is not None:
        trunk = joints[PELVIS] - joints[NECK]
        axis = int(np.argmax(np.abs(trunk)))
        sign = int(np.sign(trunk[axis]))
        line = np.clip(np.round(joints[NECK] + share * trunk)[axis], low[axis], high[axis])
        (high if sign > 0 else low)[axis] = line
    (left, top), (right, bottom) = low.astype(int), high.astype(int)
    visible = ((joints >= low) & (joints < high)).all(axis=1)
    shown = joints[visible] if visible.any() else (low + high)[None] / 2
    first, last = shown.min(axis=0), shown.max(axis=0)
    if sign:  # The box of a cut-off person ends where the image ends.
        (last if sign > 0 else first)[axis] = (high if sign > 0 else low)[axis]
    box = np.concatenate([first - low, last - first])
    return Crop(pixels[top:bottom, left:right], joints - low, visible, box)


def measure_cut(
    predictor: Predictor, photographs: list[Photograph], share: float | None
) -> dict[str, float]:
    """PCK@0.2 of the visible limb joints, and mean confidences."""
    crops = [crop_person(photograph, share) for photograph in photographs]
    crops = [crop for crop in crops if crop.visible[LIMBS].sum() >= MIN_JOINTS]
    pose = predictor([crop.pixels for crop in crops], [crop.box for crop in crops], margin=MARGIN)
    joints = np.stack([crop.joints for crop in crops])
    visible = np.stack([crop.visible for crop in crops])
    torso = metrics.torso_length(joints, np.ones_like(visible))
    flags = metrics.correct_joints(pose.joints_2d, joints, torso, visible, 0.2)
    correct, counted = (np.asarray(flag)[:, LIMBS] for flag in flags)
    outside = ~visible[:, LIMBS]
    confidence = pose.confidence[:, LIMBS]
    return {
        "people": len(crops),
        "visible limb joints": int(counted.sum()),
        "PCK@0.2": float(100 * correct[counted].mean()),
        "confidence inside": float(confidence[counted].mean()),
        "confidence outside": float(confidence[outside].mean()) if outside.any() else 0.0,
    }


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default=loading.DEFAULT, help="default: open")
    parser.add_argument("--data_dir", help="where lsp is prepared; default: TFDS's place")
    parser.add_argument("--people", type=int, default=1000, help="test photographs")
    options = parser.parse_args()
    predictor = Predictor.from_checkpoint(options.checkpoint)
    photographs = read_photographs(options.data_dir, options.people)
    rows = {name: measure_cut(predictor, photographs, share) for name, share in CUTS.items()}
    measure.report("cutoff", rows, checkpoint=options.checkpoint)


if __name__ == "__main__":
    main()
