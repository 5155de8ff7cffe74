"""Describes a prepared data set: `python -m tfds_builders.inspect NAME`.

Prints counts, ranges and bone lengths, and writes a contact sheet of each split.
"""

import argparse
import collections
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from pose3d_jax import geometry, skeleton
from pose3d_jax.data.catalog import open_dataset
from pose3d_jax.data.sources import open_source, subset
from pose3d_jax.programs.run import exit_code
from tfds_builders import summary
from tfds_builders.builders import load_builder

_SHEET = 24


def read_labels(source: Sequence) -> dict[str, np.ndarray]:
    """Reads the labels of records, without decoding their images.

    Args:
        source: records with undecoded images.

    Returns:
        Every feature but the image, stacked: (records, …).
    """
    columns = collections.defaultdict(list)
    for record in source:
        for name, value in record.items():
            if name != "image":
                columns[name].append(value.decode() if isinstance(value, bytes) else value)
    return {name: np.asarray(values) for name, values in columns.items()}


def projection_error(labels: Mapping[str, Any]) -> Float[np.ndarray, "n 16"] | None:
    """Distance of Human3.6M's projected 3D joints from its 2D joints, px of the video.

    The pinhole camera ignores lens distortion, which causes a few px. None for records of other
    data sets.
    """
    from tfds_builders.human36m.release import CAMERAS

    if not all(camera in CAMERAS for camera in labels["camera"]):
        return None
    lens = np.array([CAMERAS[camera] for camera in labels["camera"]])[:, None]
    focal, center = lens[..., :2], lens[..., 2:]
    joints = labels["joints_3d"].astype(np.float64)
    projected = focal * joints[..., :2] / joints[..., 2:] + center
    matrix = labels["to_source"].astype(np.float64)
    annotated = labels["joints_2d"] @ matrix[:, :, :2].swapaxes(1, 2) + matrix[:, None, :, 2]
    return np.linalg.norm(projected - annotated, axis=-1)


def describe(labels: Mapping[str, Any], image_side: int) -> list[str]:
    """Lines with counts and ranges of a split."""
    lines = []
    for name in ("subject", "action", "camera"):
        counts = collections.Counter(labels[name].tolist())
        if len(counts) <= 40 and not all(value == "" or value.isdecimal() for value in counts):
            listed = ", ".join(f"{value} {count:,}" for value, count in sorted(counts.items()))
            lines.append(f"{name}s: {listed}")
    valid = labels["joints_valid"]
    inside = ((labels["joints_2d"] >= 0) & (labels["joints_2d"] < image_side)).all(axis=-1)
    lines.append(
        f"joints: {100 * valid.mean():.1f} % annotated, "
        f"{100 * inside[valid].mean():.1f} % of these in the image"
    )
    scale = labels["to_source"][:, 0, 0]
    known = labels["head_size"] > 0
    lines.append(_range("box side in the source, px", labels["box"][:, 2] * scale))
    lines.append(_range("head size in the box of 256 px", (
        labels["head_size"] * 256 / labels["box"][:, 2])[known]
    ) + f"; unknown for {np.count_nonzero(~known):,}")  # fmt: skip
    if labels["has_3d"].any():
        root = labels["joints_3d"][labels["has_3d"], skeleton.ROOT]
        lines.append(_range("distance of the pelvis, mm", np.linalg.norm(root, axis=-1)))
    return lines


def _range(name: str, values: np.ndarray) -> str:
    if not len(values):
        return f"{name}: none"
    low, median, high = np.percentile(values, [0, 50, 100])
    return f"{name}: {low:.0f} to {high:.0f}, median {median:.0f}"


def describe_bones(labels: Mapping[str, Any], bone_length_sum: float) -> list[str]:
    """Lines with mean, standard deviation and canonical length of each bone."""
    chosen = labels["has_3d"]
    lengths = np.asarray(geometry.bone_lengths(labels["joints_3d"][chosen]))
    rows = [["bone", "mean", "sd", "canonical"]]
    names = [f"{skeleton.JOINT_NAMES[a]} – {skeleton.JOINT_NAMES[b]}" for a, b in skeleton.BONES]
    for name, values, canonical in zip(names, lengths.T, skeleton.BONE_LENGTHS, strict=True):
        rows.append([name, f"{values.mean():.1f}", f"{values.std():.1f}", f"{canonical:.1f}"])
    total = lengths.sum(axis=1)
    canonical = f"{skeleton.BONE_LENGTHS.sum():.1f}"
    rows.append(["sum", f"{total.mean():.1f}", f"{total.std():.1f}", canonical])
    lines = ["bone lengths, mm:", *(f"  {line}" for line in summary.aligned(rows))]
    if bone_length_sum:
        lines.append(f"  AvgSumLen that poses are scaled to: {bone_length_sum:.1f}")
    subjects = labels["subject"][chosen]
    listed = [f"{s} {total[subjects == s].mean():.1f}" for s in sorted(set(subjects.tolist()))]
    if len(listed) <= 40:
        lines.append(f"  sum by subject: {', '.join(listed)}")
    return lines


def inspect(
    name: str,
    data_dir: str | os.PathLike | None = None,
    *,
    limit: int | None = None,
    out: str | os.PathLike | None = None,
) -> str:
    """Describes a prepared data set.

    Args:
        name: data set or data set/configuration.
        data_dir: directory of the data sets; see `catalog.data_root`.
        limit: number of evenly spaced records of each split to read.
        out: directory for the contact sheets; None for none.

    Raises:
        UserError: it is not prepared, or there is no such data set.
    """
    load_builder(name)  # Checks the name.
    dataset = open_dataset(name, data_dir)
    metadata = dataset.info.metadata
    lines = [f"{name}: {dataset.data_dir}"]
    for key in ("image_side", "bone_length_sum", "step", "limit"):
        if metadata.get(key):
            lines.append(f"  {key}: {metadata[key]}")
    lines += [f"  missing: {sentence}" for sentence in metadata.get("missing", ())]
    for split in dataset.info.splits:
        source = open_source(dataset, split)
        labels = read_labels(subset(source, limit))
        read = len(labels["frame"])
        of = "" if read == len(source) else f" ({read:,} read)"
        lines += ["", f"{split}: {len(source):,} records{of}"]
        described = describe(labels, metadata["image_side"])
        if labels["has_3d"].any():
            described += describe_bones(labels, metadata["bone_length_sum"])
        error = projection_error(labels)
        if error is not None:
            described.append(
                f"joints_3d project {np.median(error):.2f} px (median) and {error.max():.2f} px "
                "(at most) from joints_2d, in the video"
            )
        if out is not None:
            path = Path(out) / f"{name.replace('/', '_')}_{split}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            summary.contact_sheet(list(subset(source, _SHEET)), path)
            described.append(f"contact sheet: {path}")
        lines += [f"  {line}" for line in described]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tfds_builders.inspect", description="Describes a prepared data set."
    )
    parser.add_argument("name", metavar="NAME", help="data set, or data set/configuration")
    parser.add_argument("--data_dir", help="directory of the data sets (default: TFDS's)")
    parser.add_argument("--limit", type=int, help="read at most this many records of each split")
    parser.add_argument("--out", default=".", help="directory for the contact sheets (default: .)")
    options = vars(parser.parse_args(arguments))
    logging.getLogger("absl").setLevel(logging.WARNING)
    return exit_code(lambda: print(inspect(options.pop("name"), **options)))


if __name__ == "__main__":
    sys.exit(main())
