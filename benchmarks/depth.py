"""Depth from image features, from 2D joints, and from both: `python -m benchmarks.depth [DATA …]`.

The paper argues that features determine depth better than joints alone (Secs. 1, 3.3). For a
network with a depth module and a lifter, and data sets with 3D truth, this measures each of them
and their mean: MPJPE and PA-MPJPE of the predicted pose, and MPJPE with the true 2D joints in place
of the predicted ones (mm; poses have the truth's size).
"""

import argparse
import functools
import json

import jax
import numpy as np
from flax import nnx

from benchmarks import measure
from pose3d_jax import geometry, metrics
from pose3d_jax.checkpoints import loading
from pose3d_jax.data.examples import make_examples, no_augmentation
from pose3d_jax.data.loader import evaluation_batches
from pose3d_jax.evaluation.predictions import open_split
from pose3d_jax.models.inference import predict

SOURCES = ("image", "joints", "both")
BATCH = 50


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="*", default=["synthetic/varied", "synthetic/wild_tiny"])
    parser.add_argument("--checkpoint", default=loading.DEFAULT)
    parser.add_argument("--data_dir")
    parser.add_argument("--limit", type=int, help="records of each data set")
    options = parser.parse_args()
    trained = loading.load(options.checkpoint, compute="float32")
    rows = [
        {"data": name, "depth from": source} | measure_depth(trained, name, source, options)
        for name in options.data
        for source in SOURCES
    ]
    print("| " + " | ".join(rows[0]) + " |\n|" + " --- |" * len(rows[0]))
    for row in rows:
        print(
            "| "
            + " | ".join(f"{v:.1f}" if isinstance(v, float) else v for v in row.values())
            + " |"
        )
    print("\n" + json.dumps({"benchmark": "depth", "machine": measure.machine(), "rows": rows}))


def measure_depth(trained, name: str, source: str, options) -> dict[str, float]:
    """The errors of one source of depth on one data set, mm."""
    split = open_split(name, options.data_dir, options.limit)
    side = trained.config.model.input_side
    model = nnx.merge(trained.graphdef, *trained.variables)

    @jax.jit
    def errors(variables, batch):
        example = make_examples(
            batch, side, no_augmentation(len(batch["image"])), **trained.config.targets
        )
        boxes = batch["box"]
        pose = predict(trained.graphdef, variables, batch["image"], boxes, depth_from=source)
        truth = (example.joints + 1.0) * side / 2
        depth = pose.depth
        if source != "image":
            lifted = model.lifter(example.joints, example.valid.astype(np.float32))
            lifted_alone = source == "joints"
            image = predict(
                trained.graphdef, variables, batch["image"], boxes, depth_from="image"
            ).depth
            depth = lifted if lifted_alone else (image + lifted) / 2
        target = geometry.relative_to_root(batch["joints_3d"])
        size = geometry.bone_length_sum(target)
        to_mm = functools.partial(geometry.to_millimetres, side=side, skeleton_size=size)
        ours, with_truth = to_mm(pose.joints, pose.depth), to_mm(truth, depth)
        return (
            metrics.mpjpe(ours, target),
            metrics.pa_mpjpe(ours, target),
            metrics.mpjpe(with_truth, target),
        )

    parts = [
        np.stack(errors(trained.variables, batch))[:, :count]
        for batch, count in evaluation_batches(
            split.source, batch_size=BATCH, image_side=split.image_side, threads=2
        )
    ]
    means = np.concatenate(parts, axis=1).mean(axis=1).tolist()
    return dict(zip(("MPJPE", "PA-MPJPE", "MPJPE true 2D"), means))


if __name__ == "__main__":
    measure.run(main)
