"""The interactive view: skeletons beside their image, to be turned with the mouse (Plotly)."""

from typing import Any

import numpy as np
from jaxtyping import UInt8

from pose3d_jax import plotting, skeleton
from pose3d_jax.errors import UserError
from pose3d_jax.inference import Pose

#: Beside each other people would stand inside one another: every pelvis is an origin. mm.
SPACING = 1200.0


def view(image: UInt8[np.ndarray, "height width 3"], pose: Pose) -> Any:
    """Shows the people of one image, in 2D on it and in 3D beside it.

    In a notebook, the result as a cell's last line is shown; elsewhere `.write_html(path)` makes a
    page that works without a network. Axes are the camera's; people stand beside each other in the
    order of their boxes, since how far apart they are is not known.

    Args:
        image: RGB.
        pose: of this image (`Pose.of_image` takes one of several).

    Returns:
        A `plotly.graph_objects.Figure`.

    Raises:
        UserError: Plotly is missing.
    """
    try:
        import plotly.graph_objects as go
        from plotly.subplots import make_subplots
    except ImportError as error:
        raise UserError("The 3D view needs Plotly: pip install 'pose3d_jax[notebook]'.") from error

    figure = make_subplots(
        cols=2, specs=[[{"type": "xy"}, {"type": "scene"}]], horizontal_spacing=0.02
    )
    figure.add_trace(go.Image(z=plotting.draw_people(image, pose.joints_2d)), row=1, col=1)
    for number, joints in enumerate(pose.joints_3d):
        x, y, z = np.add(joints, (SPACING * number, 0.0, 0.0)).T
        for side, (lines, points) in _parts().items():
            # None lifts the pen between bones.
            path = [place for bone in lines for place in (*bone, None)]
            colour = f"rgb{plotting.joint_colour(points[0])}"
            figure.add_scatter3d(
                x=_along(x, path), y=_along(z, path), z=_along(-y, path),
                mode="lines", line={"color": colour, "width": 7},
                hoverinfo="skip", showlegend=False, row=1, col=2,
            )  # fmt: skip
            figure.add_scatter3d(
                x=x[points], y=z[points], z=-y[points],
                mode="markers", marker={"color": colour, "size": 4},
                text=[skeleton.JOINT_NAMES[j].replace("_", " ") for j in points],
                name=side, showlegend=number == 0, row=1, col=2,
            )  # fmt: skip
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.update_scenes(
        aspectmode="data",
        xaxis_title="x, right (mm)",
        yaxis_title="z, forward (mm)",
        zaxis_title="up (mm)",
        camera={"eye": {"x": 0.4, "y": -2.0, "z": 0.4}, "up": {"x": 0, "y": 0, "z": 1}},
    )
    figure.update_layout(margin={"l": 0, "r": 0, "t": 10, "b": 0}, height=480)
    return figure


def _parts() -> dict[str, tuple[list[tuple[int, int]], list[int]]]:
    """Bones and joints of the person's right and left side and of the middle."""
    names = skeleton.JOINT_NAMES
    parts = {}
    for side in ("right", "left"):
        joints = [j for j, name in enumerate(names) if name.startswith(side)]
        parts[side] = ([tuple(b) for b in skeleton.BONES if set(b) & set(joints)], joints)
    # The thorax is on no bone.
    middle = [skeleton.PELVIS, skeleton.NECK, skeleton.HEAD_TOP]
    return parts | {"middle": ([tuple(b) for b in skeleton.BONES if set(b) <= set(middle)], middle)}


def _along(values: np.ndarray, path: list[int | None]) -> list[float | None]:
    return [None if place is None else float(values[place]) for place in path]
