"""Builder of MPII Human Pose (Andriluka et al., CVPR 2014); see `README.md` here."""

import collections
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pose3d_jax.errors import UserError
from pose3d_jax.images.files import read_image
from pose3d_jax.skeleton import NUM_JOINTS
from tfds_builders import base, work
from tfds_builders.mpii.annotations import Person, person_box, read_release, read_validation

IMAGE_SIDE = 512
#: Side of the image in boxes.
MARGIN = 2.0
#: Images in an item, for some seconds of work.
IMAGES_PER_ITEM = 50
IMAGES = 24_987
VALIDATION_PEOPLE = 2_958

ANNOTATIONS = "mpii_human_pose_v1_u12_1.mat"
INSTRUCTIONS = f"""
From http://human-pose.mpi-inf.mpg.de download the images (mpii_human_pose_v1.tar.gz, 12 GB) and
the annotations (mpii_human_pose_v1_u12_2.zip), and unpack both in the manual directory; beside
them goes valid.h5, the validation split, which is among the annotations of the Stacked Hourglass
release (https://github.com/princeton-vl/pose-hg-train, data/mpii/annot/valid.h5):
  DIR/mpii_human_pose_v1/images/*.jpg
  DIR/mpii_human_pose_v1_u12_2/{ANNOTATIONS}
  DIR/valid.h5
"""


class Builder(base.RecordBuilder):
    """Builder of `mpii`."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = INSTRUCTIONS
    HOMEPAGE = "http://human-pose.mpi-inf.mpg.de"
    image_side = IMAGE_SIDE


def _find(manual_dir: Path, *candidates: str) -> Path | None:
    return next((manual_dir / c for c in candidates if (manual_dir / c).exists()), None)


def make_plan(manual_dir: Path, *, partial: bool) -> base.Plan:
    """Reads the annotations and finds the images; see `base.RecordBuilder.make_plan`."""
    images = _find(manual_dir, "mpii_human_pose_v1/images", "images")
    annotations = _find(manual_dir, f"mpii_human_pose_v1_u12_2/{ANNOTATIONS}", ANNOTATIONS)
    split = _find(manual_dir, "valid.h5")
    absent = [
        f"{what}: not in {manual_dir / where}"
        for found, what, where in (
            (images, "the images", "mpii_human_pose_v1/images"),
            (annotations, "the annotations", f"mpii_human_pose_v1_u12_2/{ANNOTATIONS}"),
            (split, "the validation split, valid.h5", "valid.h5"),
        )
        if found is None
    ]
    if absent:  # Required even with `partial`.
        base.require_complete(absent, INSTRUCTIONS)
    release = read_release(annotations)
    names = release.names
    validation = read_validation(split, names)
    present = {entry.name for entry in images.iterdir()}
    remarks: list[work.Remark] = []
    for path, listed, official, what in (
        (annotations, len(names), IMAGES, "images"),
        (split, len(validation), VALIDATION_PEOPLE, "people"),
    ):
        if listed != official:
            why = f"lists {listed:,} {what}; the official file, {official:,}"
            remarks.append(work.Remark(str(path), why))
    by_image: dict[tuple[str, str], list[Person]] = collections.defaultdict(list)
    expected = {("train",): 0, ("validation",): 0}
    needed = set()
    for person in release.people:
        if isinstance(person, work.Remark):
            remarks.append(person)
            continue
        place = "validation" if (person.image_index, person.person_index) in validation else "train"
        expected[place,] += 1
        needed.add(person.image)
        if person.image in present:
            by_image[place, person.image].append(person)
    missing = []
    if absent := sorted(needed - present):
        missing.append(
            f"{len(absent):,} of {len(needed):,} images, the first: {images / absent[0]}"
        )
    if expected["validation",] < len(validation):
        missing.append(
            f"{len(validation) - expected['validation',]} people of {split} are not among the "
            f"usable people of {annotations}"
        )
    if not partial:
        base.require_complete(missing, INSTRUCTIONS)
    items = list(_items(by_image, images))
    return base.Plan(items, make_records, "records", expected, missing, remarks)


def _items(by_image: dict[tuple[str, str], list[Person]], images: Path) -> Iterator[work.Item]:
    for split in ("train", "validation"):
        names = sorted(name for place, name in by_image if place == split)
        for start in range(0, len(names), IMAGES_PER_ITEM):
            chunk = names[start : start + IMAGES_PER_ITEM]
            yield work.Item(
                split=split,
                name=f"{split} images {chunk[0]} to {chunk[-1]}",
                row=(),
                inputs=tuple(str(images / name) for name in chunk),
                task=tuple(tuple(by_image[split, name]) for name in chunk),
            )


def make_records(item: work.Item) -> work.Output:
    """Crops all people in the images of an item."""
    records, errors = [], []
    for path, group in zip(item.inputs, item.task, strict=True):
        if item.limit is not None and len(records) >= item.limit:
            break
        try:
            # Not rotated by its EXIF tag: the annotations are in the pixels of the file.
            image = read_image(path, upright=False)
        except UserError as error:
            errors.append(str(error))
            continue
        records += [_record(person, image) for person in group]
    return work.Output(records[: item.limit], errors=errors)


def _record(person: Person, image: np.ndarray) -> dict:
    center, scale = person_box(person.center, person.scale)
    joints, valid = np.zeros((NUM_JOINTS, 2)), np.zeros(NUM_JOINTS, bool)
    for joint, *xy in person.points:
        joints[joint], valid[joint] = xy, True
    return base.crop_record(
        image,
        joints - 0.5,  # MATLAB's first pixel has its centre at 1, here at 0.5.
        np.array(center) - 0.5,
        200.0 * scale,
        image_side=IMAGE_SIDE,
        margin=MARGIN,
        joints_valid=valid,
        head_size=person.head_size,
        image_id=f"{Path(person.image).stem}_{person.person_index}",
        subject=str(person.person_index),
        frame=person.image_index,
    )
