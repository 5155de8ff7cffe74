"""JPEG bytes to pixels and back, as records keep images."""

import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image

#: Of 100, in Pillow's scale; chosen by judgement, not tuned.
JPEG_QUALITY = 92


def encode_image(
    image: UInt8[np.ndarray, "height width 3"], quality: float = JPEG_QUALITY
) -> bytes:
    """RGB pixels to the JPEG bytes that a record holds; `quality` in Pillow's scale."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=round(float(quality)))
    return buffer.getvalue()


def decode_image(jpeg: bytes) -> UInt8[np.ndarray, "height width 3"]:
    """JPEG bytes of a record to RGB pixels."""
    with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
        return np.asarray(image.convert("RGB"))
