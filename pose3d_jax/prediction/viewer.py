"""The interactive view with Plotly: skeletons on their image and, rotatable, in 3D."""

import base64
from typing import Any

import numpy as np
from jaxtyping import UInt8

from pose3d_jax import skeleton
from pose3d_jax.drawing.skeletons import joint_colour, opacity
from pose3d_jax.errors import UserError
from pose3d_jax.images.files import reduce_image
from pose3d_jax.images.jpeg import encode_image
from pose3d_jax.prediction.pose import Pose

#: Distance between people in 3D, mm: poses are root-relative, and would overlap.
SPACING = 1200.0
#: In Pillow's scale of 100.
JPEG_QUALITY = 90
#: Larger images are reduced to this side, px: they would make notebooks large.
MAX_SIDE = 1024


def view(image: UInt8[np.ndarray, "height width 3"], pose: Pose) -> Any:
    """Shows the people of one image, in 2D on it and in 3D beside it.

    A notebook displays the result if it is the last line of a cell; elsewhere `.write_html(path)`
    writes a page that works offline. Axes are the camera's. In 3D, people are side by side in the
    order of their numbers in the image, since their distances are unknown. Low confidence dims a
    person. A click on a side's name in the legend hides that side.

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

    height, width = image.shape[:2]
    reduced, factors = reduce_image(image, MAX_SIDE)
    dx, dy = 1.0 / factors
    figure = make_subplots(
        cols=2, specs=[[{"type": "xy"}, {"type": "scene"}]], horizontal_spacing=0.02
    )
    jpeg = base64.b64encode(encode_image(reduced, JPEG_QUALITY)).decode()
    figure.add_trace(
        # Plotly's coordinates are those of pixel centres.
        go.Image(source=f"data:image/jpeg;base64,{jpeg}", x0=dx / 2, dx=dx, y0=dy / 2, dy=dy,
                 zsmooth="fast", hoverinfo="skip"),
        row=1, col=1,
    )  # fmt: skip
    opacities = opacity(pose.person_confidence)
    for person in range(len(pose)):
        if len(pose) > 1:
            x, y = pose.joints_2d[person, skeleton.HEAD_TOP].tolist()
            figure.add_annotation(
                x=x, y=y, text=str(person + 1), showarrow=False, yshift=14, row=1, col=1,
                font={"color": "white"}, bgcolor="rgba(25, 25, 25, 0.7)",
            )  # fmt: skip
        # Plotly's vertical axis is the last, and points up.
        in_space = pose.joints_3d[person][:, [0, 2, 1]] * (1, 1, -1) + (SPACING * person, 0, 0)
        for side, (lines, points) in _parts().items():
            style = {
                "legendgroup": side,
                "opacity": float(opacities[person]),
                "line": {"color": f"rgb{joint_colour(points[0])}", "width": 3},
                "marker": {"color": f"rgb{joint_colour(points[0])}", "size": 6},
                "text": _titles(pose, person, points),
                "col": 1,
                "showlegend": False,
            }
            _add(
                figure.add_scatter, pose.joints_2d[person], pose.confidence[person], lines, points,
                "x %{x:.1f}, y %{y:.1f} px<br>confidence %{customdata:.2f}", **style,
            )  # fmt: skip
            style |= {"line": style["line"] | {"width": 8}, "marker": style["marker"] | {"size": 4}}
            style |= {"name": side, "col": 2, "showlegend": person == 0}
            _add(
                figure.add_scatter3d, in_space, pose.joints_3d[person], lines, points,
                "x %{customdata[0]:.0f}, y %{customdata[1]:.0f}, z %{customdata[2]:.0f} mm",
                **style,
            )  # fmt: skip
    figure.update_xaxes(visible=False, range=[0, width], constrain="domain")
    figure.update_yaxes(
        visible=False, range=[height, 0], constrain="domain", scaleanchor="x", scaleratio=1
    )
    figure.update_scenes(**_scene(pose))
    legend = {"orientation": "h", "x": 0.51, "y": 1, "yanchor": "bottom", "itemsizing": "constant"}
    figure.update_layout(margin={"l": 0, "r": 0, "t": 40, "b": 0}, height=520, legend=legend)
    return figure


def _add(add, places, values, lines, points, hover: str, *, text, showlegend, **style) -> None:
    """Adds the bones and joints of a side; joints show their name and values under the mouse."""
    bones = dict(zip("xyz", _path(places, lines)))
    add(**bones, mode="lines", hoverinfo="skip", row=1, showlegend=showlegend, **style)
    joints = dict(zip("xyz", places[points].T))
    hover = f"<b>%{{text}}</b><br>{hover}<extra></extra>"
    add(
        **joints, mode="markers", text=text, customdata=values[points], hovertemplate=hover,
        row=1, showlegend=False, **style,
    )  # fmt: skip


def _scene(pose: Pose) -> dict[str, Any]:
    """Axes of one scale, and the camera's view from slightly above."""
    people = len(pose)
    reach = 1.1 * float(np.abs(pose.joints_3d).max(initial=500.0))
    axis = {"dtick": 500, "tickfont": {"size": 10}, "range": [-reach, reach]}

    def named(text: str) -> dict[str, Any]:
        return axis | {"title": {"text": text, "font": {"size": 12}}}

    x = named("x (mm)") | {"range": [-reach, SPACING * max(people - 1, 0) + reach]}
    if people > 1:
        numbers = np.arange(people)
        x |= {
            "title": named("person")["title"],
            "tickvals": SPACING * numbers,
            "ticktext": numbers + 1,
        }
    return {
        "aspectmode": "data",
        "xaxis": x,
        "yaxis": named("away (mm)"),
        "zaxis": named("up (mm)"),
        "camera": {
            "eye": {"x": 0.6, "y": -2.4, "z": 0.4},
            "center": {"x": 0, "y": 0, "z": -0.1},
            "up": {"x": 0, "y": 0, "z": 1},
        },
    }


def _titles(pose: Pose, person: int, joints: list[int]) -> list[str]:
    suffix = f", person {person + 1}" if len(pose) > 1 else ""
    return [skeleton.JOINT_NAMES[joint].replace("_", " ") + suffix for joint in joints]


def _parts() -> dict[str, tuple[list[tuple[int, int]], list[int]]]:
    """Bones and joints of the right side, the left side and the middle."""
    names, bones = skeleton.JOINT_NAMES, [tuple(bone) for bone in skeleton.BONES.tolist()]
    parts = {}
    for side in ("right", "left"):
        joints = [j for j, name in enumerate(names) if name.startswith(side)]
        parts[side] = ([b for b in bones if set(b) & set(joints)], joints)
    # No bone contains the thorax.
    middle = [skeleton.PELVIS, skeleton.NECK, skeleton.HEAD_TOP]
    return parts | {"middle": ([b for b in bones if set(b) <= set(middle)], middle)}


def _path(places: np.ndarray, bones: list[tuple[int, int]]) -> list[list[float | None]]:
    """The coordinates of a line through all bones, interrupted by None."""
    path = [joint for bone in bones for joint in (*bone, None)]
    return [[None if j is None else float(along[j]) for j in path] for along in places.T]
