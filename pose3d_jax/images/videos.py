"""Videos in and out, frame by frame (extra `video`: PyAV)."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from pose3d_jax.errors import UserError
from pose3d_jax.untrusted import read_isolated, reason

SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
#: FFmpeg's names of what is opened, whatever a file is called. It knows more, among them play lists
#: that have it open other files.
CONTAINERS = ("mov", "mp4", "avi", "matroska", "webm", "mpeg", "mpegvideo", "mpegts")
#: Of a frame, at most: twice those of 8K. A header can ask for any number.
MAX_PIXELS = 1 << 26
#: What opening a video may take: bytes, and seconds of computing.
OPENING_MEMORY, OPENING_SECONDS = 1 << 30, 20
#: No table of FFmpeg's is larger.
_LARGEST_TABLE = 2 << 30


class VideoFrame(NamedTuple):
    """A frame of a video.

    Attributes:
        time: seconds since the first frame; phones' videos have no constant rate.
        image: RGB, upright.
    """

    time: float
    image: UInt8[np.ndarray, "_ _ 3"]


class Video(NamedTuple):
    """An opened video.

    Attributes:
        rate: frames per second, on average.
        count: of frames according to the header; 0 where it does not say.
        frames: in order; to be read once.
    """

    rate: Fraction
    count: int
    frames: Iterator[VideoFrame]


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
        threads: that decode; 0 for as many as are useful.

    Yields:
        PyAV's stream, and an iterator over its frames, PyAV's too.

    Raises:
        UserError: PyAV is missing, or the file is no video or damaged (while reading, too).
    """
    _av()
    # First apart: a table of contents of a few bytes can describe any number of frames.
    memory = OPENING_MEMORY + _LARGEST_TABLE
    read_isolated(_try_opening, path, memory=memory, seconds=OPENING_SECONDS)
    with contextlib.ExitStack() as stack:
        container, stream = stack.enter_context(_opened(path))
        with _explained(f"{path} cannot be read as a video, or is damaged"):
            stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
            stream.codec_context.thread_count = threads
            stream.thread_type = "AUTO"
        yield stream, _decode(path, container, stream)


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[tuple[Any, Any]]:
    """PyAV's container and stream of a video file."""
    options = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file"}
    with contextlib.ExitStack() as stack:
        with _explained(f"{path} cannot be read as a video, or is damaged"):
            # Absolute, for FFmpeg takes what stands before a colon for a protocol.
            container = stack.enter_context(_av().open(os.path.abspath(path), options=options))
            if not container.streams.video:
                raise UserError(f"{path} has no video in it.")
        yield container, container.streams.video[0]


def _try_opening(path: str) -> None:
    """Opens a video in a process of its own, which has taken no more memory before."""
    import resource  # Not everywhere that this module is imported.

    with _opened(path):
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # FFmpeg goes on where it gets no memory for a table: what it got tells.
        if sys.platform == "linux" and kilobytes << 10 > OPENING_MEMORY:
            raise UserError(
                f"{path} is damaged or hostile: opening it takes more than "
                f"{OPENING_MEMORY >> 20:,} MiB."
            )


def _decode(path: str | os.PathLike, container: Any, stream: Any) -> Iterator[Any]:
    with _explained(f"{path} cannot be read as a video, or is damaged"):
        yield from container.decode(stream)


@contextlib.contextmanager
def _explained(what_failed: str) -> Iterator[None]:
    """Turns whatever FFmpeg and PyAV run into, and they have many names for it, into a sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what_failed}: {reason(error)}.") from error


@contextlib.contextmanager
def open_video(path: str | os.PathLike) -> Iterator[Video]:
    """Opens a video to read its frames.

    Raises:
        UserError: PyAV is missing, or the file is no video or damaged (while reading, too).
    """
    with open_stream(path) as (stream, frames):
        rate = Fraction(stream.average_rate or 0)  # PyAV has a type of its own from 19 on.
        if not 0.01 <= rate <= 1000:  # A header's word, which may be anything.
            rate = Fraction(25)
        yield Video(rate, max(stream.frames, 0), _upright(path, frames, rate))


def pixels(path: str | os.PathLike, frame: Any) -> UInt8[np.ndarray, "height width 3"]:
    """PyAV's frame of a file as RGB, as it lies there.

    Raises:
        UserError: the file is damaged.
    """
    with _explained(f"{path} cannot be read as a video, or is damaged"):
        return frame.to_ndarray(format="rgb24")


def _upright(
    path: str | os.PathLike, frames: Iterator[Any], rate: Fraction
) -> Iterator[VideoFrame]:
    start = None
    for number, frame in enumerate(frames):
        time = float(number / rate) if frame.time is None else frame.time
        start = time if start is None else start
        # Counter-clockwise, as np.rot90's.
        yield VideoFrame(time - start, np.rot90(pixels(path, frame), round(frame.rotation / 90)))


@contextlib.contextmanager
def write_video(path: str | os.PathLike, rate: Fraction) -> Iterator[Callable[[np.ndarray], None]]:
    """Opens an H.264 video for writing; calling what it gives adds an RGB frame.

    The first frame decides the size, which becomes even. The file appears when it is complete.

    Raises:
        UserError: PyAV is missing, or the file cannot be written.
    """
    av = _av()
    partial = Path(path).with_name(f".{Path(path).name}.partial")
    try:
        with av.open(str(partial), "w", format="mp4") as container:
            # Half of the default's work, and on such pictures no larger.
            quality = {"crf": "20", "preset": "veryfast"}
            stream = container.add_stream("libx264", rate=rate, options=quality)
            stream.pix_fmt = "yuv420p"

            def add(image: np.ndarray) -> None:
                if min(image.shape[:2]) < 2:  # Of one row or column there are two then.
                    image = np.pad(image, [(0, int(size < 2)) for size in image.shape], "edge")
                height, width = (size - size % 2 for size in image.shape[:2])
                if not stream.codec_context.is_open:
                    stream.width, stream.height = width, height
                pixels = np.ascontiguousarray(image[:height, :width])
                for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                    container.mux(packet)

            yield add
            for packet in stream.encode():
                container.mux(packet)
        partial.rename(path)
    except av.FFmpegError as error:  # Of writing alone: `open_video` has its own words for reading.
        raise UserError(f"{path} cannot be written: {reason(error)}.") from error
    finally:
        partial.unlink(missing_ok=True)
