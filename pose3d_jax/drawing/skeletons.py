"""Draws skeletons on images with Pillow, and contact sheets of records."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw

from pose3d_jax import skeleton
from pose3d_jax.images.jpeg import decode_image

_RIGHT, _MIDDLE, _LEFT = (235, 90, 40), (250, 220, 60), (40, 140, 250)
#: People with at least this confidence are opaque; others are dimmed, to this opacity at most.
CONFIDENT, MIN_OPACITY = 0.5, 0.3


def joint_colour(joint: int) -> tuple[int, int, int]:
    """The colour of a joint, RGB: that of its side."""
    name = skeleton.JOINT_NAMES[joint]
    return _RIGHT if "right" in name else _LEFT if "left" in name else _MIDDLE


def bone_colour(first: int, second: int) -> tuple[int, int, int]:
    """The colour of a bone, RGB: that of the side of either end."""
    return joint_colour(first if joint_colour(first) != _MIDDLE else second)


def opacity(confidence: Float[np.ndarray, "*n"] | float) -> Float[np.ndarray, "*n"]:
    """The opacity with which a person of a confidence is drawn, from `MIN_OPACITY` to 1."""
    return np.clip(np.square(confidence / CONFIDENT), MIN_OPACITY, 1.0)


def draw_joints(
    image: UInt8[np.ndarray, "height width 3"],
    joints: Float[np.ndarray, "16 2"],
    valid: Bool[np.ndarray, "16"] | None = None,
) -> UInt8[np.ndarray, "height width 3"]:
    """Draws a skeleton: the person's right side orange, the left blue, the middle yellow.

    Args:
        image: RGB.
        joints: px in `image`, continuous (pixel i covers [i, i + 1)).
        valid: joints to draw; all by default.
    """
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    # Pillow's coordinates are those of pixel centres.
    places = np.asarray(joints, np.float64) - 0.5
    shown = np.ones(skeleton.NUM_JOINTS, bool) if valid is None else np.asarray(valid, bool)
    width = max(1, round(min(image.shape[:2]) / 130))
    for first, second in skeleton.BONES.tolist():
        if shown[first] and shown[second]:
            ends = [tuple(places[first]), tuple(places[second])]
            draw.line(ends, fill=bone_colour(first, second), width=width)
    for joint, (x, y) in enumerate(places):
        if shown[joint]:
            draw.ellipse([x - width, y - width, x + width, y + width], fill=joint_colour(joint))
    return np.asarray(picture)


def contact_sheet(
    records: Sequence[Mapping[str, Any]], columns: int = 8, side: int = 160
) -> UInt8[np.ndarray, "height width 3"]:
    """Arranges records of any data set in a grid, with their skeletons.

    Args:
        records: of `pose3d_jax.records`; images as JPEG.
        columns: images per row.
        side: of each image, px.
    """
    rows = -(-len(records) // columns)
    sheet = np.full((rows * side, columns * side, 3), 255, np.uint8)
    for i, record in enumerate(records):
        image = decode_image(record["image"])
        factor = side / image.shape[0]
        picture = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS))
        picture = draw_joints(picture, record["joints_2d"] * factor, record["joints_valid"])
        top, left = i // columns * side, i % columns * side
        sheet[top : top + side, left : left + side] = picture
    return sheet


def draw_people(
    image: UInt8[np.ndarray, "height width 3"],
    joints: Float[np.ndarray, "people 16 2"],
    confidence: Float[np.ndarray, "people"] | None = None,
) -> UInt8[np.ndarray, "height width 3"]:
    """Draws the skeletons of all people in an image; see `draw_joints`.

    Args:
        image: RGB.
        joints: px in `image`.
        confidence: of each person; those of low confidence are dimmed. None draws all opaque.
    """
    opacities = np.ones(len(joints)) if confidence is None else opacity(confidence)
    for person in np.argsort(opacities, kind="stable"):
        drawn = draw_joints(image, joints[person])
        if opacities[person] < 1:
            drawn = np.asarray(
                Image.blend(*map(Image.fromarray, (image, drawn)), float(opacities[person]))
            )
        image = drawn
    return image
