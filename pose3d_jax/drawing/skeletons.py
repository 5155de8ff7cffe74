"""Pictures: skeletons over images, and contact sheets of records."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw

from pose3d_jax import skeleton
from pose3d_jax.images.jpeg import decode_image

_RIGHT, _MIDDLE, _LEFT = (235, 90, 40), (250, 220, 60), (40, 140, 250)


def joint_colour(joint: int) -> tuple[int, int, int]:
    """The colour of a joint's side, RGB."""
    name = skeleton.JOINT_NAMES[joint]
    return _RIGHT if "right" in name else _LEFT if "left" in name else _MIDDLE


def bone_colour(first: int, second: int) -> tuple[int, int, int]:
    """The colour of a bone, RGB: that of its side, also where it leaves from the middle."""
    return joint_colour(first if joint_colour(first) != _MIDDLE else second)


def draw_joints(
    image: UInt8[np.ndarray, "height width 3"],
    joints: Float[np.ndarray, "16 2"],
    valid: Bool[np.ndarray, "16"] | None = None,
    scale: int = 1,
) -> UInt8[np.ndarray, "scaled_height scaled_width 3"]:
    """Draws a skeleton: the person's right in orange, left in blue, the middle in yellow.

    Args:
        image: RGB.
        joints: px in `image`, continuous (pixel i covers [i, i + 1)).
        valid: joints to draw; all by default.
        scale: whole factor by which the picture is enlarged first, so that lines stay thin.
    """
    size = image.shape[1] * scale, image.shape[0] * scale
    picture = Image.fromarray(image)
    if scale > 1:
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    # Pillow's coordinates name pixels, whose centres lie half a pixel further.
    places = np.asarray(joints, np.float64) * scale - 0.5
    shown = np.ones(skeleton.NUM_JOINTS, bool) if valid is None else np.asarray(valid, bool)
    width = max(1, round(min(size) / 130))
    for first, second in skeleton.BONES.tolist():
        if shown[first] and shown[second]:
            ends = [tuple(places[first]), tuple(places[second])]
            draw.line(ends, fill=bone_colour(first, second), width=width)
    for joint, (x, y) in enumerate(places):
        if shown[joint]:
            draw.ellipse([x - width, y - width, x + width, y + width], fill=joint_colour(joint))
    return np.asarray(picture)


def contact_sheet(
    records: Sequence[Mapping[str, Any]],
    columns: int = 8,
    side: int = 160,
    joints: bool | Sequence[bool] = True,
) -> UInt8[np.ndarray, "height width 3"]:
    """Lays records of any data set side by side.

    Args:
        records: records of `pose3d_jax.records`; all images as bytes.
        columns: pictures in a row.
        side: of each picture, px.
        joints: whether to draw the skeletons, of all records or of each.
    """
    flags = [joints] * len(records) if isinstance(joints, bool) else joints
    rows = -(-len(records) // columns)
    sheet = np.full((rows * side, columns * side, 3), 255, np.uint8)
    for i, (record, flag) in enumerate(zip(records, flags, strict=True)):
        image = decode_image(record["image"])
        factor = side / image.shape[0]
        picture = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS))
        if flag:
            picture = draw_joints(picture, record["joints_2d"] * factor, record["joints_valid"])
        top, left = i // columns * side, i % columns * side
        sheet[top : top + side, left : left + side] = picture
    return sheet


def draw_people(
    image: UInt8[np.ndarray, "height width 3"], joints: Float[np.ndarray, "people 16 2"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Draws the skeletons of everybody in an image; see `draw_joints`."""
    for own in joints:
        image = draw_joints(image, own)
    return image
