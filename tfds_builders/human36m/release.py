"""Human3.6M's official files: archives, directories, videos and poses."""

import collections
import concurrent.futures
import dataclasses
import errno
import gzip
import itertools
import re
import shutil
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pose3d_jax import processors
from pose3d_jax.errors import UserError
from pose3d_jax.untrusted import reason
from tfds_builders import work

TRAIN_SUBJECTS = ("S1", "S5", "S6", "S7", "S8")
TEST_SUBJECTS = ("S9", "S11")
SUBJECTS = TRAIN_SUBJECTS + TEST_SUBJECTS
#: The rows of Table 1.
ACTIONS = (
    "Directions", "Discussion", "Eating", "Greeting", "Phoning", "Photo", "Posing", "Purchases",
    "Sitting", "SittingDown", "Smoking", "Waiting", "WalkDog", "Walking", "WalkPair",
)  # fmt: skip
_OTHER_NAMES = {"TakingPhoto": "Photo", "WalkingDog": "WalkDog", "WalkTogether": "WalkPair"}
TAKES = 2


#: Focal lengths and principal point (fx, fy, cx, cy) of each camera, px (Human3.6M's calibration).
CAMERAS = {
    "54138969": (1145.0494, 1143.7811, 512.5415, 515.4515),
    "55011271": (1149.6757, 1147.5917, 508.8486, 508.0649),
    "58860488": (1149.1407, 1148.7990, 519.8158, 501.4026),
    "60457274": (1145.5114, 1144.7739, 514.9682, 501.8820),
}
#: Number of videos of an action per subject.
VIDEOS_OF_ACTION = TAKES * len(CAMERAS)


@dataclasses.dataclass(frozen=True)
class Kind:
    """One of the three kinds of files of a subject."""

    archives: tuple[str, ...]  # names of its archive; `{}` is the subject
    directories: tuple[str, ...]  # directory of the unpacked files, below the subject's
    suffix: str  # of the files


def _poses(name: str) -> Kind:
    return Kind(
        (f"Poses_{name}_{{}}.tgz", f"{{}}/{name}.tgz", f"{{}}/Poses_{name}.tgz"),
        (f"MyPoseFeatures/{name}", f"Poses_{name}"),
        ".cdf",
    )


KINDS = {
    "Videos": Kind(("Videos_{}.tgz", "{}/Videos.tgz"), ("Videos",), ".mp4"),
    "D2_Positions": _poses("D2_Positions"),
    "D3_Positions_mono": _poses("D3_Positions_mono"),
}
#: Directories of h36m-fetch's archives and unpacked files.
_ROOTS = ("", "extracted", "archives")
#: Types of archive members that tarfile reads into memory, and their maximum size in bytes.
_LONG_HEADERS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
_LONGEST_HEADER = 1 << 16


@dataclasses.dataclass(frozen=True)
class Sequence36m:
    """One take of an action, seen by one camera."""

    subject: str
    name: str
    camera: str

    @property
    def action(self) -> str:
        """The row of Table 1; names that are not in the table stay as they are."""
        base = re.sub(r" \d+$", "", self.name)
        return _OTHER_NAMES.get(base, base)

    def __str__(self) -> str:
        return f"{self.subject} {self.name}.{self.camera}"


#: A video that is damaged in releases before September 2020, so many copies lack it.
DAMAGED_BEFORE_2020 = Sequence36m("S11", "Directions", "54138969")


def find(manual_dir: Path, subject: str, kind: Kind) -> Path | None:
    """The directory of a subject's files, or their archive, or None."""
    names = (subject, subject.lower())
    for root, name, directory in itertools.product(_ROOTS, names, kind.directories):
        path = manual_dir / root / name / directory
        if path.is_dir() and any(path.glob(f"*{kind.suffix}")):
            return path
    for root, name, archive in itertools.product(_ROOTS, names, kind.archives):
        path = manual_dir / root / archive.format(name)
        if path.is_file():
            return path
    return None


class _Member(tarfile.TarInfo):
    """A member of an archive with a limit on its headers.

    tarfile reads headers of long names and extensions into memory, whatever size they claim.
    """

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> "_Member":
        member = super().frombuf(buf, encoding, errors)
        if member.type in _LONG_HEADERS and member.size > _LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {member.size:,} bytes")
        return member


def unpack_all(archives: Mapping[Path, tuple[Path, str]]) -> Iterator[tuple[Path, str]]:
    """Unpacks archives in parallel, except those that are unpacked already.

    `archives` maps an archive to a directory and the suffix of the wanted files.

    Yields:
        Archives that could not be unpacked, with an error message.
    """
    if not archives:
        return
    # Threads, because decompression releases Python's lock.
    pool = concurrent.futures.ThreadPoolExecutor(processors.usable())
    stopped = threading.Event()
    try:
        futures = {
            pool.submit(_unpack, archive, directory, suffix, stopped): archive
            for archive, (directory, suffix) in archives.items()
        }
        done = concurrent.futures.as_completed(futures)
        for future in work.progress_bar(done, total=len(futures), desc="Unpacking", unit="archive"):
            try:
                future.result()
            except UserError as error:
                yield futures[future], str(error)
    finally:  # After Ctrl-C or on a full disk, pending and running archives stop.
        stopped.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _unpack(archive: Path, directory: Path, suffix: str, stopped: threading.Event) -> None:
    """Writes an archive's files into a directory, which gets its name when it is complete."""
    if directory.exists():
        return
    temporary = directory.with_name(directory.name + ".part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        # Read as a stream: listing the members first would decompress the archive twice.
        with (
            gzip.open(archive) as stream,
            tarfile.open(fileobj=stream, mode="r|", tarinfo=_Member) as tar,
        ):
            for member in tar:
                name = Path(member.name).name
                # The `_ALL` videos show the four cameras side by side.
                if member.isfile() and name.endswith(suffix) and "_ALL" not in name:
                    with tar.extractfile(member) as source, open(temporary / name, "wb") as target:
                        while chunk := source.read(1 << 20):
                            target.write(chunk)
                            if stopped.is_set():
                                return
            while stream.read(1 << 20) and not stopped.is_set():  # Checks the checksum at the end.
                pass
            if stopped.is_set():
                return
        temporary.rename(directory)
    except Exception as error:  # A damaged archive can raise many types.
        # gzip's errors have no number. The others are the disk's, except for overlong names.
        if isinstance(error, OSError) and error.errno not in (None, errno.ENAMETOOLONG):
            raise
        raise UserError(
            f"{archive} is truncated or damaged ({reason(error)}); download it again."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sequences(directory: Path, subject: str, suffix: str) -> dict[Sequence36m, Path]:
    """The files of a subject by sequence; other files are ignored."""
    found = {}
    for path in sorted(directory.glob(f"*{suffix}")):
        match = re.fullmatch(r"(.+)\.(\d{8})", path.name.removesuffix(suffix))
        if match and match[2] in CAMERAS and "_ALL" not in match[1]:
            found[Sequence36m(subject, match[1], match[2])] = path
    return found


def gaps(subject: str, kind: str, present: Sequence[Sequence36m]) -> list[str]:
    """Messages about missing takes of a subject, by action and camera."""
    counts = collections.Counter((sequence.action, sequence.camera) for sequence in present)
    if kind == "Videos" and DAMAGED_BEFORE_2020 not in present:  # Not counted as missing.
        damaged = DAMAGED_BEFORE_2020
        counts[damaged.action, damaged.camera] += subject == damaged.subject
    lacking = []
    for action in ACTIONS:
        for camera in CAMERAS:
            count = counts[action, camera]
            if count < TAKES:
                lacking.append(f"{action}.{camera} ({count} of {TAKES})")
    if not lacking:
        return []
    more = f" and {len(lacking) - 4} more" if len(lacking) > 4 else ""
    return [f"{subject} {kind}: too few files of {', '.join(lacking[:4])}{more}"]
