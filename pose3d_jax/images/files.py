"""Image files to RGB pixels: whatever a camera, a phone or the web writes."""

import io
import logging
import os
import warnings

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from pose3d_jax.errors import UserError
from pose3d_jax.untrusted import check_file, reason

#: Pillow's names of what is opened, whatever a file is called. It knows more, among them formats
#: that run other programs (EPS starts Ghostscript).
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "GIF", "TIFF")
#: Bytes of a file, at most: those of the largest picture without compression, 8 a pixel. What is
#: behind a picture in its file may be of any length.
MAX_BYTES = 16 * Image.MAX_IMAGE_PIXELS


def read_image(
    path: str | os.PathLike, *, upright: bool = True
) -> UInt8[np.ndarray, "height width 3"]:
    """Reads an image file as it is meant to be seen.

    The camera's rotation (EXIF) is carried out, grey and CMYK become RGB, 16 bits become 8, and
    what is transparent becomes black, as is everything outside an image. Of an animation, the first
    picture counts.

    Args:
        path: a file in one of `FORMATS`.
        upright: whether to carry out the camera's rotation.

    Raises:
        UserError: there is no such file, it is no image, or it is damaged.
    """
    check_file(path)
    try:
        # From memory: of a file, Python makes room for as many bytes as a damaged size asks for.
        with open(path, "rb") as file:
            check_length(path, os.fstat(file.fileno()).st_size)
            content = file.read()
    except (OSError, MemoryError) as error:
        raise UserError(f"{path} cannot be read: {reason(error)}.") from error
    return decode_file(content, path, upright=upright)


def check_length(name: str | os.PathLike, size: int) -> None:
    """Makes sure that a file is no longer than a picture's can be.

    Raises:
        UserError: it is.
    """
    if size > MAX_BYTES:
        raise UserError(
            f"{name} has {size >> 20:,} MiB, and the largest picture that is read takes no more "
            f"than {MAX_BYTES >> 20:,}."
        )


def decode_file(
    content: bytes, name: str | os.PathLike, *, upright: bool = True
) -> UInt8[np.ndarray, "height width 3"]:
    """The image of a file's content; see `read_image`.

    Args:
        content: what the file holds.
        name: of the file, for messages.
        upright: whether to carry out the camera's rotation.

    Raises:
        UserError: it is no image, or it is damaged.
    """
    _silence_pillow()
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            image.load()
            return np.array(_to_rgb(ImageOps.exif_transpose(image) if upright else image))
    except UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise UserError(f"{name} is not an image ({known}), or is damaged.") from None
    except Image.DecompressionBombError:
        limit = 2 * Image.MAX_IMAGE_PIXELS // 10**6
        raise UserError(f"{name} has more than {limit} megapixels; reduce it first.") from None
    except Exception as error:
        # Each format has a parser, and a damaged file takes each where nobody went: Pillow lets
        # through struct.error, TypeError, RuntimeError, MemoryError and more.
        raise UserError(f"{name} cannot be read, or is damaged: {reason(error)}.") from error


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


def _silence_pillow() -> None:
    """Keeps what Pillow says of a file off the terminal: what matters of it is an exception.

    By module and for good: `warnings.catch_warnings` is not for threads, and would leave all
    warnings off where two of it overlap.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)


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
    return image if image.mode == "RGB" else image.convert("RGB")
