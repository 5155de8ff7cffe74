import io
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pose3d_jax.errors import UserError
from pose3d_jax.images import media, videos

av = pytest.importorskip("av")

#: Red, green / blue, white: each corner of its own colour.
CORNERS = np.kron(
    np.uint8([[[250, 0, 0], [0, 250, 0]], [[0, 0, 250], [250, 250, 250]]]),
    np.ones((16, 24, 1), np.uint8),
)


def write(
    path, images, codec="libx264", rate=25, times=None, aspect=None, keyframes=50, **container
) -> Path:
    with av.open(str(path), "w", **container) as file:
        stream = file.add_stream(codec, rate=rate, options={"g": str(keyframes)})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        clock = Fraction(1, rate)
        stream.codec_context.time_base = clock
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            time = number / rate if times is None else times[number]
            frame.pts, frame.time_base = round(time / clock), clock
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def read(path):
    with videos.open_video(path) as video:
        return video, list(video.frames)


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [  # (a, b, c, d) of the track header: where a pixel (p, q) goes, (a p + c q, b p + d q).
        ((1, 0, 0, 1), lambda x: x),
        ((-1, 0, 0, 1), lambda x: x[:, ::-1]),
        ((1, 0, 0, -1), lambda x: x[::-1]),
        ((-1, 0, 0, -1), lambda x: x[::-1, ::-1]),
        ((0, 1, -1, 0), lambda x: np.rot90(x, -1)),
        ((0, -1, 1, 0), lambda x: np.rot90(x)),
        ((0, 1, 1, 0), lambda x: x.swapaxes(0, 1)),
        ((0, -1, -1, 0), lambda x: x[::-1, ::-1].swapaxes(0, 1)),
    ],
)
def test_all_eight_orientations(tmp_path, matrix, shown):
    path = write(tmp_path / "a.mp4", [CORNERS] * 2)
    identity = np.array([1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30], ">i4").tobytes()
    a, b, c, d = (number << 16 for number in matrix)
    turned = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], ">i4").tobytes()
    content = path.read_bytes()
    place = content.index(identity, content.index(b"tkhd"))
    path.write_bytes(content[:place] + turned + content[place + len(turned) :])
    _, frames = read(path)
    expected = shown(CORNERS).astype(int)
    # Codecs blur the edges: each corner's middle is compared.
    rows, columns = ([size // 4, 3 * size // 4] for size in expected.shape[:2])
    for frame in frames:
        assert frame.image.shape == expected.shape
        for row, column in ((r, c) for r in rows for c in columns):
            difference = frame.image[row, column].astype(int) - expected[row, column]
            assert np.abs(difference).max() < 12


@pytest.mark.parametrize("aspect", [Fraction(4, 3), Fraction(1, 2)])
def test_pixels_become_square(tmp_path, aspect, caplog):
    caplog.set_level("INFO")
    path = write(tmp_path / "a.mp4", [CORNERS] * 2, aspect=aspect)
    _, frames = read(path)
    assert {frame.image.shape for frame in frames} == {(32, round(48 * aspect), 3)}
    assert f"has pixels of {aspect.numerator}:{aspect.denominator}" in caplog.text


def test_frames_of_another_resolution_get_the_size_of_the_first(tmp_path, caplog):
    """Two H.264 streams one after another, as calls over changing networks are recorded."""
    caplog.set_level("INFO")
    parts = []
    for images in ([CORNERS] * 3, [np.asarray(Image.fromarray(CORNERS).resize((24, 16)))] * 3):
        path = write(tmp_path / "part.h264", images, format="h264")
        parts.append(path.read_bytes())
    (tmp_path / "a.mp4").write_bytes(b"".join(parts))
    _, frames = read(tmp_path / "a.mp4")
    assert [frame.image.shape for frame in frames] == [CORNERS.shape] * 6
    for frame in frames:
        assert np.abs(frame.image[4, 4].astype(int) - CORNERS[4, 4]).max() < 16
    assert caplog.text.count("changes its resolution") == 1


def with_cover(path, codec) -> Path:
    """A file whose first stream is a picture of one frame."""
    picture = io.BytesIO()
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(picture, "PNG")
    with av.open(str(path), "w", format="mp4") as file:
        cover = file.add_stream("png", rate=1)
        cover.width = cover.height = 40
        cover.pix_fmt = "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic.value
        media_stream = file.add_stream(codec, rate=25 if codec == "libx264" else 8000)
        if codec == "libx264":
            media_stream.height, media_stream.width, media_stream.pix_fmt = 32, 48, "yuv420p"
        else:
            media_stream.layout = "mono"
        for number in range(5):
            if codec == "libx264":
                frame = av.VideoFrame.from_ndarray(CORNERS, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
            else:
                frame = av.AudioFrame.from_ndarray(
                    np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
                )
                frame.sample_rate, frame.pts = 8000, 1024 * number
            file.mux(media_stream.encode(frame))
        file.mux(media_stream.encode())
        packet = av.Packet(picture.getvalue())
        packet.stream, packet.pts, packet.dts, packet.time_base = cover, 0, 0, Fraction(1)
        file.mux(packet)
    return path


def test_cover_picture_is_not_the_video(tmp_path):
    _, frames = read(with_cover(tmp_path / "a.mp4", "libx264"))
    assert [frame.image.shape for frame in frames] == [CORNERS.shape] * 5
    with pytest.raises(UserError, match=r"a\.m4a has no video in it"):
        read(with_cover(tmp_path / "a.m4a", "aac"))


@pytest.mark.parametrize(
    "times",
    [np.arange(10) / 10, [0, 0.1, 0.2, 0.7, 0.8, 2.25], [0.1, 0.12, 0.14, 0.34, 0.54, 1.04]],
)
def test_rate_is_that_of_the_frames_and_so_is_the_copy(tmp_path, times):
    path = write(tmp_path / "a.mkv", [CORNERS] * len(times), times=times, rate=1000)
    video, frames = read(path)
    times = np.round(np.subtract(times, times[0]), 3)  # Since the first frame.
    assert video.rate == Fraction(len(times) - 1) / Fraction(str(times[-1]))
    np.testing.assert_allclose([frame.time for frame in frames], times)
    with videos.write_video(tmp_path / "b.mp4", video.rate) as add:
        for frame in frames:
            add(frame.image, frame.time)
    copy, frames = read(tmp_path / "b.mp4")
    np.testing.assert_allclose([frame.time for frame in frames], times, atol=1e-4)
    assert float(copy.rate) == pytest.approx(float(video.rate), rel=1e-3)


def damaged(path: Path, number: int) -> Path:
    """Overwrites the payload of a packet."""
    with av.open(str(path)) as file:
        packets = [(p.pos, p.size) for p in file.demux(video=0) if p.size]
    start, size = packets[number]
    content = bytearray(path.read_bytes())
    content[start : start + size] = np.random.default_rng(0).bytes(size)
    path.write_bytes(content)
    return path


def moving(count):
    return [np.roll(CORNERS, 2 * number, axis=1) for number in range(count)]


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.avi", "mjpeg")])
@pytest.mark.parametrize("number", [7, 19])
def test_damaged_packet_loses_its_frame_alone(tmp_path, name, codec, number):
    path = damaged(write(tmp_path / name, moving(20), codec), number)
    video, frames = read(path)
    if codec == "mjpeg":
        assert video.lost == 1 and len(frames) == 19
    else:  # H.264 conceals some damage, and drops frames that refer to it.
        assert video.lost <= 4 and 15 <= len(frames) <= 20


def test_damaged_keyframe_loses_the_frames_until_the_next(tmp_path):
    path = damaged(write(tmp_path / "a.mp4", moving(20), keyframes=5), 0)
    video, frames = read(path)
    assert video.lost == 20 - len(frames) and len(frames) >= 15
    assert frames[0].time == 0


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"),
                                             ("a.avi", "mjpeg")])  # fmt: skip
def test_truncated_video_keeps_its_beginning(tmp_path, name, codec):
    options = {"movflags": "faststart"} if name == "a.mp4" else {}
    noise = np.random.default_rng(0).integers(0, 255, (40, 32, 48, 3), np.uint8)
    path = write(tmp_path / name, list(noise), codec, options=options)
    os.truncate(path, path.stat().st_size // 2)
    video, frames = read(path)
    assert 5 <= len(frames) <= 25 and abs(video.lost - (40 - len(frames))) <= 4


@pytest.mark.parametrize("joined", [False, True])
def test_times_increase(tmp_path, joined):
    """Although AVI does not hold the order of H.264's frames, and joined files start again at 0."""
    path = tmp_path / ("a.ts" if joined else "a.avi")
    with av.open(str(path), "w") as file:
        options = {"bf": "3", "b_strategy": "0"}
        stream = file.add_stream("libx264", rate=25, options=options)
        stream.height, stream.width = CORNERS.shape[:2]
        for image in moving(20):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(stream.encode())
    path.write_bytes(path.read_bytes() * (1 + joined))
    _, frames = read(path)
    steps = np.diff([frame.time for frame in frames])
    assert len(frames) == 20 * (1 + joined) and (steps > 0.03).all()
    assert abs(frames[-1].time - (len(frames) - 1) / 25) < 0.2


def test_an_unknown_codec_is_user_error(tmp_path):
    path = write(tmp_path / "a.mov", moving(3), "mjpeg")
    path.write_bytes(path.read_bytes().replace(b"jpeg", b"abcd"))
    with pytest.raises(UserError, match="in a way that FFmpeg does not know"):
        read(path)


def test_video_without_a_readable_frame_is_user_error(tmp_path):
    path = damaged(write(tmp_path / "a.mp4", moving(20)), 0)
    with pytest.raises(UserError, match="cannot be read as a video, or is damaged"):
        read(path)


def test_strict_reader_ends_at_damage(tmp_path):
    """The frames of data sets are known by their index: none may be missing."""
    path = damaged(write(tmp_path / "a.mp4", moving(20)), 7)
    with videos.open_stream(path) as (_, frames), pytest.raises(UserError, match="damaged"):
        list(frames)


def test_whole_videos_lose_nothing(tmp_path):
    for name, codec in (("a.mp4", "libx264"), ("a.avi", "mpeg4"), ("a.webm", "libvpx"),
                        ("a.ts", "libx264"), ("a.mkv", "libx264"), ("a.mov", "mjpeg")):  # fmt: skip
        video, frames = read(write(tmp_path / name, moving(12), codec))
        assert (len(frames), video.lost, video.rate) == (12, 0, 25), name


def test_content_determines_the_kind_of_a_file(tmp_path):
    names = {"mpegts": "a.mts", "mp4": "b", "matroska": "c.dat", "avi": "d.bin", "3gp": "e.3gp"}
    for format_, name in names.items():
        codec = "mpeg4" if format_ == "avi" else "libx264"
        path = write(tmp_path / name, moving(10), codec, format=format_)
        assert media.is_video(path) and media.is_input(path)
        assert len(read(path)[1]) == 10
    for format_ in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"):
        Image.fromarray(CORNERS).save(tmp_path / "photo", format_)
        assert media.is_input(tmp_path / "photo") and not media.is_video(tmp_path / "photo")
    (tmp_path / "a.ts").write_text("const a: number = 1;\n" * 100)
    (tmp_path / "b.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    (tmp_path / "b.m4a").write_bytes(b"\0\0\0\x18ftypM4A " + bytes(100))
    for name in ("a.ts", "b.heic", "b.m4a"):
        assert not media.is_input(tmp_path / name)
    assert not media.is_video(tmp_path / "b.heic")
    with pytest.raises(UserError, match="cannot be read as an image or a video"):
        read(tmp_path / "a.ts")


def test_pipes_are_not_opened(tmp_path):
    """Opening one waits for another program."""
    for name, is_input in (("a.jpg", True), ("b.mp4", True), ("c", False)):
        os.mkfifo(tmp_path / name)
        assert media.is_input(tmp_path / name) == is_input
        assert media.is_video(tmp_path / name) == (name != "a.jpg")


def test_linked_folders_are_followed_once(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    for path in (inside / "a" / "x.jpg", outside / "b" / "y.jpg", inside / ".hidden" / "z.jpg"):
        path.parent.mkdir(parents=True)
        path.touch()
    (inside / "link").symlink_to(outside)
    (inside / "a" / "up").symlink_to(inside)
    (outside / "b" / "back").symlink_to(inside)
    (inside / "twice").symlink_to(inside / "a")
    (inside / "broken").symlink_to(tmp_path / "absent")
    found = [Path(root, name) for root, names in media.walk(inside, pytest.fail) for name in names]
    assert set(found) == {inside / "a" / "x.jpg", inside / "link" / "b" / "y.jpg",
                          inside / "broken"}  # fmt: skip


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv", "a.ts"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.floats(0, 1), damage=st.binary(min_size=1, max_size=40))
def test_damage_anywhere_gives_frames_or_user_error(tmp_path, name, start, damage):
    content = bytearray(write(tmp_path / name, moving(8), "mpeg4").read_bytes())
    place = int(start * (len(content) - 1))
    content[place : place + len(damage)] = damage
    (tmp_path / name).write_bytes(content)
    try:
        video, frames = read(tmp_path / name)
    except UserError as error:
        assert str(tmp_path / name) in str(error) and "\n" not in str(error)
    else:
        assert video.lost >= 0 and len({frame.image.shape for frame in frames}) <= 1
        assert np.isfinite([frame.time for frame in frames]).all()
