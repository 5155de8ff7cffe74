"""Damage to the bytes of a file."""

import struct
import zlib

import numpy as np

#: Numbers where sizes, counts and offsets go astray.
_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """Changes a few places: bits, numbers, pieces doubled, lost or moved; or cuts the end off."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        if not content:
            break
        place, length = int(rng.integers(len(content))), int(rng.integers(1, 64))
        match rng.integers(9):
            case 0 | 1:
                content[place] ^= 1 << int(rng.integers(8))
            case 2:
                content[place] = int(rng.choice((0, 1, 0x7F, 0x80, 0xFF)))
            case 3 | 4:
                order = rng.choice(("<I", ">I"))
                number = struct.pack(order, int(rng.choice(_EXTREMES)))
                content[place : place + 4] = number[: len(content) - place]
            case 5:
                content[place : place + length] = rng.bytes(length)
            case 6:
                del content[place : place + length]
            case 7:
                content[place:place] = content[place : place + length]
            case 8:
                if rng.integers(4) == 0:
                    del content[place:]
    return bytes(content)


def with_checksums(png: bytes) -> bytes:
    """A PNG with the checksums of its chunks made right, as far as its chunks can be followed."""
    content, place = bytearray(png), 8
    while place + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, place)
        end = place + 8 + length
        if end + 4 > len(content):
            break
        struct.pack_into(">I", content, end, zlib.crc32(content[place + 4 : end]))
        place = end + 4
    return bytes(content)
