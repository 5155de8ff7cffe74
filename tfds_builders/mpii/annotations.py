"""Reads MPII's annotations: `mpii_human_pose_v1_u12_1.mat` and `valid.h5`."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pose3d_jax.errors import UserError
from pose3d_jax.skeleton import NUM_JOINTS
from pose3d_jax.untrusted import are_plausible, read_isolated
from tfds_builders.downloads import check_download, reading
from tfds_builders.work import Remark

_ADVICE = "Unpack or download mpii_human_pose_v1_u12_2.zip again."
#: Scale of a person of 10,000 px; no image has one.
_MAX_SCALE = 50.0


@dataclasses.dataclass(frozen=True)
class Person:
    """One annotated person; coordinates are MATLAB's, with the first pixel's centre at 1."""

    image: str  # file name
    image_index: int  # 0-based row of `annolist`
    person_index: int  # 0-based row of `annorect`
    center: tuple[float, float]  # `objpos`
    scale: float  # the person's height / 200 px
    points: tuple[tuple[int, float, float], ...]  # the annotated joints: index, x, y
    head_size: float  # 0.6 times the diagonal of the head box; 0 where there is none


def person_box(center: tuple[float, float], scale: float) -> tuple[tuple[float, float], float]:
    """The box rule of the stacked hourglass (Newell et al., 2016), which the paper follows.

    Args:
        center: `objpos`, px.
        scale: the person's height / 200 px.

    Returns:
        The centre, moved down by 15 × scale so that feet are not cut off, and the scale × 1.25.
        The side of the box is 200 × scale px.
    """
    return (center[0], center[1] + 15 * scale), 1.25 * scale


class Release(NamedTuple):
    """The annotations."""

    names: list[str]  # image files, in the order of `annolist`
    #: Usable people of the training images, and remarks on the others.
    people: list[Person | Remark]


def read_release(path: Path) -> Release:
    """Reads the struct `RELEASE` of the annotations.

    Raises:
        UserError: the file is damaged or another one.
    """
    return read_isolated(_read_mat, path, memory=4 << 30, seconds=300, advice=_ADVICE)


def _read_mat(path: str) -> Release:
    with reading(path, "a MATLAB file", _ADVICE):
        import scipy.io

        try:
            content = scipy.io.loadmat(
                path, squeeze_me=True, struct_as_record=False, variable_names=["RELEASE"]
            )
        except NotImplementedError as error:
            raise UserError(
                f"{path} is a MATLAB v7.3 file; the official annotations are v5. Use the file from "
                "mpii_human_pose_v1_u12_2.zip as it is."
            ) from error
        release = content.get("RELEASE")
        missing = [name for name in ("annolist", "img_train") if not hasattr(release, name)]
        if missing:
            raise UserError(
                f"{path} has no RELEASE.{missing[0]}: these are not the annotations of "
                "mpii_human_pose_v1_u12_2.zip."
            )
        entries = np.atleast_1d(release.annolist)
        return Release([str(entry.image.name) for entry in entries], list(_people(release)))


def _people(release: Any) -> Iterator[Person | Remark]:
    train = np.atleast_1d(release.img_train)
    for i, entry in enumerate(np.atleast_1d(release.annolist)):
        if not train[i]:
            continue
        for j, rect in enumerate(np.atleast_1d(getattr(entry, "annorect", ()))):
            yield _person(str(entry.image.name), i, j, rect)


def _person(image: str, i: int, j: int, rect: Any) -> Person | Remark:
    name = f"{image} person {j}"
    scale, place, points = (_field(rect, key) for key in ("scale", "objpos", "annopoints"))
    points = _field(points, "point")
    for value, what in ((points, "joints"), (scale, "scale"), (place, "position")):
        if value is None:
            return Remark(name, f"person without {what}, left out")
    scale = float(scale)
    center = (float(place.x), float(place.y))
    if not (are_plausible(center) and 0 < scale < _MAX_SCALE):
        return Remark(name, "person with an impossible scale or position, left out")
    points = tuple((int(p.id), float(p.x), float(p.y)) for p in np.atleast_1d(points))
    if not (are_plausible([p[1:] for p in points]) and all(0 <= p[0] < NUM_JOINTS for p in points)):
        return Remark(name, "person with impossible joints, left out")
    corners = [_field(rect, key) for key in ("x1", "y1", "x2", "y2")]
    head_size = 0.0
    if all(corner is not None for corner in corners):
        x1, y1, x2, y2 = (float(corner) for corner in corners)
        if not are_plausible([x1, y1, x2, y2]):
            return Remark(name, "person with an impossible head, left out")
        head_size = 0.6 * float(np.hypot(x2 - x1, y2 - y1))
    return Person(image, i, j, center, scale, points, head_size)


def _field(struct: Any, name: str) -> Any:
    """A field of a MATLAB struct, or None where it is missing or empty."""
    value = getattr(struct, name, None)
    return None if value is None or np.size(value) == 0 else value


def read_validation(path: Path, names: list[str]) -> set[tuple[int, int]]:
    """The people of the validation split.

    Args:
        path: `valid.h5` of the Stacked Hourglass release.
        names: file names in the order of `annolist`, to check that both files belong together.

    Returns:
        Pairs of image index and person index.

    Raises:
        UserError: the file is damaged, another one, or of other annotations.
    """
    check_download(path)
    rows = read_isolated(_read_hdf5, path, memory=1 << 30, seconds=20)
    for index, _, name in rows:
        if not 0 <= index < len(names) or names[index] != name:
            there = names[index] if 0 <= index < len(names) else "nothing"
            raise UserError(
                f"{path} says that image {index} is {name}; the annotations have {there} there. "
                "The two files belong to different releases."
            )
    return {(index, person) for index, person, _ in rows}


def _read_hdf5(path: str) -> list[tuple[int, int, str]]:
    """The rows of `valid.h5`: image index, person index, file name."""
    with reading(path, "the valid.h5 of the Stacked Hourglass release"):
        import h5py

        with h5py.File(path) as file:
            images = file["index"][:].astype(int).tolist()
            persons = file["person"][:].astype(int).tolist()
            files = [bytes(name).decode() for name in file["imgname"][:]]
        return list(zip(images, persons, files, strict=True))
