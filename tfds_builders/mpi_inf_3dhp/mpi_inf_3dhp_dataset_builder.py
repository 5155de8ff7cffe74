"""Builder of MPI-INF-3DHP's test set (Mehta et al., 3DV 2017); see `README.md` here."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pose3d_jax.errors import UserError
from pose3d_jax.images.crop import square_around
from pose3d_jax.images.files import read_image
from pose3d_jax.untrusted import are_plausible, read_isolated
from tfds_builders import base, work
from tfds_builders.downloads import reading

IMAGE_SIDE = 256
BOX_MARGIN = 1.25
FRAMES_PER_ITEM = 50
#: Index among the 17 annotated joints of each of the skeleton's 16.
JOINTS = np.array([10, 9, 8, 11, 12, 13, 14, 15, 1, 0, 4, 3, 2, 5, 6, 7])
NUM_SOURCE_JOINTS = 17
ACTIVITIES = (
    "Stand/Walk", "Exercise", "Sit on chair", "Crouch/Reach", "On the floor", "Sports",
    "Miscellaneous",
)  # fmt: skip
#: Frames of the official sequences, annotated or not.
FRAMES = {"TS1": 6151, "TS2": 6080, "TS3": 5838, "TS4": 6007, "TS5": 320, "TS6": 492}
VALID_FRAMES = 2929
_ADVICE = "Unpack or download the test set again."
INSTRUCTIONS = """
From http://gvv.mpi-inf.mpg.de/3dhp-dataset download the test set (mpi_inf_3dhp_test_set.zip, 7 GB)
and unpack it in the manual directory:
  DIR/mpi_inf_3dhp_test_set/TS1/annot_data.mat, DIR/mpi_inf_3dhp_test_set/TS1/imageSequence/*.jpg
and so on to TS6 (DIR/TS1/… is found as well).
"""


class Builder(base.RecordBuilder):
    """Builder of `mpi_inf_3dhp`."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = INSTRUCTIONS
    HOMEPAGE = "http://gvv.mpi-inf.mpg.de/3dhp-dataset"
    image_side = IMAGE_SIDE


def make_plan(manual_dir: Path, *, partial: bool) -> base.Plan:
    """Reads the annotations and finds the images; see `base.RecordBuilder.make_plan`."""
    roots = [manual_dir, manual_dir / "mpi_inf_3dhp_test_set"]
    roots += [root / "mpi_inf_3dhp_test_set" for root in roots]
    root = next((r for r in roots if any((r / name).is_dir() for name in FRAMES)), None)
    if root is None:
        raise UserError(f"There is no test set of MPI-INF-3DHP in {manual_dir}.\n{INSTRUCTIONS}")
    items, missing = [], []
    expected: dict[tuple[str, ...], int] = {}
    for name, frames in FRAMES.items():
        path = root / name / "annot_data.mat"
        if not path.is_file():
            missing.append(f"{name}: {path} does not exist")
            continue
        annotation = read_annotation(path)
        if len(annotation["valid"]) != frames:
            missing.append(
                f"{name}: {len(annotation['valid']):,} frames of {frames:,} are annotated"
            )
        images = root / name / "imageSequence"
        present = {entry.name for entry in images.iterdir()} if images.is_dir() else set()
        absent = 0
        for activity in range(len(ACTIVITIES)):
            chosen = annotation["valid"] & (annotation["activity"] == activity + 1)
            wanted = np.flatnonzero(chosen).tolist()
            if not wanted:
                continue
            row = (name, ACTIVITIES[activity])
            expected["test", *row] = len(wanted)
            usable = [index for index in wanted if _image_name(index) in present]
            absent += len(wanted) - len(usable)
            items += _items(row, path, images, usable)
        if absent:
            missing.append(f"{name}: {absent:,} annotated frames have no image in {images}")
    if not partial:
        base.require_complete(missing, INSTRUCTIONS)
    remarks = []
    if (valid := sum(expected.values())) != VALID_FRAMES:
        why = f"{valid:,} frames are valid; of the official files, {VALID_FRAMES:,}"
        remarks.append(work.Remark(str(root), why))
    return base.Plan(items, make_records, "records", expected, missing, remarks)


def _image_name(index: int) -> str:
    return f"img_{index + 1:06d}.jpg"


def _items(
    row: tuple[str, str], annotation: Path, images: Path, indices: list[int]
) -> Iterator[work.Item]:
    for start in range(0, len(indices), FRAMES_PER_ITEM):
        chunk = indices[start : start + FRAMES_PER_ITEM]
        yield work.Item(
            split="test",
            name=f"{' '.join(row)}, frames {chunk[0]} to {chunk[-1]}",
            row=row,
            inputs=(str(annotation), *(str(images / _image_name(index)) for index in chunk)),
            task=tuple(chunk),
        )


def read_annotation(path: str | Path) -> dict[str, Any]:
    """Reads `annot_data.mat` (MATLAB v7.3, which is HDF5).

    Returns:
        `joints_2d` (frames, 16, 2) px, `joints_3d` (frames, 16, 3) mm of the height-normalised
        person, `valid` (frames,) bool, `activity` (frames,) from 1.

    Raises:
        UserError: the file is damaged or another one.
    """
    arrays = read_isolated(_read_hdf5, path, memory=1 << 30, seconds=20, advice=_ADVICE)
    joints_2d, joints_3d, valid, activity = arrays
    if not len(joints_2d) == len(joints_3d) == len(valid) == len(activity):
        raise UserError(f"{path}: its arrays differ in their number of frames.")
    if not (are_plausible(joints_2d[valid]) and are_plausible(joints_3d[valid])):
        raise UserError(f"{path} is damaged: a joint has impossible coordinates. {_ADVICE}")
    return {
        "joints_2d": joints_2d[:, JOINTS],
        "joints_3d": joints_3d[:, JOINTS],
        "valid": valid,
        "activity": activity,
    }


def _read_hdf5(path: str) -> tuple[np.ndarray, ...]:
    with reading(path, "MPI-INF-3DHP's annot_data.mat", _ADVICE):
        import h5py

        with h5py.File(path) as file:
            # MATLAB's [3 17 1 N] is (N, 1, 17, 3) here. Reshaped, not squeezed: N may be 1.
            joints_2d = file["annot2"][:].reshape(-1, NUM_SOURCE_JOINTS, 2)
            joints_3d = file["univ_annot3"][:].reshape(-1, NUM_SOURCE_JOINTS, 3)
            valid = file["valid_frame"][:].reshape(-1).astype(bool)
            activity = file["activity_annotation"][:].reshape(-1).astype(int)
        return joints_2d, joints_3d, valid, activity


def make_records(item: work.Item) -> work.Output:
    """Crops the person in the frames of an item."""
    sequence, activity = item.row
    annotation = read_annotation(item.inputs[0])
    records, errors = [], []
    for index, path in list(zip(item.task, item.inputs[1:], strict=True))[: item.limit]:
        try:
            image = read_image(path, upright=False)
        except UserError as error:
            errors.append(str(error))
            continue
        joints_2d = annotation["joints_2d"][index]
        record = base.crop_record(
            image,
            joints_2d,
            *square_around(joints_2d, BOX_MARGIN),
            image_side=IMAGE_SIDE,
            image_id=f"{sequence}_{index:06d}",
            joints_3d=annotation["joints_3d"][index],
            subject=sequence,
            action=activity,
            frame=index,
        )
        records.append(record)
    return work.Output(records, errors=errors)
