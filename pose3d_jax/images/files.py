"""Image files to RGB pixels: the formats of cameras, phones and the web."""

import io
import logging
import os
import struct
import warnings

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, UnidentifiedImageError

from pose3d_jax.errors import UserError
from pose3d_jax.untrusted import check_file, reason

log = logging.getLogger(__name__)

#: Pillow's names of the formats that are opened, whatever a file is called. Pillow knows more,
#: among them formats that run other programs (EPS starts Ghostscript).
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "GIF", "TIFF")
#: Limit of a file in bytes: the largest uncompressed image has 8 per pixel. Anything may follow an
#: image in its file.
MAX_BYTES = 16 * Image.MAX_IMAGE_PIXELS
#: Formats whose further pictures are frames or pages. JPEG's (MPO) are previews and depth maps.
_ANIMATED = ("PNG", "WEBP", "AVIF", "GIF", "TIFF")
#: EXIF's tag of the orientation, TIFF's of the bits and of the meaning of 0, and EXIF's integers.
_ORIENTATION, _BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 0x0112, 258, 262, 0
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}
#: The transposition that makes an image of each orientation upright (EXIF 2.3, tag 0x0112).
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip


def read_image(
    path: str | os.PathLike, *, upright: bool = True
) -> UInt8[np.ndarray, "height width 3"]:
    """Reads an image file as RGB of 8 bits, as a viewer shows it.

    The camera's orientation (EXIF) is applied; all other tags are ignored. Grey, palette and CMYK
    images become RGB; 12 and 16 bits become 8; transparent pixels become black, as does everything
    outside an image. The first frame of an animation or the first page is read, with a warning.

    Args:
        path: a file in one of `FORMATS`.
        upright: whether to apply the camera's orientation.

    Raises:
        UserError: the file does not exist, cannot be read, is no image, or is damaged.
    """
    check_file(path)
    try:
        # From memory: Python allocates as many bytes of a file as a damaged size requests.
        with open(path, "rb") as file:
            check_length(path, os.fstat(file.fileno()).st_size)
            content = file.read()
    except (OSError, MemoryError) as error:
        raise UserError(f"{path} cannot be read: {reason(error)}.") from error
    return decode_file(content, path, upright=upright)


def check_length(name: str | os.PathLike, size: int) -> None:
    """Checks that a file is no longer than an image can be.

    Raises:
        UserError: it is.
    """
    if size > MAX_BYTES:
        raise UserError(
            f"{name} has {size >> 20:,} MiB; the largest image that is read takes "
            f"{MAX_BYTES >> 20:,} MiB."
        )


def decode_file(
    content: bytes, name: str | os.PathLike, *, upright: bool = True
) -> UInt8[np.ndarray, "height width 3"]:
    """Decodes the content of an image file; see `read_image`.

    Args:
        content: of the file.
        name: of the file, for messages.
        upright: whether to apply the camera's orientation.

    Raises:
        UserError: it is no image, or it is damaged.
    """
    _silence_pillow()
    try:
        content = _without_exif_of_avif(content)
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            orientation = _take_orientation(image)
            if image.format in _ANIMATED and getattr(image, "is_animated", False):
                log.warning("%s has several frames or pages: the first one is read", name)
            image.load()
            image = _to_rgb(image)
        if upright and orientation in _UPRIGHT:
            image = image.transpose(_UPRIGHT[orientation])
        return np.array(image)
    except UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise UserError(
            f"{name} is not an image of a supported kind ({known}), or is damaged."
        ) from None
    except Image.DecompressionBombError:
        limit = 2 * Image.MAX_IMAGE_PIXELS // 10**6
        raise UserError(f"{name} has more than {limit} megapixels; reduce it first.") from None
    except MemoryError as error:
        raise UserError(f"{name} cannot be read: {reason(error)}.") from error
    except Exception as error:
        # Each format has a parser with errors of its own: Pillow raises struct.error, TypeError,
        # RuntimeError and more for damaged files.
        raise UserError(f"{name} cannot be read, or is damaged: {reason(error)}.") from error


def _without_exif_of_avif(content: bytes) -> bytes:
    """Empties the EXIF of AVIF files: the container has the orientation.

    Pillow merges both when it opens the file, which fails for tags of unusual types.
    """
    if content[4:12] in (b"ftypavif", b"ftypavis"):
        for start in (b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"):
            place = content.find(start)
            if place >= 0:  # A directory without entries.
                content = content[: place + 8] + bytes(2) + content[place + 10 :]
    return content


def _take_orientation(image: Image.Image) -> int:
    """EXIF's orientation of an image; 1 (upright) if it has none.

    Pillow itself turns TIFF files while it loads them: after this call no longer.
    """
    exif = image.info.get("exif")
    orientation = _orientation_in(exif.removeprefix(b"Exif\0\0")) if exif else None
    if orientation is None:
        try:  # Pillow knows further places, such as XMP.
            tags = image.getexif()
            orientation, tags[_ORIENTATION] = tags.get(_ORIENTATION, 1), 1
        except Exception:
            return 1
    return orientation[0] if isinstance(orientation, bytes) else orientation


def _orientation_in(tiff: bytes) -> int | None:
    """The orientation in EXIF tags; 1 if others are there alone, None if nothing can be read.

    Only this tag is decoded: the others may be damaged, or of types that Pillow cannot handle.
    """
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2], "")
    try:
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, directory)
        for place in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind, number = struct.unpack_from(order + "HHI", tiff, place)
            if tag == _ORIENTATION and kind in _INTEGERS and number == 1:
                return struct.unpack_from(order + _INTEGERS[kind], tiff, place + 8)[0]
    except struct.error:
        return None
    return 1 if count else None


def reduce_image(
    image: UInt8[np.ndarray, "height width 3"], longest: int
) -> tuple[UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "2"]]:
    """Reduces a large image for display; a small one is returned as it is.

    Args:
        image: RGB.
        longest: limit of the result's sides, px.

    Returns:
        The image, and the factors by which x and y were multiplied.
    """
    size = np.array(image.shape[1::-1])
    reduced = np.maximum(np.round(size * min(1.0, longest / size.max())), 1).astype(int)
    if (reduced < size).any():
        image = np.asarray(Image.fromarray(image).resize(tuple(reduced), reducing_gap=2.0))
    return image, reduced / size


def _silence_pillow() -> None:
    """Keeps Pillow's warnings about files off the terminal: relevant ones are exceptions.

    By module and for good: `warnings.catch_warnings` is not thread-safe.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return _from_16_bits(image)
    if image.mode in ("I", "F"):
        raise ValueError(
            "its pixels are signed or have 32 bits; save it with 8 or 16 unsigned bits"
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Grey of 12 or 16 bits as RGB; Pillow's own conversion clips at 255."""
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    (bits,) = tags.get(_BITS, (16,))
    grey = (values >> (bits - 8)).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 255 - grey
    if "transparency" in image.info:
        grey = np.where(values == image.info["transparency"], np.uint8(0), grey)
    return Image.fromarray(grey).convert("RGB")
