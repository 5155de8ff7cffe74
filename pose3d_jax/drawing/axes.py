"""Skeletons on Matplotlib's axes, in 2D and 3D."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from pose3d_jax import skeleton
from pose3d_jax.drawing.skeletons import bone_colour, draw_people
from pose3d_jax.images.jpeg import decode_image


def plot_bones(
    axes: Any,
    joints: Float[np.ndarray, "16 2"],
    valid: Bool[np.ndarray, "16"] | None = None,
    nearness: Float[np.ndarray, "16"] | None = None,
    *,
    edge: float = 0.0,
    **style: Any,
) -> None:
    """Draws a skeleton as vectors, on Matplotlib axes.

    Args:
        axes: to draw on.
        joints: in their coordinates.
        valid: joints to draw; all by default.
        nearness: of each joint to the eye, in any unit; what is nearer covers what is not.
        edge: width of a dark line beneath, pt; wider than the line's, or none.
        **style: of the lines; without a colour, bones have those of their sides.
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
    """Shows on Matplotlib axes what the network sees, in its px; black where the image ends.

    Args:
        axes: to draw on.
        record: its image as JPEG.
        side: of the network's crop, px.
    """
    image = decode_image(record["image"])
    x, y, box_side = np.asarray(record["box"], np.float64)
    zoom = side / max(box_side, 1e-3)  # A damaged record's box may have no size.
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
    """Draws a pose and the truth from the camera, then both from the side, at one scale.

    Args:
        row: four Matplotlib axes.
        pose: mm, camera axes.
        truth: in the same frame.
        known: the joints of which there is a truth.
    """
    from matplotlib.ticker import MaxNLocator

    # Upright: y of the camera points down.
    pose, truth = pose * (1, -1, 1), truth * (1, -1, 1)
    places = np.concatenate([pose, truth[known]])
    places = places[np.isfinite(places).all(1)]
    if not len(places):  # A damaged record: nothing can be shown, and nothing is wrong with others.
        places = np.zeros((1, 3))
    middle = (places.min(0) + places.max(0)) / 2
    reach = np.array([-1, 1]) * max(0.55 * np.ptp(places, axis=0).max(), 1.0)
    drawn = (pose, None), (truth, known)
    for number, axes in enumerate(row):
        (joints, valid), from_side = drawn[number % 2], number >= 2
        # From the side is from the camera's right: there, what is further right is nearer.
        across, nearness = (2, joints[:, 0]) if from_side else (0, -joints[:, 2])
        if valid is not None and not valid.any():
            axes.set_axis_off()
            axes.text(0.5, 0.5, "not known", transform=axes.transAxes, ha="center", color="gray")
            continue
        plot_bones(axes, joints[:, [across, 1]], valid, nearness, linewidth=2)
        axes.set(aspect="equal", xlim=middle[across] + reach, ylim=middle[1] + reach)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        axes.tick_params(labelsize=8, labelleft=number == 0, color="0.8")
        axes.grid(color="0.92", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[:].set_color("0.8")
    row[0].set_ylabel("up (mm)", fontsize=8)


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
    for first, second in skeleton.BONES.tolist():
        ends, colour = [first, second], np.divide(bone_colour(first, second), 255)
        axes.plot(x[ends], z[ends], -y[ends], color=colour, linewidth=2.5)
    places = np.array([x, z, -y]).T
    middle = (places.min(0) + places.max(0)) / 2
    reach = max(0.55 * np.ptp(places, axis=0).max(), 1.0)
    limits = np.stack([middle - reach, middle + reach], axis=-1)
    axes.set(xlim=limits[0], ylim=limits[1], zlim=limits[2])
    axes.set(xlabel="x, right (mm)", ylabel="z, forward (mm)", zlabel="up (mm)")
    axes.set_box_aspect((1, 1, 1))
