"""Videos in and out, frame by frame (extra `video`: PyAV)."""

import contextlib
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from pose3d_jax.errors import UserError

SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")


class Video(NamedTuple):
    """An opened video.

    Attributes:
        rate: frames per second.
        count: of frames according to the header; 0 where it does not say.
        frames: RGB, upright, in order; to be read once.
    """

    rate: Fraction
    count: int
    frames: Iterator[UInt8[np.ndarray, "height width 3"]]


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise UserError("Videos need PyAV: pip install 'pose3d_jax[video]'.") from error
    return av


@contextlib.contextmanager
def open_video(path: str | os.PathLike) -> Iterator[Video]:
    """Opens a video to read its frames.

    Raises:
        UserError: PyAV is missing, or the file is no video or damaged (while reading, too).
    """
    av = _av()
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UserError(f"{path} has no video in it.")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            rate = stream.average_rate or Fraction(25)
            yield Video(rate, stream.frames, map(_upright, container.decode(stream)))
    except av.FFmpegError as error:
        reason = error.strerror or error
        raise UserError(f"{path} cannot be read as a video: {reason}.") from error


def _upright(frame: Any) -> UInt8[np.ndarray, "height width 3"]:
    quarter_turns = round(frame.rotation / 90)  # Counter-clockwise, as np.rot90's.
    return np.rot90(frame.to_ndarray(format="rgb24"), quarter_turns)


@contextlib.contextmanager
def write_video(path: str | os.PathLike, rate: Fraction) -> Iterator[Callable[[np.ndarray], None]]:
    """Opens an H.264 video for writing; calling what it gives adds an RGB frame.

    The first frame decides the size, which becomes even. The file appears when it is complete.

    Raises:
        UserError: PyAV is missing.
    """
    av = _av()
    partial = Path(path).with_name(f".{Path(path).name}.partial")
    try:
        with av.open(str(partial), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=rate, options={"crf": "20"})
            stream.pix_fmt = "yuv420p"

            def add(image: np.ndarray) -> None:
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
    finally:
        partial.unlink(missing_ok=True)
