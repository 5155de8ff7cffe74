"""Draws the first picture of README.md: `python docs/opening.py [--checkpoint open]`.

The photograph around the person, the predicted joints, and the skeleton in 3D from the side. The
person is detected.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from pose3d_jax.checkpoints import loading
from pose3d_jax.drawing.axes import plot_bones
from pose3d_jax.images import read_image
from pose3d_jax.prediction.predictor import Pose, Predictor

DOCS = Path(__file__).parent
#: Side of the shown region, in sides of the network's square.
SHOWN = 1.15
#: Side of a picture, inches.
SIDE = 3.2


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default=loading.DEFAULT)
    parser.add_argument("--out", default=DOCS / "opening.png")
    options = parser.parse_args()
    image = read_image(DOCS / "photos" / "balancing.jpg")
    pose = Predictor.from_checkpoint(options.checkpoint)(image, "auto")
    # The detection with the highest confidence comes first.
    draw(image, pose, person=0).savefig(options.out, dpi=120)
    print(f"{options.out}: the first of {len(pose)} people")


def draw(image: np.ndarray, pose: Pose, person: int) -> Figure:
    """Draws the photograph, the joints and the skeleton of one person."""
    figure = Figure(figsize=(3 * SIDE, SIDE), layout="constrained")
    plain, joints, side = figure.subplots(1, 3)
    x, y, extent = pose.squares[person]
    reach = np.array([-1, 1]) * SHOWN * extent / 2
    for axes in (plain, joints):
        axes.imshow(image, extent=(0, image.shape[1], image.shape[0], 0))
        axes.set(xlim=x + reach, ylim=(y + reach)[::-1], xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    plot_bones(joints, pose.joints_2d[person], edge=4.0, linewidth=2.5)
    # The view from the camera's right: horizontal is depth, and larger x is nearer.
    upright = pose.joints_3d[person] * (1, -1, 1)
    plot_bones(side, upright[:, [2, 1]], nearness=upright[:, 0], linewidth=3.5)
    middle = (upright.min(0) + upright.max(0)) / 2
    room = np.array([-1, 1]) * 0.6 * np.ptp(upright, axis=0).max()
    side.set(aspect="equal", xlim=middle[2] + room, ylim=middle[1] + room)
    side.set(xlabel="away from the camera (mm)", ylabel="up (mm)")
    side.grid(color="0.92")
    side.set_axisbelow(True)
    side.spines[:].set_color("0.8")
    side.tick_params(labelsize=8, color="0.8")
    return figure


if __name__ == "__main__":
    main()
