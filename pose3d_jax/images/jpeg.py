"""Encodes and decodes the JPEG images of records."""

import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image

#: In Pillow's scale of 100; chosen by judgement, not tuned.
JPEG_QUALITY = 92


def encode_image(
    image: UInt8[np.ndarray, "height width 3"], quality: float = JPEG_QUALITY
) -> bytes:
    """Encodes RGB pixels as JPEG, as records hold them; `quality` in Pillow's scale."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=round(float(quality)))
    return buffer.getvalue()


def decode_image(jpeg: bytes) -> UInt8[np.ndarray, "height width 3"]:
    """Decodes the JPEG of a record to RGB pixels."""
    with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
        return np.asarray(image.convert("RGB"))
