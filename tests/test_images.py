import io
import os
import subprocess
import warnings

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, UnidentifiedImageError

from pose3d_jax.errors import UserError
from pose3d_jax.images.files import read_image, reduce_image
from pose3d_jax.images.jpeg import decode_image

#: Red, green / blue, white: each corner of its own colour.
CORNERS = np.kron(
    np.uint8([[[250, 0, 0], [0, 250, 0]], [[0, 0, 250], [250, 250, 250]]]),
    np.ones((8, 12, 1), np.uint8),
)


def save(path, image: Image.Image, **options):
    image.save(path, **options)
    return path


def test_plain_rgb_is_itself(tmp_path):
    image = read_image(save(tmp_path / "a.png", Image.fromarray(CORNERS)))
    np.testing.assert_array_equal(image, CORNERS)
    assert image.flags.writeable


def test_grey_becomes_rgb(tmp_path):
    image = read_image(save(tmp_path / "a.png", Image.fromarray(CORNERS[..., 0])))
    np.testing.assert_array_equal(image, np.repeat(CORNERS[..., :1], 3, axis=-1))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_become_eight(tmp_path, suffix):
    deep = CORNERS[..., 0].astype(np.uint16) << 8
    image = read_image(save(tmp_path / f"a.{suffix}", Image.fromarray(deep)))
    np.testing.assert_array_equal(image[..., 1], CORNERS[..., 0])


def test_what_is_transparent_becomes_black(tmp_path):
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


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_cameras_rotation_is_carried_out(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", Image.fromarray(CORNERS), exif=exif)
    image = read_image(path)
    # Where the file's first row and column are on the upright picture (EXIF 2.3, tag 0x0112).
    upright = {
        1: CORNERS, 2: CORNERS[:, ::-1], 3: CORNERS[::-1, ::-1], 4: CORNERS[::-1],
        5: CORNERS.swapaxes(0, 1), 6: np.rot90(CORNERS, -1),
        7: CORNERS[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(CORNERS),
    }  # fmt: skip
    np.testing.assert_array_equal(image, upright[orientation])


def test_a_photo_of_a_hundred_megapixels_is_read(tmp_path, recwarn):
    path = save(tmp_path / "a.png", Image.new("L", (10_000, 10_000)), compress_level=1)
    assert read_image(path).shape == (10_000, 10_000, 3)
    assert not recwarn.list


def test_more_than_any_camera_has_is_refused(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", Image.fromarray(CORNERS))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(UserError, match="megapixels"):
        read_image(path)


def test_what_is_no_image_is_a_sentence(tmp_path):
    jpeg = save(tmp_path / "a.jpg", Image.fromarray(np.random.default_rng(0).integers(
        0, 256, (64, 64, 3), np.uint8)))  # fmt: skip
    truncated, text = tmp_path / "b.jpg", tmp_path / "c.jpg"
    truncated.write_bytes(jpeg.read_bytes()[:2000])
    text.write_text("no image")
    for path, message in (
        (truncated, "damaged"),
        (text, "not an image"),
        (tmp_path / "absent.jpg", "no such file"),
        (tmp_path, "cannot be read"),
        (save(tmp_path / "d.tif", Image.new("F", (4, 4))), "32 bits"),
    ):
        with pytest.raises(UserError, match=message) as refusal:
            read_image(path)
        assert str(path) in str(refusal.value)


def photo(format_: str) -> bytes:
    """A small picture with the tags of a camera."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x011A], exif[0x0213] = 6, "a person", 72.0, 1
    buffer = io.BytesIO()
    Image.fromarray(CORNERS).save(buffer, format_, exif=exif.tobytes())
    return buffer.getvalue()


@pytest.mark.parametrize("format_", ["WEBP", "AVIF"])
def test_damage_anywhere_is_a_picture_or_a_sentence(tmp_path, format_, capfd):
    """Damaged tags ended in struct.error and TypeError, damaged AVIFs in RuntimeError."""
    whole, path = photo(format_), tmp_path / "a.jpg"
    refused = 0
    with warnings.catch_warnings():  # That we silence Pillow is seen here, and forgotten after.
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


def test_other_formats_stay_closed_whatever_they_are_called(tmp_path, monkeypatch):
    """Pillow opens an EPS by starting Ghostscript."""
    path = tmp_path / "photo.jpg"
    Image.fromarray(CORNERS).save(path, "EPS")
    monkeypatch.setattr(subprocess, "check_call", lambda *_, **__: pytest.fail("a program started"))
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", "gs")
    with pytest.raises(UserError, match="not an image"):
        read_image(path)


def test_a_picture_can_be_read_as_it_lies_in_the_file(tmp_path):
    (tmp_path / "a.png").write_bytes(photo("PNG"))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", upright=False), CORNERS)
    assert read_image(tmp_path / "a.png").shape == (24, 16, 3)


def test_a_large_image_is_reduced_to_be_shown():
    large = np.repeat(np.repeat(CORNERS, 10, axis=0), 10, axis=1)
    image, factors = reduce_image(large, 48)
    assert image.shape == (32, 48, 3)
    np.testing.assert_allclose(factors, (48 / 240, 32 / 160))
    np.testing.assert_allclose(np.int32(image)[::31, ::47], CORNERS[::15, ::23], atol=2)
    same, factors = reduce_image(CORNERS, 24)
    np.testing.assert_array_equal(same, CORNERS)
    np.testing.assert_array_equal(factors, 1)
    assert reduce_image(np.zeros((1, 4000, 3), np.uint8), 100)[0].shape == (1, 100, 3)


def test_a_file_longer_than_any_picture_is_refused_unread(tmp_path):
    """A picture may be followed by whatever; a hole of terabytes takes no room on the disk."""
    path = tmp_path / "a.png"
    path.write_bytes(photo("PNG"))
    os.truncate(path, 1 << 40)
    with pytest.raises(UserError, match=r"a\.png has 1,048,576 MiB"):
        read_image(path)


def test_a_records_picture_is_a_jpeg_or_stays_closed():
    buffer = io.BytesIO()
    Image.fromarray(CORNERS).save(buffer, "EPS")
    with pytest.raises(UnidentifiedImageError):
        decode_image(buffer.getvalue())
