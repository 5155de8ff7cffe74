import io
import os
import struct
import subprocess
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image, UnidentifiedImageError

from pose3d_jax.errors import UserError
from pose3d_jax.images.files import decode_file, read_image, reduce_image
from pose3d_jax.images.jpeg import decode_image

#: Red, green / blue, white: each corner of its own colour.
CORNERS = np.kron(
    np.uint8([[[250, 0, 0], [0, 250, 0]], [[0, 0, 250], [250, 250, 250]]]),
    np.ones((8, 12, 1), np.uint8),
)


def save(path, image: Image.Image, **options):
    image.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("bits", [8, 16])
def test_grey_of_any_depth_becomes_rgb(tmp_path, suffix, bits):
    grey = CORNERS[..., 0].astype(f"u{bits // 8}") << (bits - 8)
    image = read_image(save(tmp_path / f"a.{suffix}", Image.fromarray(grey)))
    np.testing.assert_array_equal(image, np.repeat(CORNERS[..., :1], 3, axis=-1))


def test_transparent_pixels_become_black(tmp_path):
    alpha = np.full((*CORNERS.shape[:2], 1), 255, np.uint8)
    alpha[:8] = 0
    rgba = Image.fromarray(np.concatenate([CORNERS, alpha], axis=-1))
    image = read_image(save(tmp_path / "a.png", rgba))
    assert (image[:8] == 0).all()
    np.testing.assert_array_equal(image[8:], CORNERS[8:])


def test_palettes_and_cmyk_become_rgb(tmp_path):
    palette = Image.fromarray(CORNERS).quantize(8)
    np.testing.assert_allclose(
        np.int32(read_image(save(tmp_path / "a.png", palette))), CORNERS, atol=8
    )
    cmyk = Image.fromarray(CORNERS).convert("CMYK")
    image = read_image(save(tmp_path / "a.jpg", cmyk, quality=100, subsampling=0))
    np.testing.assert_allclose(np.int32(image)[2:6, 2:9], CORNERS[2:6, 2:9], atol=8)


#: The picture of CORNERS whose file has each orientation (EXIF 2.3, tag 0x0112).
UPRIGHT = {
    1: CORNERS, 2: CORNERS[:, ::-1], 3: CORNERS[::-1, ::-1], 4: CORNERS[::-1],
    5: CORNERS.swapaxes(0, 1), 6: np.rot90(CORNERS, -1),
    7: CORNERS[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(CORNERS),
}  # fmt: skip


def exif(orientation=None, *, kind=3, order="<", more=()) -> bytes:
    """EXIF of an orientation and more tags: (tag, type, count, 4 bytes of value)."""
    entries = list(more)
    if orientation is not None:
        value = struct.pack(order + {1: "Bxxx", 3: "Hxx", 4: "I"}[kind], orientation)
        entries.append((0x0112, kind, 1, value))
    rows = b"".join(struct.pack(order + "HHI", *entry[:3]) + entry[3] for entry in sorted(entries))
    header = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8)
    return header + struct.pack(order + "H", len(entries)) + rows + bytes(4)


def encoded(format_: str, tags: bytes, image=CORNERS) -> bytes:
    """An image file with EXIF, which Pillow does not see before."""
    buffer = io.BytesIO()
    lossless = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(format_, {})
    Image.fromarray(image).save(buffer, format_, exif=b"Exif\0\0" + tags, **lossless)
    return buffer.getvalue()


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [1, 3, 4])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_the_camera_is_applied(orientation, kind, order):
    image = decode_file(encoded("PNG", exif(orientation, kind=kind, order=order)), "a")
    np.testing.assert_array_equal(image, UPRIGHT[orientation])
    assert image.flags.writeable


@pytest.mark.parametrize("orientation", [1, 2, 6])
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_other_tags_of_any_type_change_nothing(format_, orientation):
    expected = decode_file(encoded(format_, exif(orientation)), "a")
    tags = [0x0001, 0x00FE, 0x010F, 0x011A, 0x0132, 0x013E, 0x0201, 0x0213, 0x8298, 0x8769, 0x8825]
    for tag in [*tags, 0x9286, 0xA005, 0xA302, 0xFFFF]:
        for kind in range(15):
            for count, value in ((1, b"\xff\xfe\xc0\x7f"), (5, b"\xff\xff\xff\x7f"), (0, bytes(4))):
                content = encoded(format_, exif(orientation, more=[(tag, kind, count, value)]))
                np.testing.assert_array_equal(decode_file(content, "a"), expected)


def test_own_orientation_of_avif_overrides_exif():
    """The container turns the image, and EXIF has a tag that Pillow cannot write again."""
    buffer = io.BytesIO()
    tags = exif(6, more=[(270, 2, 4, b"abc\0")])
    Image.fromarray(CORNERS).save(buffer, "AVIF", exif=b"Exif\0\0" + tags, quality=100)
    plain = decode_file(buffer.getvalue(), "a")
    assert plain.shape == (24, 16, 3)
    text, odd = (struct.pack("<HHI", tag, 2, 4) + b"abc\0" for tag in (270, 282))
    content = buffer.getvalue().replace(text, odd)
    assert content != buffer.getvalue()
    np.testing.assert_array_equal(decode_file(content, "a"), plain)


def tiff(
    rows: bytes, shape, bits, *, photometric=1, signed=False, order="<", orientation=1, extra=()
):
    """An uncompressed TIFF file of one strip; bits of each sample."""
    height, width = shape
    pack = "<" if order == "<" else ">"
    depth = struct.pack(pack + "HH", *(bits * 2)[:2])
    fields = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, len(bits), depth), (259, 3, 1, 1),
        (262, 3, 1, photometric), (273, 4, 1, 0), (274, 3, 1, orientation),
        (277, 3, 1, len(bits)), (278, 3, 1, height), (279, 4, 1, len(rows)),
        (339, 3, 1, 2 if signed else 1), *extra,
    ]  # fmt: skip
    start = 8 + 2 + 12 * len(fields) + 4
    entries = b""
    for tag, kind, count, value in sorted(fields):
        value = start if tag == 273 else value
        if not isinstance(value, bytes):
            value = struct.pack(pack + ("Hxx" if kind == 3 else "I"), value)
        entries += struct.pack(pack + "HHI", tag, kind, count) + value
    header = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(pack + "I", 8)
    return header + struct.pack(pack + "H", len(fields)) + entries + bytes(4) + rows


GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)


def packed_12_bits(values: np.ndarray) -> bytes:
    pairs = values.reshape(-1, 2).astype(np.uint32)
    joined = pairs[:, 0] << 12 | pairs[:, 1]
    return np.stack([joined >> 16, joined >> 8 & 255, joined & 255], -1).astype(np.uint8).tobytes()


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_grey_tiff_of_any_depth(bits, white_is_zero, orientation):
    values = GREY.astype(np.uint16) << (bits - 8)
    values = (1 << bits) - 1 - values if white_is_zero else values
    rows = packed_12_bits(values) if bits == 12 else values.astype(f"<u{bits // 8}").tobytes()
    content = tiff(
        rows, GREY.shape, [bits], photometric=0 if white_is_zero else 1, orientation=orientation
    )
    try:
        image = decode_file(content, "a")
    except UserError:
        assert bits == 12 and white_is_zero  # Not decoded by Pillow.
        return
    expected = np.rot90(GREY, -1) if orientation == 6 else GREY
    np.testing.assert_allclose(image[..., 0].astype(int), expected, atol=1)


def test_grey_with_alpha_is_composed_over_black():
    alpha = np.where(GREY < 128, 0, 255).astype(np.uint8)
    rows = np.stack([GREY, alpha], -1)
    content = tiff(rows.tobytes(), GREY.shape, [8, 8], extra=[(338, 3, 1, 2)])
    np.testing.assert_array_equal(decode_file(content, "a")[..., 2], np.where(alpha, GREY, 0))
    buffer = io.BytesIO()
    Image.fromarray(rows, "LA").save(buffer, "PNG")
    np.testing.assert_array_equal(
        decode_file(buffer.getvalue(), "a")[..., 1], np.where(alpha, GREY, 0)
    )
    deep = tiff(rows.astype("<u2").tobytes(), GREY.shape, [16, 16], extra=[(338, 3, 1, 2)])
    with pytest.raises(UserError, match="not an image of a supported kind"):
        decode_file(deep, "a")


def png16(colour: int, rows: np.ndarray, transparent: bytes = b"") -> bytes:
    """A PNG file of 16 bits; rows (height, width, channels)."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    height, width, _ = rows.shape
    head = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
        + (chunk(b"tRNS", transparent) if transparent else b"")
        + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    )  # fmt: skip


def test_png_of_16_bits():
    deep = GREY[..., None].astype(np.uint16) * 257
    opaque = np.where(GREY < 128, 0, 65535)[..., None]
    for colour, rows, expected in (
        (0, deep, GREY),
        (4, np.concatenate([deep, opaque], -1), np.where(GREY < 128, 0, GREY)),
        (2, np.repeat(deep, 3, -1), GREY),
        (6, np.concatenate([np.repeat(deep, 3, -1), opaque], -1), np.where(GREY < 128, 0, GREY)),
    ):
        image = decode_file(png16(colour, rows), "a")
        np.testing.assert_array_equal(image, np.repeat(expected[..., None], 3, -1))
    image = decode_file(png16(0, deep, struct.pack(">H", 200 * 257)), "a")
    np.testing.assert_array_equal(image[..., 0], np.where(GREY == 200, 0, GREY))


@pytest.mark.parametrize("bits", [16, 32])
def test_signed_pixels_are_user_error(bits):
    content = tiff(GREY.astype(f"<i{bits // 8}").tobytes(), GREY.shape, [bits], signed=True)
    with pytest.raises(UserError, match=r"a cannot be read.*signed|not an image"):
        decode_file(content, "a")


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
def test_first_picture_of_an_animation_is_read_and_reported(format_, caplog):
    buffer = io.BytesIO()
    frames = [Image.fromarray(np.full((16, 16, 3), level, np.uint8)) for level in (40, 200)]
    frames[0].save(buffer, format_, save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(decode_file(buffer.getvalue(), "a.x").astype(int), 40, atol=4)
    assert "a.x has several frames or pages: the first one is read" in caplog.text


def test_preview_of_a_photo_is_no_second_frame(caplog):
    buffer = io.BytesIO()
    image = Image.fromarray(CORNERS)
    image.save(buffer, "MPO", save_all=True, append_images=[image])
    decode_file(buffer.getvalue(), "a.jpg")
    assert not caplog.records


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), MemoryError()])
def test_unreadable_file_is_not_called_damaged(tmp_path, monkeypatch, error):
    path = save(tmp_path / "a.png", Image.fromarray(CORNERS))

    def refuse(*_):
        raise error

    monkeypatch.setattr("builtins.open" if isinstance(error, OSError) else "io.BytesIO", refuse)
    with pytest.raises(UserError, match=r"cannot be read: (Permission denied|MemoryError)") as e:
        read_image(path)
    assert "damage" not in str(e.value)


def test_photo_of_100_megapixels_is_read(tmp_path, recwarn):
    path = save(tmp_path / "a.png", Image.new("L", (10_000, 10_000)), compress_level=1)
    assert read_image(path).shape == (10_000, 10_000, 3)
    assert not recwarn.list


def test_image_above_the_pixel_limit_is_user_error(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", Image.fromarray(CORNERS))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(UserError, match="megapixels"):
        read_image(path)


def test_invalid_images_are_user_errors(tmp_path):
    jpeg = save(tmp_path / "a.jpg", Image.fromarray(np.random.default_rng(0).integers(
        0, 256, (64, 64, 3), np.uint8)))  # fmt: skip
    truncated, text = tmp_path / "b.jpg", tmp_path / "c.jpg"
    truncated.write_bytes(jpeg.read_bytes()[:2000])
    text.write_text("no image")
    for path, message in (
        (truncated, "damaged"),
        (text, "not an image of a supported kind"),
        (tmp_path / "absent.jpg", "no such file"),
        (tmp_path, "cannot be read"),
        (save(tmp_path / "d.tif", Image.new("F", (4, 4))), "32 bits"),
    ):
        with pytest.raises(UserError, match=message) as refusal:
            read_image(path)
        assert str(path) in str(refusal.value)


#: The tags of a camera: a description and a resolution.
CAMERA = exif(6, more=[(0x010E, 2, 4, b"one\0"), (0x0213, 3, 1, b"\1\0\0\0")])


@pytest.mark.parametrize("format_", ["WEBP", "AVIF"])
def test_any_damaged_byte_gives_an_image_or_user_error(tmp_path, format_, capfd):
    """Pillow raises struct.error, TypeError and RuntimeError for these."""
    whole, path = encoded(format_, CAMERA), tmp_path / "a.jpg"
    refused = 0
    with warnings.catch_warnings():  # Restores the filters afterwards.
        warnings.simplefilter("always")
        for place in range(0, len(whole), 1 if format_ == "WEBP" else 5):
            for value in (0, 255):
                path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
                try:
                    assert read_image(path).shape[2] == 3
                except UserError as error:
                    refused += 1
                    assert str(path) in str(error) and "\n" not in str(error)
    assert refused > 5
    assert capfd.readouterr() == ("", "")


def test_other_formats_are_not_opened(tmp_path, monkeypatch):
    """Pillow opens an EPS by starting Ghostscript."""
    path = tmp_path / "photo.jpg"
    Image.fromarray(CORNERS).save(path, "EPS")
    monkeypatch.setattr(subprocess, "check_call", lambda *_, **__: pytest.fail("a program started"))
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", "gs")
    with pytest.raises(UserError, match="not an image"):
        read_image(path)


def test_orientation_can_be_ignored(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded("PNG", CAMERA))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", upright=False), CORNERS)
    assert read_image(tmp_path / "a.png").shape == (24, 16, 3)


def test_large_image_is_reduced():
    large = np.repeat(np.repeat(CORNERS, 10, axis=0), 10, axis=1)
    image, factors = reduce_image(large, 48)
    assert image.shape == (32, 48, 3)
    np.testing.assert_allclose(factors, (48 / 240, 32 / 160))
    np.testing.assert_allclose(np.int32(image)[::31, ::47], CORNERS[::15, ::23], atol=2)
    same, factors = reduce_image(CORNERS, 24)
    np.testing.assert_array_equal(same, CORNERS)
    np.testing.assert_array_equal(factors, 1)
    assert reduce_image(np.zeros((1, 4000, 3), np.uint8), 100)[0].shape == (1, 100, 3)


def test_file_above_the_length_limit_is_user_error(tmp_path):
    """Sparse: a hole of a terabyte takes no space on the disk."""
    path = tmp_path / "a.png"
    path.write_bytes(encoded("PNG", CAMERA))
    os.truncate(path, 1 << 40)
    with pytest.raises(UserError, match=r"a\.png has 1,048,576 MiB"):
        read_image(path)


def test_records_hold_jpeg_alone():
    buffer = io.BytesIO()
    Image.fromarray(CORNERS).save(buffer, "EPS")
    with pytest.raises(UnidentifiedImageError):
        decode_image(buffer.getvalue())


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
@given(start=st.floats(0, 1), damage=st.binary(min_size=1, max_size=20), end=st.floats(0.1, 1.5))
def test_damage_anywhere_gives_an_image_or_user_error(format_, start, damage, end):
    content = bytearray(encoded(format_, exif(6)))
    place = int(start * (len(content) - 1))
    content[place : place + len(damage)] = damage
    try:
        assert decode_file(bytes(content[: int(end * len(content))]), "a.x").shape[2] == 3
    except UserError as error:
        assert str(error).startswith("a.x ") and "\n" not in str(error)
