"""Which files are images or videos: by their first bytes, and by name where those are unknown."""

import errno
import logging
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

log = logging.getLogger(__name__)

#: A file with one of these is an input even if its content is unknown: damage is to be reported.
IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jfif", ".png", ".webp", ".avif", ".bmp", ".gif", ".tif", ".tiff"
)  # fmt: skip
#: Not `.ts` and `.mts`, which TypeScript has as well: their content decides.
VIDEO_SUFFIXES = (
    ".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".m2ts", ".3gp", ".3g2",
    ".qt", ".wmv", ".flv", ".ogv", ".vob", ".mxf", ".h264", ".h265", ".hevc", ".ivf", ".dv",
)  # fmt: skip
_AUDIO_SUFFIXES = (
    ".m4a", ".m4b", ".mp3", ".aac", ".flac", ".wav", ".ogg", ".oga", ".opus", ".wma", ".mka",
)  # fmt: skip
_IMAGE_STARTS = (
    b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*", b"II+\0"
)  # fmt: skip
_VIDEO_STARTS = (
    b"\x1aE\xdf\xa3",  # Matroska, WebM.
    b"\0\0\x01\xba", b"\0\0\x01\xb3",  # MPEG program stream, MPEG video.
    b"FLV\x01", b"OggS", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"\x06\x0e\x2b\x34\x02\x05\x01\x01",
)  # fmt: skip
#: Distance of the synchronisation bytes of transport streams, and the place of the first.
_TRANSPORT = ((188, 0), (192, 4))


def media_kind(path: str | os.PathLike) -> str | None:
    """Whether a file is an "image", a "video" or "other" by its first bytes; None if unknown.

    Raises:
        OSError: the file cannot be read, or is a pipe or a device: opening one may never end.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    with open(path, "rb") as file:
        start = file.read(1024)
    if start.startswith(_IMAGE_STARTS) or (start[:4], start[8:12]) == (b"RIFF", b"WEBP"):
        return "image"
    if start[4:8] == b"ftyp":
        if start[8:12] in (b"avif", b"avis"):
            return "image"
        # HEIF images are in the container of videos; FFmpeg would decode one of their tiles.
        return "other" if start[8:12] in (b"heic", b"heix", b"heim", b"heis", b"mif1") else "video"
    if start[4:8] in (b"moov", b"mdat", b"wide", b"pnot"):
        return "video"
    if start.startswith(_VIDEO_STARTS) or (start[:4], start[8:12]) == (b"RIFF", b"AVI "):
        return "video"
    for distance, first in _TRANSPORT:
        sync = start[first::distance]
        if len(sync) >= 3 and not sync.strip(b"G"):
            return "video"
    return None


def is_video(path: Path) -> bool:
    """Whether a file is to be read as a video: by its content, and by its name if unknown.

    FFmpeg reads more formats than `media_kind` recognises: a file that is neither recognised nor
    named as an image counts as a video, and opening it reports an error if it is none.
    """
    try:
        kind = media_kind(path)
    except OSError:
        kind = None
    return kind == "video" or (kind is None and path.suffix.lower() not in IMAGE_SUFFIXES)


def is_input(path: Path) -> bool:
    """Whether a file in a folder is an image or a video."""
    suffix = path.suffix.lower()
    if suffix in _AUDIO_SUFFIXES:
        return False
    if suffix in IMAGE_SUFFIXES + VIDEO_SUFFIXES:
        return True
    try:
        return path.is_file() and media_kind(path) in ("image", "video")
    except OSError:
        return False


def walk(
    folder: str | os.PathLike, on_error: Callable[[OSError], None]
) -> Iterator[tuple[str, list[str]]]:
    """The folders below a folder with the names of their files, without hidden ones.

    Links to folders are followed. A folder is visited once, so that cycles of links end. `on_error`
    is called with the error of a folder that cannot be read.
    """
    visited: dict[tuple[int, int], str] = {}
    for root, folders, names in os.walk(folder, onerror=on_error, followlinks=True):
        visible = sorted(name for name in folders if not name.startswith("."))
        # Links come after their siblings: a folder beside a link to it keeps its own name.
        visible.sort(key=lambda name: os.path.islink(os.path.join(root, name)))
        folders[:] = []
        try:
            status = os.stat(root)
        except OSError as error:
            on_error(error)
            continue
        first = visited.setdefault((status.st_dev, status.st_ino), root)
        if first != root:
            log.info("%s is skipped: it is the same folder as %s", root, first)
            continue
        folders[:] = visible
        yield root, sorted(name for name in names if not name.startswith("."))
