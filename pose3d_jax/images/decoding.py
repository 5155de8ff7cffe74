"""Decodes damaged videos, and measures their frame rates, with PyAV's containers and streams."""

import contextlib
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

#: Packets whose times give the frame rate: those of the first minutes.
_RATE_PACKETS = 5000
#: Reading ends after this many errors without a packet between them.
_MAX_ERRORS = 20
#: Codecs with packets that show no frame.
_HIDDEN_FRAMES = ("vp8", "libvpx")


def measured_rate(container: Any, stream: Any) -> Fraction | None:
    """Mean frames per second by the times of the first packets."""
    import av

    times = set()
    with contextlib.suppress(av.FFmpegError):  # The packets before the damage suffice.
        for packet in container.demux(stream):
            if packet.pts is not None and not packet.is_discard:
                times.add(packet.pts)
            if len(times) >= _RATE_PACKETS:
                break
    if len(times) < 2:
        return None
    seconds = (max(times) - min(times)) * Fraction(stream.time_base)
    return ((len(times) - 1) / seconds).limit_denominator(1001)


def decode(container: Any, stream: Any, video: Any) -> Iterator[Any]:
    """Decodes a video stream across damage.

    Args:
        container: of PyAV.
        stream: of PyAV.
        video: has `count`, the number of frames by the header, and `rate`. Frames that cannot be
            decoded are counted in its `lost`, which is complete at the end.

    Yields:
        PyAV's frames.

    Raises:
        av.FFmpegError: no frame can be decoded.
    """
    import av

    errors: list[Exception] = []
    packets = timed = frames = end = 0
    for packet in _packets(container, stream, errors):
        if packet.size or packet.dts is not None:
            packets += 1
            if not packet.size:  # A repeated frame; to the decoder it would be the end.
                continue
        if packet.pts is not None and not packet.is_discard:
            timed += 1
            end = max(end, packet.pts + (packet.duration or 0))
        try:
            decoded = stream.decode(packet)
        except av.FFmpegError as error:
            errors.append(error)
            continue
        frames += len(decoded)
        video.lost = len(errors)
        yield from decoded
    if errors and not frames:
        raise errors[0]
    hidden = stream.codec_context.name in _HIDDEN_FRAMES
    if "mov" in container.format.name:
        unread = video.count - packets
    else:
        unread = _cut_off(container, stream, end, video.rate)
    undecoded = timed - frames if errors and not hidden else 0
    video.lost = max(len(errors), undecoded) + max(unread, 0)


def _cut_off(container: Any, stream: Any, end: int, rate: Fraction) -> int:
    """Frames that the header announces beyond the last packet, by its duration.

    FFmpeg's readers of these containers report no error for them, and AVI counts repeated frames.
    """
    if not any(name in container.format.name for name in ("matroska", "avi")):
        return 0
    tag = re.fullmatch(r"(\d\d):(\d\d):(\d\d\.\d+)", stream.metadata.get("DURATION", ""))
    announced = float(tag[1]) * 3600 + float(tag[2]) * 60 + float(tag[3]) if tag else 0.0
    if "avi" in container.format.name:  # Its unit of time is a frame, shown or repeated.
        announced = float(stream.frames * stream.time_base)
    elif len(container.streams) == 1:
        announced = max(announced, (container.duration or 0) / 1e6)
    missing = announced - float(end * stream.time_base)
    return round(missing * rate) if missing > 0.5 else 0


def _packets(container: Any, stream: Any, errors: list[Exception]) -> Iterator[Any]:
    """A stream's packets, across errors, which are added to `errors`; an empty one at the end."""
    import av

    in_a_row = 0
    while in_a_row < _MAX_ERRORS:
        try:
            for packet in container.demux(stream):
                in_a_row = 0
                if packet.size or packet.dts is not None:
                    yield packet
            break
        except av.FFmpegError as error:
            errors.append(error)
            in_a_row += 1
    flush = av.Packet()  # An empty packet makes the decoder return its last frames.
    flush.stream, flush.time_base = stream, stream.time_base
    yield flush
