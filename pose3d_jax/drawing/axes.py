"""Draws skeletons on Matplotlib axes, in 2D and 3D."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from pose3d_jax import skeleton
from pose3d_jax.drawing.skeletons import bone_colour, draw_people, opacity
from pose3d_jax.images.jpeg import decode_image

#: Rows of people in a figure; more people fill further columns.
MAX_ROWS = 4
#: The y axis of the camera points down.
_UPRIGHT = np.array([1, -1, 1])
_VIEWS = (("from the camera", "x, right (mm)"), ("from the side", "z, forward (mm)"))
#: Places of a person's number, in its own size from the head: above, to the sides, further away.
_LABEL_OFFSETS = np.array([
    (0, -0.8), (-0.9, -0.4), (0.9, -0.4), (-0.9, 0.7), (0.9, 0.7), (0, -1.9), (-1.9, 0), (1.9, 0),
    (-1.9, -1.5), (1.9, -1.5), (0, -3), (-3, 0), (3, 0), (0, 2), (0, 3.2),
])  # fmt: skip


def plot_bones(
    axes: Any,
    joints: Float[np.ndarray, "16 2"],
    valid: Bool[np.ndarray, "16"] | None = None,
    nearness: Float[np.ndarray, "16"] | None = None,
    *,
    edge: float = 0.0,
    **style: Any,
) -> None:
    """Draws a skeleton with Matplotlib lines.

    Args:
        axes: Matplotlib axes.
        joints: in the coordinates of the axes.
        valid: joints to draw; all by default.
        nearness: of each joint to the viewer, in any unit; nearer bones cover others.
        edge: width of a dark outline, pt, larger than the line's; 0 for none.
        **style: of the lines; by default, bones have the colour of their side.
    """
    from matplotlib.patheffects import withStroke

    effects = [withStroke(linewidth=edge, foreground="0.15")] if edge else None
    bones = skeleton.BONES if valid is None else skeleton.BONES[valid[skeleton.BONES].all(-1)]
    if nearness is not None:
        bones = bones[np.argsort(nearness[bones].mean(-1), kind="stable")]
    for bone in bones:
        colour = {"color": np.divide(bone_colour(*bone.tolist()), 255)}
        axes.plot(*joints[bone].T, solid_capstyle="round", path_effects=effects, **(colour | style))


def plot_crop(axes: Any, record: Mapping[str, Any], side: int) -> None:
    """Shows the network's input of a record on Matplotlib axes, in its px; black beyond the image.

    Args:
        axes: Matplotlib axes.
        record: with its image as JPEG.
        side: of the network's input, px.
    """
    image = decode_image(record["image"])
    x, y, box_side = np.asarray(record["box"], np.float64)
    zoom = side / max(box_side, 1e-3)  # The box of a damaged record may have no size.
    height, width = np.multiply(image.shape[:2], zoom)
    left, top = side / 2 - x * zoom, side / 2 - y * zoom
    axes.imshow(image, extent=(left, left + width, top + height, top), interpolation="bilinear")
    axes.set(xlim=(0, side), ylim=(side, 0), xticks=[], yticks=[], facecolor="black")


def plot_beside_truth(
    row: Sequence[Any] | np.ndarray,
    pose: Float[np.ndarray, "16 3"],
    truth: Float[np.ndarray, "16 3"],
    known: Bool[np.ndarray, "16"],
) -> None:
    """Draws a pose and the true pose from the camera, then both from the side, at one scale.

    Args:
        row: four Matplotlib axes.
        pose: mm, camera axes.
        truth: in the same frame.
        known: joints with a true position.
    """
    pose, truth = pose * _UPRIGHT, truth * _UPRIGHT
    middle, reach = _extent(np.concatenate([pose, truth[known]]))
    drawn = (pose, None), (truth, known)
    for number, axes in enumerate(row):
        (joints, valid), from_side = drawn[number % 2], number >= 2
        if valid is not None and not valid.any():
            axes.set_axis_off()
            axes.text(0.5, 0.5, "not known", transform=axes.transAxes, ha="center", color="gray")
            continue
        _plot_view(axes, joints, middle, reach, from_side, valid, linewidth=2)
        axes.tick_params(labelleft=number == 0)
    row[0].set_ylabel("up (mm)", fontsize=8)


def _extent(joints: Float[np.ndarray, "n 3"]) -> tuple[Float[np.ndarray, "3"], float]:
    """The middle of joints, and half the side of a cube around them."""
    joints = joints[np.isfinite(joints).all(1)]
    if not len(joints):  # A damaged record has nothing to show.
        joints = np.zeros((1, 3))
    middle = (joints.min(0) + joints.max(0)) / 2
    return middle, max(0.55 * np.ptp(joints, axis=0).max(), 1.0)


def _plot_view(
    axes: Any,
    joints: Float[np.ndarray, "16 3"],
    middle: Float[np.ndarray, "3"],
    reach: float,
    from_side: bool,
    valid: Bool[np.ndarray, "16"] | None = None,
    **style: Any,
) -> None:
    """Draws an upright pose (y up, mm) orthographically, from the camera or from its right."""
    from matplotlib.ticker import MaxNLocator

    # Seen from the right, points further right are nearer.
    across, nearness = (2, joints[:, 0]) if from_side else (0, -joints[:, 2])
    plot_bones(axes, joints[:, [across, 1]], valid, nearness, **style)
    limits = np.array([-reach, reach])
    axes.set(aspect="equal", xlim=middle[across] + limits, ylim=middle[1] + limits)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.tick_params(labelsize=8, color="0.8")
    axes.grid(color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[:].set_color("0.8")


def figure_3d(
    image: UInt8[np.ndarray, "height width 3"],
    joints_2d: Float[np.ndarray, "people 16 2"],
    joints_3d: Float[np.ndarray, "people 16 3"],
    confidence: Float[np.ndarray, "people"] | None = None,
) -> Any:
    """Draws the people of an image in 2D, and each in 3D from the camera and from the side.

    People have the same number in the image and in 3D.

    Args:
        image: RGB.
        joints_2d: px in `image`.
        joints_3d: mm, root-relative, camera axes.
        confidence: of each person; those of low confidence are dimmed. None draws all opaque.

    Returns:
        A Matplotlib figure.
    """
    from matplotlib.figure import Figure  # Slow to import, and not needed to draw on images.

    people = len(joints_3d)
    rows = min(max(people, 1), MAX_ROWS)
    columns = max(-(-people // rows), 1)
    height, width = image.shape[:2]
    picture_width = min(max(4 * rows * width / height, 4), 12)
    figure = Figure(figsize=(picture_width + 7 * columns, 3.8 * rows), layout="constrained")
    grid = figure.add_gridspec(rows, 1 + columns, width_ratios=[picture_width] + [7] * columns)
    picture = figure.add_subplot(grid[:, 0])
    picture.imshow(draw_people(image, joints_2d, confidence))
    picture.set_axis_off()
    opacities = np.ones(people) if confidence is None else opacity(confidence)
    if people > 1:
        _number_people(picture, joints_2d, opacities, image.shape)
    for person, joints in enumerate(joints_3d):
        cell = grid[person % rows, 1 + person // rows].subgridspec(1, 2)
        middle, reach = _extent(joints * _UPRIGHT)
        for column, (title, label) in enumerate(_VIEWS):
            axes = figure.add_subplot(cell[column])
            name = f"{person + 1}: {title}" if people > 1 else title
            axes.set_title(name, fontsize=10, alpha=opacities[person])
            _plot_view(
                axes, joints * _UPRIGHT, middle, reach, column == 1,
                linewidth=2.5, alpha=opacities[person],
            )  # fmt: skip
            axes.set_xlabel(label, fontsize=8)
            axes.set_ylabel("" if column else "up (mm)", fontsize=8)
            axes.tick_params(labelleft=not column)
    return figure


def _number_people(
    axes: Any,
    joints: Float[np.ndarray, "people 16 2"],
    opacities: Float[np.ndarray, "people"],
    shape: tuple[int, ...],
) -> None:
    """Writes each person's number beside the head, where no other number is."""
    height, width = shape[:2]
    size = 0.06 * max(height, width)  # Of a number's box, px.
    low, high = np.full(2, size / 2), np.maximum(np.array([width, height]) - size / 2, size / 2)
    taken: list[np.ndarray] = []
    for person in np.argsort(-opacities, kind="stable"):
        head = joints[person, skeleton.HEAD_TOP]
        places = np.clip(head + size * _LABEL_OFFSETS, low, high)
        free = [p for p in places if all(np.abs(p - other).max() >= size for other in taken)]
        place = free[0] if free else places[0]
        taken.append(place)
        axes.text(
            *place, str(person + 1), ha="center", va="center", fontsize=9, color="white",
            bbox={"boxstyle": "round,pad=0.2", "facecolor": "0.1", "edgecolor": "none",
                  "alpha": 0.4 + 0.5 * opacities[person]},
        )  # fmt: skip
