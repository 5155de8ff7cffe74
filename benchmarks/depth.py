"""Depth from image features, from 2D joints, and from both: `python -m benchmarks.depth [DATA …]`.

The paper argues that features determine depth better than joints alone (Secs. 1, 3.3). For a
network with a depth module and a lifter, and data sets with 3D truth, this measures each of them
and their mean: MPJPE and PA-MPJPE of the predicted pose, and MPJPE with the true 2D joints in place
of the predicted ones (mm; poses have the truth's size).
"""

from benchmarks import measure  # isort: skip  # before JAX

import argparse
import functools

import jax
import numpy as np
from flax import nnx

from pose3d_jax import geometry, metrics
from pose3d_jax.checkpoints import loading
from pose3d_jax.data.examples import make_examples, no_augmentation
from pose3d_jax.data.loader import evaluation_batches
from pose3d_jax.evaluation.predictions import open_split
from pose3d_jax.models.inference import predict

BATCH = 50
COLUMNS = ("MPJPE", "PA-MPJPE", "MPJPE true 2D")


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="*", default=["synthetic/varied", "synthetic/wild_tiny"])
    parser.add_argument("--checkpoint", default=loading.DEFAULT)
    parser.add_argument("--data_dir")
    parser.add_argument("--limit", type=int, help="records of each data set")
    options = parser.parse_args()
    trained = loading.load(options.checkpoint, compute="float32")
    errors, rows = make_errors(trained), {}
    for name in options.data:
        split = open_split(name, options.data_dir, options.limit)
        batches = evaluation_batches(
            split.source, batch_size=BATCH, image_side=split.image_side, threads=2
        )
        parts = [np.stack(errors(trained.variables, batch)) for batch in batches]
        means = np.concatenate(parts, axis=-1).mean(axis=-1).reshape(3, -1)
        for source, row in zip(("image", "joints", "both"), means.tolist()):
            rows[f"{name}, depth from {source}"] = dict(zip(COLUMNS, row))
    measure.report("depth", rows, checkpoint=options.checkpoint)


def make_errors(trained: loading.TrainedNetwork):
    """A function of variables and records: the errors of `COLUMNS` from each source, mm."""
    side = trained.config.model.input_side
    model = nnx.merge(trained.graphdef, *trained.variables)

    @jax.jit
    def errors(variables, batch):
        run = functools.partial(predict, trained.graphdef, variables, batch["image"], batch["box"])
        example = make_examples(
            batch, side, no_augmentation(len(batch["image"])), **trained.config.targets
        )
        truth = (example.joints + 1.0) * side / 2
        image, joints = run(depth_from="image"), run(depth_from="joints")
        lifted = model.lifter(example.joints, example.valid.astype(np.float32))
        target = geometry.relative_to_root(batch["joints_3d"])
        size = geometry.bone_length_sum(target)
        to_mm = functools.partial(geometry.to_millimetres, side=side, skeleton_size=size)
        found = []
        for depth, at_truth in (
            (image.depth, image.depth),
            (joints.depth, lifted),
            ((image.depth + joints.depth) / 2, (image.depth + lifted) / 2),
        ):
            ours, with_truth = to_mm(image.joints, depth), to_mm(truth, at_truth)
            found += [
                metrics.mpjpe(ours, target),
                metrics.pa_mpjpe(ours, target),
                metrics.mpjpe(with_truth, target),
            ]
        return found

    return errors


if __name__ == "__main__":
    measure.run(main)
