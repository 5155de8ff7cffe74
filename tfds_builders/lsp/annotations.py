"""Reading Leeds Sports Pose and its extension: `joints.mat` and images, in a folder or a zip."""

import dataclasses
import io
import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from pose3d_jax.errors import UserError
from pose3d_jax.images.files import check_length
from pose3d_jax.skeleton import NUM_JOINTS, PELVIS, THORAX
from pose3d_jax.untrusted import are_plausible, check_file, read_isolated, reason

#: Our joint of each of LSP's 14: right leg from the ankle, left leg from the hip, right arm from
#: the wrist, left arm from the shoulder, neck, head top. "Left" is the person's own in both.
JOINTS = (0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15, 8, 9)
#: LSP's hips and shoulders.
_HIPS, _SHOULDERS = [2, 3], [8, 9]


@dataclasses.dataclass(frozen=True)
class Release:
    """One of the two official archives, unpacked or as it was downloaded.

    Attributes:
        path: the folder or the .zip.
        prefix: of names inside it, "" or "lsp_dataset/": archives have been packed both ways.
    """

    path: str
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
        """A file's content.

        Raises:
            UserError: it cannot be read.
        """
        told = f"{name} of {self.path}"
        try:
            if not self.zipped:
                path = Path(self.path, self.prefix, name)
                check_file(path)
                check_length(told, path.stat().st_size)
                return path.read_bytes()
            with zipfile.ZipFile(self.path) as archive:
                # No more than so many bytes are unpacked.
                check_length(told, archive.getinfo(self.prefix + name).file_size)
                return archive.read(self.prefix + name)
        except UserError:
            raise
        except Exception as error:  # A damaged archive has many faces.
            raise UserError(f"{told} is damaged ({reason(error)}).") from error


def find_release(manual_dir: Path, name: str) -> Release | None:
    """The folder `name` or the archive `name`.zip of the manual directory; None without either."""
    if (manual_dir / name / "joints.mat").exists():
        return Release(str(manual_dir / name))
    path = manual_dir / f"{name}.zip"
    return _zipped(path) if path.exists() else None


def _zipped(path: Path) -> Release:
    name = path.stem
    check_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            inside = set(archive.namelist())
    except Exception as error:
        raise UserError(f"{path} is damaged ({reason(error)}). Download it again.") from error
    for prefix in ("", f"{name}/"):
        if f"{prefix}joints.mat" in inside:
            return Release(str(path), prefix)
    raise UserError(f"{path} has no joints.mat: it is not {name} of Leeds Sports Pose.")


def read_joints(release: Release, *, extended: bool) -> Float[np.ndarray, "people 14 3"]:
    """x, y and whether it is labelled (1 or 0), of each joint of each person.

    LSP's array is (3, 14, people), and its third row says *occluded*: all joints are labelled,
    occluded ones by guess. The extension's is (14, 3, people), and its third column says
    *visible*: where it is 0, the joint is not labelled and x and y mean nothing.

    Raises:
        UserError: not that file, or not a whole one.
    """
    path = release.path if release.zipped else Path(release.path, "joints.mat")
    place = f"joints.mat of {path}" if release.zipped else path
    # Apart: damage can crash SciPy.
    joints = read_isolated(_read_mat, path, memory=1 << 30, seconds=20)
    expected = (14, 3) if extended else (3, 14)
    if joints.ndim != 3 or joints.shape[:2] != expected:
        raise UserError(f"{place} has joints of the shape {joints.shape}, not {(*expected, 'n')}.")
    if extended:
        people = joints.transpose(2, 0, 1)
        people[..., 2] = people[..., 2] > 0
    else:
        people = joints.transpose(2, 1, 0)
        people[..., 2] = 1.0
    if not are_plausible(people[people[..., 2] > 0]):
        raise UserError(f"{place} is damaged: a joint is where none can be.")
    return people


def _read_mat(path: str) -> np.ndarray:
    """The numbers of `joints.mat`, given itself or the .zip that it is in."""
    try:
        import scipy.io
    except ImportError as error:
        raise UserError("Reading .mat needs SciPy: pip install 'pose3d_jax[prepare]'") from error
    try:
        release = _zipped(Path(path)) if path.endswith(".zip") else Release(str(Path(path).parent))
        content = io.BytesIO(release.read("joints.mat"))
        return np.array(scipy.io.loadmat(content, variable_names=["joints"])["joints"], np.float64)
    except (MemoryError, UserError):
        raise
    except Exception as error:  # Whatever SciPy runs into: a truncated file has many faces.
        raise UserError(f"{path} is damaged, or no MATLAB file: {reason(error)}.") from error


def to_skeleton(
    person: Float[np.ndarray, "14 3"],
) -> tuple[Float[np.ndarray, "16 2"], Bool[np.ndarray, "16"]]:
    """Our sixteen joints of a person's fourteen.

    LSP has neither pelvis nor thorax: the midpoints of hips and of shoulders stand for them, where
    both are labelled. Its "neck" is MPII's upper neck.

    Args:
        person: from `read_joints`.

    Returns:
        Positions, zeros where not labelled, and which are labelled.
    """
    joints, valid = np.zeros((NUM_JOINTS, 2)), np.zeros(NUM_JOINTS, bool)
    joints[list(JOINTS)], valid[list(JOINTS)] = person[:, :2], person[:, 2] > 0
    for middle, ends in ((PELVIS, _HIPS), (THORAX, _SHOULDERS)):
        joints[middle], valid[middle] = person[ends, :2].mean(0), person[ends, 2].all()
    return np.where(valid[:, None], joints, 0.0), valid
