"""Pictures: skeletons over images, and contact sheets of records."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw

from pose3d_jax import skeleton
from pose3d_jax.records import decode_image

_RIGHT, _MIDDLE, _LEFT = (235, 90, 40), (250, 220, 60), (40, 140, 250)


def joint_colour(joint: int) -> tuple[int, int, int]:
    """The colour of a joint's side, RGB."""
    name = skeleton.JOINT_NAMES[joint]
    return _RIGHT if "right" in name else _LEFT if "left" in name else _MIDDLE


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
    picture = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    # Pillow's coordinates name pixels, whose centres lie half a pixel further.
    places = np.asarray(joints, np.float64) * scale - 0.5
    shown = np.ones(skeleton.NUM_JOINTS, bool) if valid is None else np.asarray(valid, bool)
    width = max(1, round(min(size) / 130))
    for first, second in skeleton.BONES:
        if shown[first] and shown[second]:
            outer = first if joint_colour(first) != _MIDDLE else second
            ends = [tuple(places[first]), tuple(places[second])]
            draw.line(ends, fill=joint_colour(outer), width=width)
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


def figure_3d(
    image: UInt8[np.ndarray, "height width 3"],
    joints_2d: Float[np.ndarray, "people 16 2"],
    joints_3d: Float[np.ndarray, "people 16 3"],
) -> Any:
    """The people of an image in 2D, and each in 3D, from the camera and from the side.

    Args:
        image: RGB.
        joints_2d: px in `image`.
        joints_3d: mm, root-relative, camera axes.

    Returns:
        A Matplotlib figure.
    """
    from matplotlib.figure import Figure  # Slow to import, and most who draw need only Pillow.

    rows = max(len(joints_3d), 1)
    figure = Figure(figsize=(12, 4 * rows), layout="constrained")
    grid = figure.add_gridspec(rows, 3)
    picture = figure.add_subplot(grid[:, 0])
    picture.imshow(draw_people(image, joints_2d))
    picture.set_axis_off()
    for row, joints in enumerate(joints_3d):
        views = (("from the camera", -90, "y"), ("from the side", 0, "x"))
        for column, (title, azimuth, along) in enumerate(views, 1):
            axes = figure.add_subplot(grid[row, column], projection="3d")
            axes.set_title(title)
            _plot_skeleton(axes, joints)
            axes.view_init(elev=5, azim=azimuth)
            # The axis that one looks along is too short for numbers.
            axes.set(**{f"{along}ticks": [], f"{along}label": ""})
    return figure


def _plot_skeleton(axes: Any, joints: Float[np.ndarray, "16 3"]) -> None:
    """Draws a skeleton upright: Matplotlib's vertical axis is the last, and points up."""
    x, y, z = np.asarray(joints).T
    for first, second in skeleton.BONES:
        outer = first if joint_colour(first) != _MIDDLE else second
        ends, colour = [first, second], np.divide(joint_colour(outer), 255)
        axes.plot(x[ends], z[ends], -y[ends], color=colour, linewidth=2.5)
    places = np.array([x, z, -y]).T
    middle = (places.min(0) + places.max(0)) / 2
    reach = max(0.55 * np.ptp(places, axis=0).max(), 1.0)
    limits = np.stack([middle - reach, middle + reach], axis=-1)
    axes.set(xlim=limits[0], ylim=limits[1], zlim=limits[2])
    axes.set(xlabel="x, right (mm)", ylabel="z, forward (mm)", zlabel="up (mm)")
    axes.set_box_aspect((1, 1, 1))
