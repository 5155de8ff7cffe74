"""Draws docs/gallery.jpg: what the bundled network detects in photographs, without boxes."""

from pathlib import Path

import matplotlib.pyplot as plt

from pose3d_jax import Predictor
from pose3d_jax.drawing.skeletons import draw_people
from pose3d_jax.images import read_image

DOCS = Path(__file__).parent
PHOTOS = ("balancing", "balancing_side", "astronaut", "camera", "rocket", "coffee")


def main() -> None:
    """The program."""
    predictor = Predictor.from_pretrained()
    figure, grid = plt.subplots(2, 3, figsize=(10, 7), layout="constrained")
    for axes, name in zip(grid.flat, PHOTOS):
        image = read_image(DOCS / "photos" / f"{name}.jpg")
        pose = predictor(image, "auto")
        axes.imshow(draw_people(image, pose.joints_2d, pose.person_confidence))
        shares = ", ".join(f"{share:.2f}" for share in pose.person_confidence)
        axes.set_title(f"{len(pose)} detected{f' ({shares})' if shares else ''}", fontsize=9)
        axes.axis("off")
    figure.savefig(DOCS / "gallery.jpg", dpi=100, pil_kwargs={"quality": 85})


if __name__ == "__main__":
    main()
