"""Reads and writes videos frame by frame (extra `video`: PyAV)."""

import contextlib
import dataclasses
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from pose3d_jax.errors import UserError
from pose3d_jax.images.decoding import decode, measured_rate
from pose3d_jax.images.media import VIDEO_SUFFIXES
from pose3d_jax.untrusted import read_isolated, reason

log = logging.getLogger(__name__)

#: FFmpeg's names of the containers that are opened, whatever a file is called. FFmpeg knows more,
#: among them play lists, which open other files. The last row holds audio, and a cover at most.
CONTAINERS = (
    "mov", "mp4", "avi", "matroska", "webm", "mpeg", "mpegvideo", "mpegts", "flv", "asf", "ogg",
    "mxf", "dv", "ivf", "h264", "hevc",
    "mp3", "flac", "wav", "aac",
)  # fmt: skip
#: Limit of a frame: twice 8K. A header can request any number.
MAX_PIXELS = 1 << 26
#: Limits of opening a video: bytes, and seconds of CPU time.
OPENING_MEMORY, OPENING_SECONDS = 1 << 30, 20
#: FFmpeg allocates no larger table.
_LARGEST_TABLE = 2 << 30
#: Plausible frame rates, and the rate of a video that has none of them.
_RATES, _DEFAULT_RATE = (Fraction(1, 100), Fraction(1000)), Fraction(25)
#: Pixels that are more elongated are taken for damage.
_MAX_ASPECT = 8
#: Ticks per second of written frame times.
_CLOCK = 90_000


class VideoFrame(NamedTuple):
    """A frame of a video."""

    time: float  # seconds since the first frame; the videos of phones have no constant rate
    #: RGB, as a player shows it: upright, with square pixels, in the first frame's size.
    image: UInt8[np.ndarray, "_ _ 3"]


@dataclasses.dataclass
class Video:
    """An opened video."""

    rate: Fraction  # mean frames per second, from the times in the file
    count: int  # number of frames according to the header; 0 if unknown
    frames: Iterator[VideoFrame] = dataclasses.field(repr=False)  # in order; can be read once
    lost: int = 0  # frames that damage has made unreadable so far; complete at the end of `frames`


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise UserError("Videos need PyAV: pip install 'pose3d_jax[video]'.") from error
    return av


@contextlib.contextmanager
def open_stream(path: str | os.PathLike, threads: int = 0) -> Iterator[tuple[Any, Iterator[Any]]]:
    """Opens a video file by its content, which must be in one of `CONTAINERS`.

    Args:
        path: the file.
        threads: of the decoder; 0 for as many as are useful.

    Yields:
        PyAV's stream, and an iterator over PyAV's frames. Damage ends the iterator with an error.

    Raises:
        UserError: PyAV is missing, or the file is no video or damaged (while reading, too).
    """
    _read_rate(path)
    with _opened(path, threads) as (container, stream):
        yield stream, _explain_all(path, container.decode(stream))


@contextlib.contextmanager
def open_video(path: str | os.PathLike) -> Iterator[Video]:
    """Opens a video to read its frames. Damaged frames are left out and counted.

    Raises:
        UserError: PyAV is missing, or the file is no video or no frame of it can be read (while
            reading, too).
    """
    rate = _read_rate(path)
    with _opened(path) as (container, stream):
        video = Video(rate, max(stream.frames, 0), iter(()))
        video.frames = _shown(
            path, stream, _explain_all(path, decode(container, stream, video)), rate
        )
        yield video


def _read_rate(path: str | os.PathLike) -> Fraction:
    """The frame rate of a file, which is opened in isolation first."""
    _av()
    # A table of contents of a few bytes can describe any number of frames.
    memory = OPENING_MEMORY + _LARGEST_TABLE
    return read_isolated(_probe, path, memory=memory, seconds=OPENING_SECONDS)


@contextlib.contextmanager
def _opened(path: str | os.PathLike, threads: int = 0) -> Iterator[tuple[Any, Any]]:
    """PyAV's container, and its first video stream that is no cover picture."""
    options = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file"}
    with _explained(path):
        # Absolute: FFmpeg parses the text before a colon as a protocol.
        container = _av().open(os.path.abspath(path), options=options)
    with container:
        with _explained(path):
            stream = next((s for s in container.streams.video if not _is_cover(s)), None)
            if stream is None:
                raise UserError(f"{path} has no video in it.")
            if stream.codec_context is None:
                raise UserError(f"{path} is damaged, or coded in a way that FFmpeg does not know.")
            stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
            stream.codec_context.thread_count = threads
            stream.thread_type = "AUTO"
        yield container, stream


def _is_cover(stream: Any) -> bool:
    flags = type(stream.disposition)
    return bool(stream.disposition & (flags.attached_pic | flags.timed_thumbnails))


def _probe(path: str) -> Fraction:
    """Opens a video in an isolated process and returns its frame rate."""
    before = _peak_memory()
    with _opened(path) as (container, stream):
        # FFmpeg continues if a table cannot be allocated: the memory in use reveals it.
        if _peak_memory() - before > OPENING_MEMORY:
            raise UserError(
                f"{path} is damaged or hostile: opening it takes more than "
                f"{OPENING_MEMORY >> 20:,} MiB."
            )
        rates = [measured_rate(container, stream), stream.average_rate]
    plausible = (rate for rate in rates if rate and _RATES[0] <= rate <= _RATES[1])
    return Fraction(next(plausible, _DEFAULT_RATE))  # PyAV 19 has a type of its own.


def _peak_memory() -> int:
    """The most memory that this process had in use, bytes; 0 where the system is not Linux.

    Not `getrusage`: a process inherits that maximum from the one that started it.
    """
    if sys.platform != "linux":
        return 0
    peak = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(peak[1]) << 10 if peak else 0


def _explain_all(path: str | os.PathLike, frames: Iterator[Any]) -> Iterator[Any]:
    with _explained(path):
        yield from frames


@contextlib.contextmanager
def _explained(path: str | os.PathLike) -> Iterator[None]:
    """Turns the errors of FFmpeg and PyAV, which are of many types, into a `UserError`."""
    try:
        yield
    except UserError:
        raise
    except (PermissionError, FileNotFoundError, MemoryError) as error:
        raise UserError(f"{path} cannot be read: {reason(error)}.") from error
    except Exception as error:
        named = Path(path).suffix.lower() in VIDEO_SUFFIXES
        kind = "a video" if named else "an image or a video"
        raise UserError(f"{path} cannot be read as {kind}, or is damaged: {reason(error)}.") from (
            error
        )


def _orientation(frame: Any) -> tuple[bool, bool, bool]:
    """How a player shows a frame: rows and columns exchanged, then x and y mirrored.

    The display matrix (a b u, c d v, x y w) maps a pixel (p, q) to (a p + c q + x, b p + d q + y).
    Turns that are no quarter turns become the next one.
    """
    data = frame.side_data.get(_av().sidedata.sidedata.Type.DISPLAYMATRIX)
    if data is not None:
        a, b, _, c, d = np.frombuffer(data, np.int32)[:5].tolist()
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return False, a < 0, d < 0
        return True, c < 0, b < 0
    return False, False, False


def pixels(
    path: str | os.PathLike, frame: Any, size: tuple[int, int] | None = None
) -> UInt8[np.ndarray, "height width 3"]:
    """PyAV's frame of a file as RGB, as it is stored.

    Args:
        path: the file, for messages.
        frame: of PyAV.
        size: width and height to which the frame is resized; its own by default.

    Raises:
        UserError: the file is damaged.
    """
    with _explained(path):
        if size is None or size == (frame.width, frame.height):
            return frame.to_ndarray(format="rgb24")
        width, height = size
        return frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="BICUBIC")


def _shown(
    path: str | os.PathLike, stream: Any, frames: Iterator[Any], rate: Fraction
) -> Iterator[VideoFrame]:
    """Frames as a player shows them, all in the size of the first."""
    start = last = size = None
    coded = set()
    for number, frame in enumerate(frames):
        time = float(number / rate) if frame.time is None else frame.time
        if start is None:
            start = time
        elif time <= last:  # AVI lacks the order of frames; joined files start again at 0.
            time = last + float(1 / rate)
        last = time
        transposed, flip_x, flip_y = _orientation(frame)
        if size is None:
            aspect = Fraction(stream.sample_aspect_ratio or 1)
            if aspect != 1 and 1 / _MAX_ASPECT <= aspect <= _MAX_ASPECT:
                stored, shown = frame.width, max(round(frame.width * aspect), 1)
                log.info(
                    "%s has pixels of %s:%s: its frames are resized from %d to %d columns",
                    path, aspect.numerator, aspect.denominator, stored, shown,
                )  # fmt: skip
            else:
                shown = frame.width
            size = (frame.height, shown) if transposed else (shown, frame.height)
        coded.add((frame.width, frame.height))
        if len(coded) == 2:
            coded.add(())  # Reported once.
            log.info("%s changes its resolution: all frames are resized to %d × %d", path, *size)
        image = pixels(path, frame, size[::-1] if transposed else size)
        if transposed:
            image = image.swapaxes(0, 1)
        yield VideoFrame(time - start, image[:: -1 if flip_y else 1, :: -1 if flip_x else 1])


@contextlib.contextmanager
def write_video(path: str | os.PathLike, rate: Fraction) -> Iterator[Callable[..., None]]:
    """Opens an H.264 video for writing; the file appears when it is complete.

    Args:
        path: the file.
        rate: frames per second.

    Yields:
        A function that adds an RGB frame, and takes the frame's time in seconds as an optional
        second argument; without it, frames follow at the rate. The first frame determines the
        size, which is rounded down to even numbers.

    Raises:
        UserError: PyAV is missing, or the file cannot be written.
    """
    av = _av()
    partial = Path(path).with_name(f".{Path(path).name}.partial")
    count, last = 0, -1
    try:
        with av.open(str(partial), "w", format="mp4") as container:
            # Half the time of the defaults, at about the same size for such pictures.
            quality = {"crf": "20", "preset": "veryfast"}
            stream = container.add_stream("libx264", rate=rate, options=quality)
            stream.pix_fmt = "yuv420p"
            stream.codec_context.time_base = Fraction(1, _CLOCK)

            def add(image: np.ndarray, time: float | None = None) -> None:
                nonlocal count, last
                if min(image.shape[:2]) < 2:  # The smallest size is 2 × 2.
                    image = np.pad(image, [(0, int(size < 2)) for size in image.shape], "edge")
                height, width = (size - size % 2 for size in image.shape[:2])
                if not stream.codec_context.is_open:
                    stream.width, stream.height = width, height
                image = np.ascontiguousarray(image[:height, :width])
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                ticks = round(_CLOCK * (count / rate if time is None else time))
                frame.pts = last = max(ticks, last + 1)  # Times of damaged videos may stand still.
                frame.time_base, count = Fraction(1, _CLOCK), count + 1
                for packet in stream.encode(frame):
                    container.mux(packet)

            yield add
            for packet in stream.encode():
                container.mux(packet)
        partial.rename(path)
    except av.FFmpegError as error:  # Of writing: `open_video` explains the errors of reading.
        raise UserError(f"{path} cannot be written: {reason(error)}.") from error
    finally:
        partial.unlink(missing_ok=True)
