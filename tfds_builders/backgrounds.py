r"""Collects images without people: `python -m tfds_builders.backgrounds FOLDER… [--skip WORD…]`.

Training with `--config.data.backgrounds=backgrounds` adds them as images without a person
(`pose3d_jax.data.backgrounds`). The bundled network's are photographs and cut-out things of Debian
12, which anybody may download:

    apt-get download gnome-backgrounds lomiri-wallpapers-16.04 lomiri-wallpapers-20.04 \
      mate-backgrounds plasma-workspace-wallpapers tuxpaint-stamps-default ukui-wallpapers \
      visp-images-data
    for package in *.deb; do dpkg-deb -x "$package" unpacked; done
    python -m tfds_builders.backgrounds unpacked \
      --skip symbols cartoon people clothes faces flags plastic

Images that look like an earlier one are left out. Look at the folder, and remove people.
"""

import argparse
import hashlib
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pose3d_jax.data.catalog import data_root
from pose3d_jax.errors import UserError
from pose3d_jax.images.media import IMAGE_SUFFIXES
from pose3d_jax.programs.run import exit_code

log = logging.getLogger(__name__)

#: Longer side of images and of cut-out things, px; smaller sides than the last are left out.
IMAGE_SIDE, THING_SIDE, SMALLEST_SIDE = 900, 512, 40
#: Side of the thumbnails, and mean difference of different images, of 255.
THUMBNAIL, DIFFERENT = 8, 6.0


def collect(folders: Sequence[Path], out: Path, skip: Sequence[str] = ()) -> int:
    """Writes each different image once, reduced.

    Args:
        folders: searched with all folders below.
        out: folder of the results, JPEG, or PNG where an image has transparent parts.
        skip: images with one of these words in their path below the folder are left out.

    Returns:
        The number of images.

    Raises:
        UserError: there are none.
    """
    thumbnails: list[np.ndarray] = []
    for path, image in _images(folders, skip):
        small = np.asarray(image.convert("RGB").resize((THUMBNAIL, THUMBNAIL))).astype(float)
        if any(np.abs(small - other).mean() < DIFFERENT for other in thumbnails):
            continue
        thumbnails.append(small)
        transparent = image.mode == "RGBA" and image.getextrema()[3][0] < 250
        side = THING_SIDE if transparent else IMAGE_SIDE
        image.thumbnail((side, side))
        out.mkdir(parents=True, exist_ok=True)
        name = f"{path.stem}-{hashlib.sha1(image.tobytes()).hexdigest()[:8]}"
        if transparent:
            image.save(out / f"{name}.png")
        else:
            image.convert("RGB").save(out / f"{name}.jpg", quality=88)
    if not thumbnails:
        raise UserError(f"There are no images in {', '.join(map(str, folders))}.")
    return len(thumbnails)


def _images(folders: Sequence[Path], skip: Sequence[str]) -> Iterator[tuple[Path, Image.Image]]:
    """The images in folders, RGB or RGBA; those that cannot be read are logged."""
    found = sorted((path, folder) for folder in folders for path in folder.rglob("*"))
    for path, folder in found:
        below = str(path.relative_to(folder))
        if path.suffix.lower() not in IMAGE_SUFFIXES or any(word in below for word in skip):
            continue
        try:
            with Image.open(path) as image:
                image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            log.warning("%s is left out: %s", path, error)
            continue
        if min(image.size) >= SMALLEST_SIDE:
            yield path, image


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tfds_builders.backgrounds", description="Collects images without people."
    )
    parser.add_argument("folders", metavar="FOLDER", nargs="+", type=Path)
    parser.add_argument("--skip", metavar="WORD", nargs="+", default=[], help="words in paths")
    parser.add_argument("--data_dir", help="directory of the data sets (default: TFDS's)")
    options = parser.parse_args(arguments)

    def program():
        out = data_root(options.data_dir) / "backgrounds"
        print(f"{collect(options.folders, out, options.skip)} images in {out}")

    return exit_code(program)


if __name__ == "__main__":
    sys.exit(main())
