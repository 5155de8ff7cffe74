"""Prediction: from pixels to joints, confidences and depths, as one pure function.

Validation, evaluation, `Predictor` and the exports all call `predict`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from pose3d_jax import geometry, heatmaps
from pose3d_jax.arrays import AnyArray
from pose3d_jax.images.crop import sample_squares
from pose3d_jax.models import detector
from pose3d_jax.models.variables import Variables, standard_promotion
from pose3d_jax.skeleton import MIRROR_ORDER


class Prediction(NamedTuple):
    """The network's outputs per person."""

    joints: Float[Array, "b 16 2"]  # 2D joints, px of the network's input
    confidence: Float[Array, "b 16"]  # height of each heat-map's peak
    #: Depths relative to the root, in half sides of the input (`geometry`).
    depth: Float[Array, "b 16"]


@standard_promotion()
def predict(
    graphdef: nnx.GraphDef,
    variables: Variables,
    images: UInt8[AnyArray, "b h w 3"],
    squares: Float[AnyArray, "b 3"] | None = None,
    *,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
    depth_from: str = "both",
) -> Prediction:
    """Predicts one pose per square, in evaluation mode.

    Args:
        graphdef: structure of the network, folded (`folding.fold`) or not.
        variables: parameters and running statistics.
        images: RGB, one for each square, at about the network's resolution: a square of more than
            twice the input's side aliases.
        squares: centre x, y and side of the square around the person, px of its image; black
            beyond the image. None where the images are crops of the input's size.
        flip: average the heat-maps and depths of each crop and of its mirror image.
        scales: average the heat-maps and depths of crops this many times as large as the square.
        depth_from: "image" for the depth module, "joints" for the lifter, "both" for their mean. A
            network without a lifter has the depth module alone.

    Returns:
        Joints in px of the square, resized to the network's input.
    """
    model = nnx.merge(graphdef, *variables, copy=True)
    model.eval()
    side = model.input_side
    if squares is None and tuple(scales) == (1.0,):
        crops = jnp.asarray(images, jnp.float32) / 255.0
    else:
        if squares is None:
            squares = jnp.broadcast_to(jnp.float32([side / 2, side / 2, side]), (len(images), 3))
        zoomed = [jnp.asarray(squares) * np.float32([[1.0, 1.0, scale]]) for scale in scales]
        crops = jnp.concatenate([sample_squares(images, square, side) for square in zoomed])
    maps, depth = model(jnp.concatenate([crops, crops[:, :, ::-1]]) if flip else crops)
    maps = maps[-1]
    if flip:
        maps, mirrored = jnp.split(maps, 2)
        maps = (maps + mirrored[:, :, ::-1][..., MIRROR_ORDER]) / 2
        depth, mirrored = jnp.split(depth, 2)
        depth = (depth + mirrored[:, MIRROR_ORDER]) / 2
    if tuple(scales) != (1.0,):
        maps = _average_scales(jnp.split(maps, len(scales)), scales)
        depth = sum(d * s for d, s in zip(jnp.split(depth, len(scales)), scales)) / len(scales)
    joints, confidence = heatmaps.decode(maps, heatmaps.STRIDE, model.decoding)
    if model.lifter is not None and depth_from != "image":
        lifted = model.lifter(geometry.normalise(joints, side), confidence)
        depth = lifted if depth_from == "joints" else (depth + lifted) / 2
    return Prediction(joints, confidence, depth)


@standard_promotion()
def detect(
    graphdef: nnx.GraphDef, variables: Variables, images: UInt8[AnyArray, "b h w 3"]
) -> tuple[Float[Array, "b h/16 w/16"], Float[Array, "b h/16 w/16 3"]]:
    """Scores and squares of people, for each cell of a grid; see `detector.squares`.

    Args:
        graphdef: structure of a network with a detector, folded or not.
        variables: parameters and running statistics.
        images: RGB, of a height and width divisible by 4 · 2^levels.
    """
    model = nnx.merge(graphdef, *variables, copy=True)
    model.eval()
    _, features = model.features(jnp.asarray(images, jnp.float32) / 255.0)
    return detector.squares(model.detector(features))


def _average_scales(
    maps: Sequence[Float[Array, "b h h joints"]], scales: Sequence[float]
) -> Float[Array, "b h h joints"]:
    """The mean of heat-maps of crops of several scales, in the frame of scale 1.

    Each pixel's mean is over the crops that contain it.
    """
    total, weight = 0.0, 0.0
    for own, scale in zip(maps, scales, strict=True):
        matrix = _zoom_matrix(own.shape[1], scale)
        total += jnp.einsum("ri,bijk,cj->brck", matrix, own, matrix, precision="highest")
        covered = matrix.sum(axis=1)
        weight += np.outer(covered, covered)[None, :, :, None]
    return total / np.maximum(weight, 1e-6)


def _zoom_matrix(size: int, scale: float) -> Float[np.ndarray, "size size"]:
    """Linear interpolation that maps samples of a line `scale` times as long to a line of 1.

    Rows of samples beyond the line's ends are 0.
    """
    position = (np.arange(size) + 0.5 - size / 2) / scale + size / 2 - 0.5
    return np.maximum(1.0 - np.abs(position[:, None] - np.arange(size)), 0.0).astype(np.float32)
