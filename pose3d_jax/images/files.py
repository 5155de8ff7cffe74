"""Image files to RGB pixels: whatever a camera, a phone or the web writes."""

import os
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from pose3d_jax.errors import UserError


def read_image(path: str | os.PathLike) -> UInt8[np.ndarray, "height width 3"]:
    """Reads an image file as it is meant to be seen.

    The camera's rotation (EXIF) is carried out, grey and CMYK become RGB, 16 bits become 8, and
    what is transparent becomes black, as is everything outside an image. Of an animation, the first
    picture counts.

    Raises:
        UserError: there is no such file, it is no image, or it is damaged.
    """
    path = Path(path)
    try:
        with warnings.catch_warnings():
            # Half of Pillow's limit is a warning; a photo of 100 megapixels is no attack.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                image.load()
                return np.array(_to_rgb(ImageOps.exif_transpose(image)))
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file.") from None
    except UnidentifiedImageError:
        raise UserError(f"{path} is not an image that Pillow can read.") from None
    except Image.DecompressionBombError:
        limit = 2 * Image.MAX_IMAGE_PIXELS // 10**6
        raise UserError(f"{path} has more than {limit} megapixels; reduce it first.") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read, or is damaged: {error}.") from error


def reduce_image(
    image: UInt8[np.ndarray, "height width 3"], longest: int
) -> tuple[UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "2"]]:
    """Makes a large image small enough to be shown; a small one stays as it is.

    Args:
        image: RGB.
        longest: side of the result, px, at most.

    Returns:
        The image, and the factors by which x and y have shrunk.
    """
    size = np.array(image.shape[1::-1])
    reduced = np.maximum(np.round(size * min(1.0, longest / size.max())), 1).astype(int)
    if (reduced < size).any():
        image = np.asarray(Image.fromarray(image).resize(tuple(reduced), reducing_gap=2.0))
    return image, reduced / size


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Pillow's own conversion clips at 255.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError("its pixels have 32 bits; save it with 8 or 16")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, image).convert("RGB")
    return image.convert("RGB")
