"""Builder of Leeds Sports Pose and its extension; see `README.md` here."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from pose3d_jax.errors import UserError
from pose3d_jax.images.crop import square_around
from pose3d_jax.images.files import decode_file
from tfds_builders import base, work
from tfds_builders.lsp.annotations import Release, find_release, read_joints, to_skeleton
from tfds_builders.lsp.corrections import correct

IMAGE_SIDE = 320
#: Side of the image in boxes.
MARGIN = 2.0
#: Side of the box, in units of the labelled joints' larger extent.
BOX = 1.3
#: Of 14; with fewer labelled joints, the square around them is not the person's box.
FEWEST_JOINTS = 8
#: Images in an item, for some seconds of work.
IMAGES_PER_ITEM = 250
#: The first thousand of LSP are for training, the rest for testing.
TRAINING_PHOTOGRAPHS = 1000
#: Training photographs with a near-duplicate in the test half (1366, 1436, 1622 and 1211).
NEAR_DUPLICATES = frozenset({550, 492, 371, 483})

LSP, EXTENDED = "lsp_dataset", "lspet_dataset"
#: Number of photographs of each.
OFFICIAL = {LSP: 2_000, EXTENDED: 10_000}
INSTRUCTIONS = """
Download lsp_dataset.zip and lspet_dataset.zip (http://sam.johnson.io/research/lsp.html and
lspet.html) to the manual directory; unpack them or leave them as they are:
  DIR/lsp_dataset/joints.mat     DIR/lsp_dataset/images/im0001.jpg …     or DIR/lsp_dataset.zip
  DIR/lspet_dataset/joints.mat   DIR/lspet_dataset/images/im00001.jpg …  or DIR/lspet_dataset.zip
"""


class Builder(base.RecordBuilder):
    """Builder of `lsp`."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = INSTRUCTIONS
    HOMEPAGE = "http://sam.johnson.io/research/lsp.html"
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name="official", description="Labels as distributed."),
        tfds.core.BuilderConfig(name="corrected", description="Labels of the extension corrected."),
    ]
    image_side = IMAGE_SIDE

    def make_plan(
        self, manual_dir: Path, scratch: Path, *, partial: bool, trial: bool = False
    ) -> base.Plan:
        """See `base.RecordBuilder.make_plan`."""
        del scratch, trial
        corrected = self.builder_config.name == "corrected"
        return make_plan(manual_dir, partial=partial, corrected=corrected)


@dataclasses.dataclass(frozen=True)
class Person:
    """The person of a photograph."""

    image: str  # file name
    number: int  # of the photograph, from 1
    #: LSP's 14 joints: x, y (MATLAB's: the first pixel's centre is at 1), and labelled (0 or 1).
    joints: tuple[tuple[float, float, float], ...]


@dataclasses.dataclass(frozen=True)
class _Task:
    dataset: str
    release: Release
    people: tuple[Person, ...]


def make_plan(manual_dir: Path, *, partial: bool, corrected: bool = False) -> base.Plan:
    """Reads the annotations and finds the images; see `base.RecordBuilder.make_plan`."""
    splits = ("train", "extension", "test") if corrected else ("train", "test")
    releases = {name: find_release(manual_dir, name) for name in OFFICIAL}
    missing = [
        f"{name}: neither {manual_dir / name / 'joints.mat'} nor {manual_dir / name}.zip"
        for name, release in releases.items()
        if release is None
    ]
    if missing and not (partial and any(releases.values())):
        base.require_complete(missing, INSTRUCTIONS)
    items, remarks, expected = [], [], {(split,): 0 for split in splits}
    for dataset, release in releases.items():
        if release is None:
            continue
        present, absent = release.names(), []
        people: dict[str, list[Person]] = {split: [] for split in splits}
        for split, person in _people(dataset, release, corrected=corrected):
            if isinstance(person, work.Remark):
                remarks.append(person)
                continue
            expected[split,] += 1
            (people[split] if person.image in present else absent).append(person)
        if absent:
            missing.append(
                f"{len(absent):,} images of {dataset}, the first: images/{absent[0].image}"
            )
        for split, group in people.items():
            items += _items(split, dataset, release, group)
    if not partial:
        base.require_complete(missing, INSTRUCTIONS)
    items.sort(key=lambda item: item.split)
    return base.Plan(items, make_records, "records", expected, missing, remarks)


def _people(
    dataset: str, release: Release, *, corrected: bool
) -> Iterator[tuple[str, Person | work.Remark]]:
    """People of a data set with their split, and remarks on those left out."""
    joints = read_joints(release, extended=dataset == EXTENDED)
    if corrected and dataset == EXTENDED:
        joints = correct(joints)
    if len(joints) != OFFICIAL[dataset]:
        why = f"has {len(joints):,} people; the official file, {OFFICIAL[dataset]:,}"
        yield "", work.Remark(f"joints.mat of {release.path}", why)
    for number, person in enumerate(joints, 1):
        image = f"im{number:04d}.jpg" if dataset == LSP else f"im{number:05d}.jpg"
        if dataset == LSP:
            split = "train" if number <= TRAINING_PHOTOGRAPHS else "test"
        else:
            split = "extension" if corrected else "train"
        if dataset == LSP and number in NEAR_DUPLICATES:
            why = "near-duplicate in the test half, left out"
            yield split, work.Remark(f"{dataset} {image}", why)
        elif person[:, 2].sum() < FEWEST_JOINTS:
            why = f"fewer than {FEWEST_JOINTS} joints labelled, left out"
            yield split, work.Remark(f"{dataset} {image}", why)
        else:
            yield split, Person(image, number, tuple(map(tuple, person.tolist())))


def _items(split: str, dataset: str, release: Release, people: list[Person]) -> Iterator[work.Item]:
    for start in range(0, len(people), IMAGES_PER_ITEM):
        chunk = people[start : start + IMAGES_PER_ITEM]
        yield work.Item(
            split=split,
            name=f"{split} {dataset} {chunk[0].image} to {chunk[-1].image}",
            row=(),
            inputs=release.inputs([person.image for person in chunk]),
            task=_Task(dataset, release, tuple(chunk)),
        )


def make_records(item: work.Item) -> work.Output:
    """Crops the people of the photographs of an item."""
    task: _Task = item.task
    records, errors = [], []
    for person in task.people[: item.limit]:
        name = f"images/{person.image}"
        try:
            content = task.release.read(name)
            image = decode_file(content, f"{name} of {task.release.path}", upright=False)
        except UserError as error:
            errors.append(str(error))
            continue
        records.append(_record(task.dataset, person, image))
    return work.Output(records, errors=errors)


def _record(dataset: str, person: Person, image: np.ndarray) -> dict:
    joints, valid = to_skeleton(np.array(person.joints))
    # MATLAB's first pixel has its centre at 1, here at 0.5.
    joints = joints - 0.5
    name = dataset.removesuffix("_dataset")
    return base.crop_record(
        image,
        joints,
        *square_around(joints[valid], BOX),
        image_side=IMAGE_SIDE,
        margin=MARGIN,
        image_id=f"{name}_{person.number:05d}",
        joints_valid=valid,
        action=name,
        frame=person.number,
    )
