"""Builder of Human3.6M (Ionescu et al., TPAMI 2014); see `README.md` here."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

import tensorflow_datasets as tfds

from pose3d_jax import records, skeleton
from pose3d_jax.errors import UserError
from tfds_builders import base, work
from tfds_builders.downloads import check_download
from tfds_builders.human36m import release
from tfds_builders.human36m.release import Sequence36m
from tfds_builders.human36m.sequence import IMAGE_SIDE, Task, make_records

SPLITS = {"train": release.TRAIN_SUBJECTS, "test": release.TEST_SUBJECTS}
INSTRUCTIONS = """
From http://vision.imar.ro/human3.6m (which asks for a licence) download, for each of the subjects
S1, S5, S6, S7, S8 (training) and S9, S11 (test), "Videos", "D2 positions" and "D3 positions mono"
and leave them in the manual directory as they are, or unpack them; either is read:
  DIR/Videos_S1.tgz, DIR/Poses_D2_Positions_S1.tgz, DIR/Poses_D3_Positions_mono_S1.tgz
  DIR/s1/Videos.tgz, DIR/s1/D2_Positions.tgz, DIR/s1/D3_Positions_mono.tgz
  DIR/S1/Videos/*.mp4, DIR/S1/MyPoseFeatures/{D2_Positions,D3_Positions_mono}/*.cdf
  DIR/S1/Videos/*.mp4, DIR/S1/{Poses_D2_Positions,Poses_D3_Positions_mono}/*.cdf
("mono universal" is another thing: everybody scaled to the same height.)
"""


@dataclasses.dataclass
class Config(tfds.core.BuilderConfig):
    """Configuration `every_N`: keep every Nth frame of the 50 fps."""

    step: int = 5


def make_config(name: str) -> Config:
    """The configuration `every_N`.

    Raises:
        ValueError: the name has another form.
    """
    word, _, number = name.partition("_")
    if word != "every" or not number.isdecimal() or int(number) < 1:
        raise ValueError("every_N keeps every Nth frame")
    return Config(name=name, description=f"Every {number}th frame.", step=int(number))


class Builder(base.RecordBuilder):
    """Builder of `human36m`."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = INSTRUCTIONS
    HOMEPAGE = "http://vision.imar.ro/human3.6m"
    BUILDER_CONFIGS = [make_config("every_5"), make_config("every_64")]  # noqa: RUF012

    def make_metadata(self) -> tfds.core.MetadataDict:
        """See `base.RecordBuilder`."""
        return records.metadata(
            image_side=IMAGE_SIDE,
            bone_length_sum=skeleton.HUMAN36M_BONE_LENGTH_SUM,
            step=self.builder_config.step,
        )

    def make_plan(
        self, manual_dir: Path, scratch: Path, *, partial: bool, trial: bool = False
    ) -> base.Plan:
        """See `base.RecordBuilder.make_plan`; a trial needs one subject of each split."""
        found, missing = _find(manual_dir)
        if not any(found.values()):
            raise UserError(f"There are no files of Human3.6M in {manual_dir}.\n{INSTRUCTIONS}")
        if not partial:
            base.require_complete(missing, INSTRUCTIONS)
        complete = [s for s, kinds in found.items() if len(kinds) == len(release.KINDS)]
        if trial:
            complete = [
                subject
                for subjects in SPLITS.values()
                for subject in [s for s in complete if s in subjects][:1]
            ]
        directories, failed = _unpack({s: found[s] for s in complete}, scratch)
        missing += failed
        items, remarks = [], []
        for split, subjects in SPLITS.items():
            for subject in subjects:
                if subject not in directories:
                    continue
                files = {
                    name: release.sequences(directories[subject][name], subject, kind.suffix)
                    for name, kind in release.KINDS.items()
                }
                for name, present in files.items():
                    missing += release.gaps(subject, name, list(present))
                for each in _items(split, files, self.builder_config.step):
                    (remarks if isinstance(each, work.Remark) else items).append(each)
        if not partial:
            base.require_complete(missing, INSTRUCTIONS)
        expected = {
            (split, subject, action): release.VIDEOS_OF_ACTION
            for split, subjects in SPLITS.items()
            for subject in subjects
            for action in release.ACTIONS
        }
        return base.Plan(items, make_records, "videos", expected, missing, remarks)


def _find(manual_dir: Path) -> tuple[dict[str, dict[str, Path]], list[str]]:
    """The files of each kind by subject, and messages about missing or wrong ones."""
    found: dict[str, dict[str, Path]] = {}
    missing = []
    for subject in release.SUBJECTS:
        found[subject] = {}
        lacking = []
        for name, kind in release.KINDS.items():
            path = release.find(manual_dir, subject, kind)
            if path is not None:
                try:
                    if path.is_file():
                        check_download(path)  # Before hours of unpacking.
                    found[subject][name] = path
                except UserError as error:
                    missing.append(f"{subject}: {error}")
            else:
                archive, directory = kind.archives[0].format(subject), kind.directories[0]
                lacking.append(f"{archive} or {subject}/{directory}/*{kind.suffix}")
        if lacking:
            missing.append(f"{subject}: {', '.join(lacking)}")
    return found, missing


def _unpack(
    found: Mapping[str, Mapping[str, Path]], scratch: Path
) -> tuple[dict[str, dict[str, Path]], list[str]]:
    """Unpacks archives; subjects with damaged archives are left out and reported."""
    archives = {
        path: (scratch / subject / name, release.KINDS[name].suffix)
        for subject, kinds in found.items()
        for name, path in kinds.items()
        if path.is_file()
    }
    failed = dict(release.unpack_all(archives))
    return {
        subject: {
            name: archives[path][0] if path in archives else path for name, path in kinds.items()
        }
        for subject, kinds in found.items()
        if not any(path in failed for path in kinds.values())
    }, list(failed.values())


def _items(
    split: str, files: Mapping[str, Mapping[Sequence36m, Path]], step: int
) -> Iterator[work.Item | work.Remark]:
    """Items for sequences with video and poses, remarks for the others."""
    for sequence in dict.fromkeys(key for found in files.values() for key in found):
        lacking = [name for name in release.KINDS if sequence not in files[name]]
        if sequence.action not in release.ACTIONS:
            yield work.Remark(str(sequence), "not one of the 15 actions, left out")
        elif lacking:
            yield work.Remark(str(sequence), f"no {' and no '.join(lacking)}, left out")
        else:
            yield work.Item(
                split=split,
                name=str(sequence),
                row=(sequence.subject, sequence.action),
                inputs=tuple(str(files[name][sequence]) for name in release.KINDS),
                task=Task(sequence, step, shoulder_thorax=split == "train"),
            )
