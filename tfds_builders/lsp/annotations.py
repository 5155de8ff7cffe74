"""Reads Leeds Sports Pose and its extension: `joints.mat` and images, in a directory or a zip."""

import dataclasses
import io
import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from pose3d_jax.errors import UserError
from pose3d_jax.images.files import check_length
from pose3d_jax.skeleton import NUM_JOINTS, PELVIS, THORAX
from pose3d_jax.untrusted import are_plausible, check_file, read_isolated
from tfds_builders.downloads import check_download, reading

#: The skeleton's joint of each of LSP's 14: right leg from the ankle, left leg from the hip, right
#: arm from the wrist, left arm from the shoulder, neck, head top. Left and right are the person's.
JOINTS = (0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15, 8, 9)
#: Hips and shoulders among LSP's 14.
_HIPS, _SHOULDERS = [2, 3], [8, 9]
_ADVICE = "Download it again."


@dataclasses.dataclass(frozen=True)
class Release:
    """One of the two official archives, unpacked or zipped."""

    path: str  # the directory or the .zip
    #: Directory inside it, "" or "lsp_dataset/"; copies of the archives have either.
    prefix: str = ""

    @property
    def zipped(self) -> bool:
        """Whether it is a .zip."""
        return self.path.endswith(".zip")

    def names(self) -> set[str]:
        """File names of the images."""
        folder = f"{self.prefix}images/"
        if self.zipped:
            with zipfile.ZipFile(self.path) as archive:
                found = [name for name in archive.namelist() if name.startswith(folder)]
            return {name.removeprefix(folder) for name in found}
        place = Path(self.path, folder)
        return {entry.name for entry in place.iterdir()} if place.is_dir() else set()

    def inputs(self, images: list[str]) -> tuple[str, ...]:
        """The files that hold these images."""
        if self.zipped:
            return (self.path,)
        return tuple(str(Path(self.path, self.prefix, "images", name)) for name in images)

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            UserError: it cannot be read.
        """
        title = f"{name} of {self.path}"
        with reading(title, "in this archive"):
            if not self.zipped:
                path = Path(self.path, self.prefix, name)
                check_file(path)
                check_length(title, path.stat().st_size)
                return path.read_bytes()
            with zipfile.ZipFile(self.path) as archive:
                # The length is that of the directory; zipfile unpacks no more than that.
                check_length(title, archive.getinfo(self.prefix + name).file_size)
                return archive.read(self.prefix + name)


def find_release(manual_dir: Path, name: str) -> Release | None:
    """The directory `name` or the archive `name`.zip of the manual directory, or None.

    Raises:
        UserError: the archive is not one, or another one.
    """
    if (manual_dir / name / "joints.mat").exists():
        return Release(str(manual_dir / name))
    path = manual_dir / f"{name}.zip"
    return _open_zip(path) if path.exists() else None


def _open_zip(path: Path) -> Release:
    name = path.stem
    check_download(path)
    with reading(path, "a zip archive", _ADVICE), zipfile.ZipFile(path) as archive:
        inside = set(archive.namelist())
    for prefix in ("", f"{name}/"):
        if f"{prefix}joints.mat" in inside:
            return Release(str(path), prefix)
    raise UserError(f"{path} has no joints.mat: it is not {name} of Leeds Sports Pose.")


def read_joints(release: Release, *, extended: bool) -> Float[np.ndarray, "people 14 3"]:
    """x, y and labelled (1 or 0) of each joint of each person.

    LSP's array is (3, 14, people), and its third row means *occluded*: all joints are labelled,
    occluded ones by guess. The extension's is (14, 3, people), and its third column means
    *visible*: joints with 0 are not labelled, and their x and y have no meaning.

    Raises:
        UserError: the file is damaged or another one.
    """
    path = release.path if release.zipped else Path(release.path, "joints.mat")
    title = f"joints.mat of {path}" if release.zipped else path
    joints = read_isolated(_read_mat, path, memory=1 << 30, seconds=20, advice=_ADVICE)
    expected = (14, 3) if extended else (3, 14)
    if joints.ndim != 3 or joints.shape[:2] != expected:
        raise UserError(f"{title} has joints of the shape {joints.shape}, not {(*expected, 'n')}.")
    if extended:
        people = joints.transpose(2, 0, 1)
        people[..., 2] = people[..., 2] > 0
    else:
        people = joints.transpose(2, 1, 0)
        people[..., 2] = 1.0
    if not are_plausible(people[people[..., 2] > 0]):
        raise UserError(f"{title} is damaged: a joint has impossible coordinates. {_ADVICE}")
    return people


def _read_mat(path: str) -> np.ndarray:
    """The array of `joints.mat`, given that file or the .zip that contains it."""
    with reading(path, "the joints.mat of Leeds Sports Pose", _ADVICE):
        import scipy.io

        zipped = path.endswith(".zip")
        release = _open_zip(Path(path)) if zipped else Release(str(Path(path).parent))
        content = io.BytesIO(release.read("joints.mat"))
        return np.array(scipy.io.loadmat(content, variable_names=["joints"])["joints"], np.float64)


def to_skeleton(
    person: Float[np.ndarray, "14 3"],
) -> tuple[Float[np.ndarray, "16 2"], Bool[np.ndarray, "16"]]:
    """Converts LSP's 14 joints (`read_joints`) to the skeleton's 16.

    LSP has no pelvis and no thorax. They become the midpoints of hips and of shoulders, where both
    are labelled. LSP's "neck" is MPII's upper neck.

    Returns:
        Positions, zeros where not labelled, and which are labelled.
    """
    joints, valid = np.zeros((NUM_JOINTS, 2)), np.zeros(NUM_JOINTS, bool)
    joints[list(JOINTS)], valid[list(JOINTS)] = person[:, :2], person[:, 2] > 0
    for middle, ends in ((PELVIS, _HIPS), (THORAX, _SHOULDERS)):
        joints[middle], valid[middle] = person[ends, :2].mean(0), person[ends, 2].all()
    return np.where(valid[:, None], joints, 0.0), valid
