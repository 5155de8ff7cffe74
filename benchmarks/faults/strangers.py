"""Strangers' files: damaged and hostile pictures, videos, weights, annotations and archives.

Each is read by the function that reads it for the user. Whatever is not a valid result or one
sentence is wrong, and so are another program or connection, a file touched elsewhere, and anything
printed. Memory and time are limited: by `attempts`, or by `pose3d_jax.untrusted` for what it reads.
"""

import contextlib
import functools
import io
import itertools
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults import samples
from benchmarks.faults.attempts import OUT, Make, attempt
from benchmarks.faults.damage import damage, with_checksums
from benchmarks.faults.rows import Row
from pose3d_jax.errors import UserError
from pose3d_jax.images import videos
from pose3d_jax.images.files import FORMATS, decode_file, read_image
from pose3d_jax.interop.torch_files import read_tensors
from pose3d_jax.interop.weight_files import read_weights
from tfds_builders.human36m import release, sequence
from tfds_builders.lsp import annotations as lsp
from tfds_builders.mpi_inf_3dhp import mpi_inf_3dhp_dataset_builder as mpi_inf_3dhp
from tfds_builders.mpii import annotations


def rows(seed: int, rounds: int, folder: Path) -> Iterator[Row]:
    """A row for every format; see the package."""
    templates, place = folder / "templates", folder / "attempt"
    templates.mkdir()
    place.mkdir()
    for number, (name, make, read) in enumerate(_cases(templates)):
        yield attempt(name, make, read, seed + number, rounds, place)


def _cases(folder: Path) -> Iterator[tuple[str, Make, Callable[[Path], Any]]]:
    """Name, maker and reader of every row."""
    for format_ in FORMATS:
        repair = with_checksums if format_ == "PNG" else bytes
        yield (
            f"pictures, {format_}",
            _damaged(samples.picture(format_), "a.jpg", repair),
            read_image,
        )
    yield "pictures in other formats", samples.foreign_picture, _refused(read_image)
    for suffix, codec in samples.CODECS.items():
        content = samples.video(folder / f"a{suffix}", codec)
        yield f"videos, {suffix}", _damaged(content, f"a{suffix}"), _read_video
    content = samples.video(folder / "b.mp4", "libx264")
    yield (
        "videos with tables without end",
        functools.partial(samples.endless_table, content),
        (_refused(_read_video)),
    )
    yield "play lists", functools.partial(samples.play_list, content), _refused(_read_video)
    yield "weights, container of 2018", samples.damaged_weights, read_tensors
    yield "weights, zip", _damaged(samples.zipped_weights(), "a.pth"), read_tensors
    yield "weights, the pickle within a zip", _repacked(samples.zipped_weights()), read_tensors
    yield "weights that run code", samples.hostile_weights, _refused(read_tensors)
    yield "weights that swell", samples.swelling_weights, _refused(read_tensors)
    content = samples.sealed_weights(folder)
    yield "weights, safetensors", _damaged(content, "a.safetensors"), read_weights
    files = samples.annotations(folder)
    names = [f"{number:09d}.jpg" for number in range(samples.PEOPLE)]
    yield "MPII, .mat", _damaged(files["mat"], "a.mat"), annotations.read_release
    read_h5 = functools.partial(annotations.read_validation, names=names)
    yield "MPII, HDF5", _damaged(files["h5"], "a.h5"), read_h5
    yield "LSP, .mat", _damaged(files["lsp"], "joints.mat"), _read_lsp
    yield "LSP, zip", _damaged(files["lsp_zip"], "lsp_dataset.zip"), _read_lsp_zip
    yield "MPI-INF-3DHP, HDF5", _damaged(files["hdf5"], "a.mat"), mpi_inf_3dhp.read_annotation
    read_cdf = functools.partial(sequence.read_poses, dimensions=2)
    for what in ("plain", "compressed"):
        yield f"Human3.6M, CDF, {what}", _damaged(files[what], "a.cdf"), read_cdf
    yield "archives", _damaged(samples.archive(), "a.tgz"), _unpack
    yield "archives, damaged before compression", samples.damaged_archive, _unpack
    yield "archives that reach elsewhere", samples.reaching_archive, _unpack


def _damaged(content: bytes, name: str, repair: Callable[[bytes], bytes] = bytes) -> Make:
    def make(rng: np.random.Generator, folder: Path) -> Path:
        (folder / name).write_bytes(repair(damage(content, rng)))
        return folder / name

    return make


def _repacked(content: bytes) -> Make:
    """Damages what is in an archive, and packs it properly."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}

    def make(rng: np.random.Generator, folder: Path) -> Path:
        with zipfile.ZipFile(folder / "a.pth", "w") as archive:
            for name, data in members.items():
                archive.writestr(name, damage(data, rng) if name.endswith(".pkl") else data)
        return folder / "a.pth"

    return make


def _refused(read: Callable[[Path], Any]) -> Callable[[Path], None]:
    """For what must not be read at all."""

    def check(path: Path) -> None:
        read(path)
        raise AssertionError(f"{path} was read")

    return check


def _read_video(path: Path) -> None:
    with videos.open_video(path) as video:
        # Whatever the header says of their number.
        for _ in itertools.islice(video.frames, 1000):
            pass


def _read_lsp(path: Path) -> None:
    lsp.read_joints(lsp.Release(str(path.parent)), extended=False)


def _read_lsp_zip(path: Path) -> None:
    release = lsp.find_release(path.parent, path.stem)
    lsp.read_joints(release, extended=False)
    for name in sorted(name for name in release.names() if name):
        decode_file(release.read(f"images/{name}"), f"{name} of {path}")


def _unpack(path: Path) -> None:
    out = path.parent / OUT
    out.mkdir()
    with contextlib.redirect_stderr(io.StringIO()):  # Its progress.
        failed = dict(release.unpack_all({path: (out / "Videos", ".mp4")}))
    if failed:
        raise UserError(failed[path])
