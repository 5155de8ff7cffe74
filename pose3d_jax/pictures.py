"""Which pictures an evaluation leaves, and what is in them; `figures` draws them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from pose3d_jax import figures, metrics
from pose3d_jax.input_pipeline import Chosen
from pose3d_jax.scoring import (
    NEITHER_PELVIS_NOR_THORAX,
    Labels,
    Poses,
    Protocol,
    as_scored,
    at_size_of,
    in_pixels,
    joints_that_count,
)


def draw_examples(
    place: Path, records: Chosen, poses: Poses, labels: Labels, protocol: Protocol
) -> None:
    """Draws the best, median and worst images, by MPJPE or else by 2D error."""
    in_3d = protocol.with_depth and labels.has_3d.any()
    errors = errors_3d(poses, labels, protocol) if in_3d else errors_2d(poses, labels)
    counted = np.isfinite(errors).any(1)
    means = np.full(len(errors), np.nan)
    means[counted] = np.nanmean(errors[counted], axis=1)
    if counted.any():
        figure = figures.examples(
            records,
            poses,
            labels,
            means,
            side=protocol.side,
            unit="mm" if in_3d else "head sizes",
            with_depth=protocol.with_depth,
        )
        figures.save(figure, place / "examples.png")


def draw_curves(
    place: Path, predicted: Mapping[str, Poses], labels: Labels, protocol: Protocol
) -> None:
    """Draws errors per joint, PCK curves, and the distributions of bone lengths.

    Args:
        place: directory of the pictures.
        predicted: poses by the name of the method that predicted them.
        labels: of the same images.
        protocol: how they are scored.
    """
    of_heads = {name: errors_2d(poses, labels) for name, poses in predicted.items()}
    if np.isfinite(next(iter(of_heads.values()))).any():
        title = f"2D: joints within a share of the head's size, {protocol.dataset}"
        curves = figures.pck_curves(of_heads, limit=1.0, unit="head sizes", mark=0.5, title=title)
        figures.save(curves, place / "pckh.png")
    if not (protocol.with_depth and labels.has_3d.any()):
        return
    errors = {name: errors_3d(poses, labels, protocol) for name, poses in predicted.items()}
    figure = figures.joint_errors(errors, f"Error per joint, {protocol.dataset}")
    figures.save(figure, place / "joints.png")
    title = f"3D, at the truth's size: joints within a distance of it, {protocol.dataset}"
    errors = {name: errors_of_pck(poses, labels, protocol) for name, poses in predicted.items()}
    figure = figures.pck_curves(errors, limit=300.0, unit="mm", mark=150.0, title=title)
    figures.save(figure, place / "pck.png")
    figures.save(_bones(predicted, labels, protocol), place / "bones.png")


def _bones(predicted: Mapping[str, Poses], labels: Labels, protocol: Protocol):
    known = labels.has_3d & labels.valid.all(1)
    poses = {name: poses.millimetres[known] for name, poses in predicted.items()}
    truth = in_pixels(labels, protocol.side)[known]
    sums = {
        name: np.asarray(metrics.bone_sum_ratio(in_pixels(poses, protocol.side)[known], truth))
        for name, poses in predicted.items()
    }
    true_poses = {figures.TRUTH: labels.joints_3d[known]}
    return figures.bones(true_poses | poses, sums, f"Bone lengths, {protocol.dataset}")


def errors_3d(poses: Poses, labels: Labels, protocol: Protocol) -> Float[np.ndarray, "n 16"]:
    """Every joint's error after aligning the roots, mm; NaN where it does not count."""
    scored = as_scored(poses.millimetres, labels.joints_3d, protocol.dataset)
    errors = np.asarray(metrics.joint_errors(scored, labels.joints_3d))
    return np.where(joints_that_count(labels, protocol.dataset), errors, np.nan)


def errors_of_pck(poses: Poses, labels: Labels, protocol: Protocol) -> Float[np.ndarray, "n 16"]:
    """The errors that 3DPCK counts: at the truth's size, without pelvis and thorax."""
    scored = as_scored(poses.millimetres, labels.joints_3d, protocol.dataset)
    scored = at_size_of(scored, labels.joints_3d)
    errors = np.asarray(metrics.joint_errors(scored, labels.joints_3d))
    counted = joints_that_count(labels, protocol.dataset) & NEITHER_PELVIS_NOR_THORAX
    return np.where(counted, errors, np.nan)


def errors_2d(poses: Poses, labels: Labels) -> Float[np.ndarray, "n 16"]:
    """Every joint's 2D error in head sizes; NaN where it does not count."""
    counted = labels.valid & (labels.head_size > 0)[:, None]
    distances = np.linalg.norm(poses.joints - labels.joints, axis=-1)
    heads = np.where(labels.head_size > 0, labels.head_size, 1.0)
    return np.where(counted, distances / heads[:, None], np.nan)
