"""Fits a network's calibration: `python -m benchmarks.calibration FILE.safetensors [--out FILE]`.

The joints of held-out training photographs of Leeds Sports Pose (prepared by
`tfds_builders.prepare`; by default the last tenth of LSP's own, as the preset `open` holds out) are
right within 0.2 torso lengths of their labels. `prediction.calibration` fits the probability of
that from the heat-maps' peaks. With crops around true boxes alone, joints outside the picture would
be missing: a share of the photographs is cropped at the waist, and joints outside the crop count as
wrong. Predictions are averaged as the network does by default. The reliability diagram and the
expected calibration error are of five-fold cross-validation; the parameters are fitted to all
photographs. `--out` writes the network with the parameters in its config.
"""

from benchmarks import measure  # isort: skip  # before JAX

import argparse
from pathlib import Path

import ml_collections
import numpy as np
from jaxtyping import Bool, Float
from matplotlib.figure import Figure

from pose3d_jax import Predictor
from pose3d_jax.checkpoints import loading
from pose3d_jax.checkpoints.packed import write_packed
from pose3d_jax.data.catalog import open_dataset
from pose3d_jax.data.sources import open_source
from pose3d_jax.images.jpeg import decode_image
from pose3d_jax.models.variables import flatten
from pose3d_jax.prediction.calibration import SECTION, fit, reliability
from pose3d_jax.skeleton import LEFT_HIP, LEFT_SHOULDER, RIGHT_HIP, RIGHT_SHOULDER

#: Joints within this share of the torso (left shoulder to right hip) are right.
TOLERANCE = 0.2
#: Share of photographs cropped at the waist.
CROPPED = 0.3
#: Folds of cross-validation, in the order of the photographs: neighbours are often alike.
FOLDS = 5


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="a .safetensors file, a stage, or a network's name")
    parser.add_argument("--dataset", default="lsp/corrected")
    parser.add_argument("--split", default="train[90%:]", help="held-out photographs")
    parser.add_argument("--data_dir", help="where the data set is prepared; default: TFDS's place")
    parser.add_argument("--out", type=Path, help="the network with its calibration (.safetensors)")
    parser.add_argument("--plot", type=Path, help="the reliability diagram (.png)")
    options = parser.parse_args()
    found = loading.load(options.checkpoint)
    flip, scales = loading.passes(found.config)
    predictor = Predictor(
        found.graphdef,
        found.variables,
        input_side=found.config.model.input_side,
        bone_length_sum=found.config.data.bone_length_sum,
        flip=flip,
        scales=scales,
    )
    source = open_source(open_dataset(options.dataset, options.data_dir), options.split)
    peaks, right, labelled = predict_records(predictor, source)
    probability = np.zeros_like(peaks)
    for fold in range(FOLDS):
        test = np.arange(len(peaks)) * FOLDS // len(peaks) == fold
        probability[test] = fit(peaks[~test], right[~test], labelled[~test])(peaks[test])
    rows, error = reliability(probability[labelled], right[labelled])
    before, error_before = reliability(np.clip(peaks, 0, 1)[labelled], right[labelled])
    calibration = fit(peaks, right, labelled)
    if options.plot:
        draw({"calibrated": rows, "peak height": before}).savefig(options.plot, dpi=120)
    if options.out:
        config = ml_collections.ConfigDict(found.config.to_dict())
        config[SECTION] = calibration._asdict()
        write_packed(options.out, config, flatten(found.variables))
    table = {
        f"bin {number}": {"confidence": mean, "right, %": 100 * share, "joints": count}
        for number, (mean, share, count) in enumerate(rows.tolist(), 1)
    }
    measure.report(
        "calibration", table, joints=int(labelled.sum()), error=error, error_of_peaks=error_before,
        **calibration._asdict(),
    )  # fmt: skip


def predict_records(
    predictor: Predictor, source
) -> tuple[Float[np.ndarray, "n 16"], Bool[np.ndarray, "n 16"], Bool[np.ndarray, "n 16"]]:
    """Peaks of all joints, whether they are right, and whether they count."""
    rng = np.random.default_rng(0)
    peaks, right, labelled = [], [], []
    for index in range(len(source)):
        record = source[index]
        image, joints = decode_image(record["image"]), np.asarray(record["joints_2d"], float)
        x, y, side = np.asarray(record["box"], float)
        known = np.asarray(record["joints_valid"])
        if not known[[LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP]].all():
            continue
        box = np.array([x - side / 2, y - side / 2, side, side])
        inside = known.copy()
        if rng.uniform() < CROPPED:
            box, inside = crop_at_waist(box, joints, known)
        pose = predictor(image, box)
        torso = np.linalg.norm(joints[LEFT_SHOULDER] - joints[RIGHT_HIP])
        close = np.linalg.norm(pose.joints_2d[0] - joints, axis=-1) <= TOLERANCE * torso
        peaks.append(pose.confidence[0])
        right.append(close & inside)
        labelled.append(known)
    return np.array(peaks), np.array(right), np.array(labelled)


def crop_at_waist(
    box: Float[np.ndarray, "4"], joints: Float[np.ndarray, "16 2"], known: Bool[np.ndarray, "16"]
) -> tuple[Float[np.ndarray, "4"], Bool[np.ndarray, "16"]]:
    """The box around the joints on the shoulders' side of the hips, and which joints it shows."""
    shoulders = joints[[LEFT_SHOULDER, RIGHT_SHOULDER]].mean(axis=0)
    hips = joints[[LEFT_HIP, RIGHT_HIP]].mean(axis=0)
    above = ((joints - hips) @ (shoulders - hips) >= 0) & known
    low, high = joints[above].min(axis=0), joints[above].max(axis=0)
    side = 1.3 * (high - low).max()
    corner = (low + high - side) / 2
    inside = ((joints >= corner) & (joints <= corner + side)).all(-1) & known
    return np.array([*corner, side, side]), inside


def draw(rows: dict[str, Float[np.ndarray, "bins 3"]]) -> Figure:
    """The reliability diagram."""
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linestyle="--", label="perfect")
    for name, values in rows.items():
        axes.plot(values[:, 0], values[:, 1], marker="o", label=name)
    axes.set(xlabel="confidence", ylabel="share of right joints", xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    return figure


if __name__ == "__main__":
    measure.run(main)
