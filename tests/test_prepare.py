import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from miniature import write_human36m, write_mpii_people
from PIL import Image

from pose3d_jax.data import catalog, sources
from pose3d_jax.errors import OverloadError, UserError
from tfds_builders import base, builders, prepare, work
from tfds_builders.human36m import sequence
from tfds_builders.synthetic import generate

NAMES = ("Directions 1", "Waiting 2")
HUMAN36M = "human36m/every_4"


@pytest.fixture(scope="module")
def mpii(tmp_path_factory):
    root = tmp_path_factory.mktemp("mpii")
    write_mpii_people(root)
    return root


@pytest.fixture(scope="module")
def human36m(tmp_path_factory):
    root = tmp_path_factory.mktemp("human36m")
    write_human36m(root, names=NAMES, frames=9)
    return root


@pytest.fixture(scope="module")
def undisturbed(human36m, tmp_path_factory):
    """The part of Human3.6M, prepared without incident."""
    data_dir = tmp_path_factory.mktemp("undisturbed")
    prepare.prepare(HUMAN36M, data_dir, manual_dir=human36m, partial=True, workers=1)
    return read(HUMAN36M, data_dir)


def read(name, data_dir):
    """All records by split, in the data set's order."""
    dataset = catalog.open_dataset(name, data_dir)
    decoders = {"image": tfds.decode.SkipDecoding()}
    return {
        split: [dict(record) for record in dataset.as_data_source(split, decoders=decoders)]
        for split in dataset.info.splits
    }


def assert_same(left, right):
    assert left.keys() == right.keys()
    for split in left:
        assert len(left[split]) == len(right[split])
        for one, other in zip(left[split], right[split], strict=True):
            for key in one:
                np.testing.assert_array_equal(one[key], other[key])


def begin(release, data_dir, finished, **options):
    """The program at the moment when some items are finished, and the directory of these."""
    arguments = ("--manual_dir", release, "--data_dir", data_dir, "--partial", "--workers", 1)
    process = subprocess.Popen(
        [sys.executable, "-m", "tfds_builders.prepare", HUMAN36M, *map(str, arguments)],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Where the tests run in the background, a shell has Ctrl-C ignored from here on down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **options,
    )
    items = data_dir / ".preparing" / "human36m" / "every_4" / "items"
    deadline = time.monotonic() + 60
    while len(list(items.glob("*.json"))) < finished and time.monotonic() < deadline:
        time.sleep(0.01)
    return process, items


def files(directory):
    return sorted(p.relative_to(directory).as_posix() for p in Path(directory).rglob("*"))


def test_what_is_not_prepared_names_the_command(tmp_path):
    assert not catalog.is_prepared("mpii", tmp_path)
    with pytest.raises(UserError) as error:
        catalog.open_dataset("mpii", tmp_path)
    command = f"python -m tfds_builders.prepare mpii --manual_dir DIR --data_dir {tmp_path}"
    assert command in str(error.value)
    assert (
        catalog.prepare_command("synthetic/lab") == "python -m tfds_builders.prepare synthetic/lab"
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [("coco", "mpii"), ("synthetic/nowhere", "synthetic/lab"), ("human36m/fast", "every_N"),
     ("mpii/large", "data sets are mpii"), ("mpi", "Did you mean mpii\\?"),
     ("lps", "Did you mean lsp\\?"),
     ("synthetic/wild_tny", "Did you mean synthetic/wild_tiny\\?")],
)  # fmt: skip
def test_unknown_names_get_the_known_ones_and_a_suggestion(name, words):
    with pytest.raises(UserError, match=words):
        builders.load_builder(name)


@pytest.mark.parametrize("name", builders.DATASETS)
def test_every_builder_describes_its_data_set(name, tmp_path):
    """With the files that TFDS expects beside a builder."""
    info = builders.load_builder(name, tmp_path).info
    assert info.description.startswith("# ") and len(info.description) > 500
    assert info.citation.startswith("@") and "title" in info.citation
    assert info.homepage.startswith("http")
    tags = builders.load_builder(name, tmp_path).get_metadata().tags
    assert set(tags) <= set(tfds.core.dataset_metadata.valid_tags())


@pytest.mark.parametrize("scheme", ["gs://bucket/x", "s3://bucket/x", "hdfs://host/x"])
def test_remote_paths_are_refused_before_any_work(scheme, mpii, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for options in (
        {"data_dir": scheme, "manual_dir": mpii},
        {"data_dir": tmp_path, "manual_dir": scheme},
    ):
        with pytest.raises(UserError, match="paths are not supported"):
            prepare.prepare("mpii", **options)
    monkeypatch.setenv("TFDS_DATA_DIR", scheme)
    for use in (catalog.open_dataset, catalog.is_prepared, builders.load_builder):
        with pytest.raises(UserError, match=f"TFDS_DATA_DIR {scheme}"):
            use("mpii")
    assert files(tmp_path) == []


def test_an_unknown_home_directory_is_an_error_and_not_a_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # No HOME, unknown user id.
    with pytest.raises(UserError, match="the home directory is unknown"):
        prepare.prepare("synthetic/lab_tiny", limit=1)
    assert files(tmp_path) == []


def test_a_release_becomes_a_data_set(mpii, tmp_path, capsys):
    place = prepare.prepare("mpii", tmp_path, manual_dir=mpii, workers=2)
    assert catalog.is_prepared("mpii", tmp_path)
    records = read("mpii", tmp_path)
    assert {split: len(found) for split, found in records.items()} == {"train": 4, "validation": 2}
    assert all(record["image"].startswith(b"\xff\xd8") for record in records["train"])
    metadata = catalog.open_dataset("mpii", tmp_path).info.metadata
    assert metadata["image_side"] == 512 and metadata["bone_length_sum"] == 0
    assert metadata["missing"] == [] and "limit" not in metadata
    assert "4 of 4" in (place / "summary.txt").read_text()
    for split in records:
        assert Image.open(place / f"{split}.png").width > 500
    assert not (tmp_path / ".preparing").exists()
    before = files(tmp_path)
    capsys.readouterr()
    prepare.prepare("mpii", tmp_path, manual_dir=mpii)
    assert "is prepared already" in capsys.readouterr().out
    assert files(tmp_path) == before


def test_tfds_opens_it_by_name_alone(mpii, human36m, tmp_path):
    """As its users do, in a process that has no builder: `tfds.data_source("mpii")`."""
    prepare.prepare("mpii", tmp_path, manual_dir=mpii, workers=1)
    for name in ("human36m", HUMAN36M):
        prepare.prepare(name, tmp_path, manual_dir=human36m, partial=True, workers=1, limit=2)
    source = tfds.data_source("mpii", split="train", data_dir=tmp_path)
    assert len(source) == 4 and source[0]["image"].shape == (512, 512, 3)
    # Every 5th frame is the default configuration; every 4th was prepared last.
    for name, step in (("human36m", 5), (HUMAN36M, 4)):
        frames = tfds.data_source(name, split="test", data_dir=tmp_path)
        assert len(frames) == 2 and {int(record["frame"]) % step for record in frames} == {0}
        assert tfds.builder(name, data_dir=tmp_path).info.metadata["step"] == step
    assert "andriluka14cvpr" in tfds.builder("mpii", data_dir=tmp_path).info.citation


def test_tfrecord_for_tfds_load(mpii, tmp_path):
    pytest.importorskip("tensorflow")
    prepare.prepare("mpii", tmp_path, manual_dir=mpii, workers=1, file_format="tfrecord")
    records = tfds.load("mpii", split="train", data_dir=tmp_path)
    names = {record["image_id"].decode() for record in records.as_numpy_iterator()}
    assert names == {f"{k:09d}_0" for k in (1, 2, 4, 5)}
    with pytest.raises(UserError, match="file format tfrecord"):
        sources.open_source(catalog.open_dataset("mpii", tmp_path), "train")
    with pytest.raises(UserError, match=r"is prepared as tfrecord.*--overwrite"):
        prepare.prepare("mpii", tmp_path, manual_dir=mpii)


@pytest.mark.parametrize(
    ("module", "options", "command"),
    [
        ("tensorflow", {"file_format": "tfrecord"}, "pip install tensorflow"),
        ("apache_beam.options.pipeline_options", {"beam_runner": "DirectRunner"},
         r"pip install 'pose3d_jax\[beam\]'"),
    ],
)  # fmt: skip
def test_a_missing_package_is_named(mpii, tmp_path, monkeypatch, module, options, command):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=command):
        prepare.prepare("mpii", tmp_path, manual_dir=mpii, **options)


def test_tfds_itself_gives_the_same_records_and_stops_at_a_damaged_file(mpii, tmp_path):
    """What `tfds build` does: no plan, no pool, the builder alone."""
    prepare.prepare("mpii", tmp_path / "ours", manual_dir=mpii, workers=1)
    config = tfds.download.DownloadConfig(manual_dir=mpii)
    builders.load_builder("mpii", tmp_path / "theirs").download_and_prepare(download_config=config)
    assert_same(read("mpii", tmp_path / "theirs"), read("mpii", tmp_path / "ours"))
    assert not (tmp_path / "theirs" / ".preparing").exists()

    release = shutil.copytree(mpii, tmp_path / "release")
    image = release / "mpii_human_pose_v1" / "images" / "000000001.jpg"
    image.write_bytes(image.read_bytes()[:1000])
    config = tfds.download.DownloadConfig(manual_dir=release)
    builder = builders.load_builder("mpii", tmp_path / "data")
    with pytest.raises(UserError, match=f"{image} cannot be read, or is damaged"):
        builder.download_and_prepare(download_config=config)
    assert not catalog.is_prepared("mpii", tmp_path / "data")


def test_what_exceeds_memory_is_sorted_in_files_without_tensorflow(mpii, tmp_path, monkeypatch):
    prepare.prepare("mpii", tmp_path / "small", manual_dir=mpii, workers=1)
    monkeypatch.setattr(tfds.core.shuffle, "MAX_MEM_BUFFER_SIZE", 1)  # As from 1 GB on.
    opened = []
    add = tfds.core.shuffle._Bucket.add

    def counted(self, key, data):
        opened.append(key)
        add(self, key, data)

    monkeypatch.setattr(tfds.core.shuffle._Bucket, "add", counted)
    prepare.prepare("mpii", tmp_path / "large", manual_dir=mpii, workers=1)
    assert len(opened) == 6
    assert_same(read("mpii", tmp_path / "large"), read("mpii", tmp_path / "small"))
    assert not list((tmp_path / "large").rglob("*.tmp"))


def test_a_part_is_told_and_does_not_stand_for_the_whole(undisturbed, human36m, tmp_path):
    with pytest.raises(UserError, match=r"S5: Videos_S5\.tgz"):
        prepare.prepare("human36m", tmp_path, manual_dir=human36m)
    assert files(tmp_path) == []
    place = prepare.prepare("human36m", tmp_path, manual_dir=human36m, partial=True, workers=1)
    metadata = catalog.open_dataset("human36m", tmp_path).info.metadata
    assert any(sentence.startswith("S5: ") for sentence in metadata["missing"])
    summary = (place / "summary.txt").read_text()
    assert "1 of 8" in summary and "0 of 8" in summary and "Missing:" in summary
    with pytest.raises(UserError, match=r"S5: Videos_S5\.tgz"):
        prepare.prepare("human36m", tmp_path, manual_dir=human36m)
    assert catalog.is_prepared("human36m", tmp_path)


def test_a_trial_is_replaced_by_the_whole(undisturbed, human36m, tmp_path):
    options = {"manual_dir": human36m, "partial": True, "workers": 1}
    prepare.prepare(HUMAN36M, tmp_path, limit=4, **options)
    assert catalog.open_dataset(HUMAN36M, tmp_path).info.metadata["limit"] == 4
    trial = read(HUMAN36M, tmp_path)
    assert {split: len(found) for split, found in trial.items()} == {"train": 4, "test": 4}
    assert len({record["action"] for record in trial["train"]}) == len(NAMES)
    prepare.prepare(HUMAN36M, tmp_path, **options)
    assert_same(read(HUMAN36M, tmp_path), undisturbed)


def test_a_trial_does_not_replace_the_whole(mpii, tmp_path):
    prepare.prepare("mpii", tmp_path, manual_dir=mpii, workers=1)
    whole = read("mpii", tmp_path)
    with pytest.raises(UserError, match=r"a trial would replace it.*--overwrite"):
        prepare.prepare("mpii", tmp_path, manual_dir=mpii, limit=1, workers=1)
    assert_same(read("mpii", tmp_path), whole)
    prepare.prepare("mpii", tmp_path, manual_dir=mpii, limit=1, workers=1, overwrite=True)
    assert {len(records) for records in read("mpii", tmp_path).values()} == {1}


def test_kill_minus_nine_and_the_same_command_again(undisturbed, human36m, tmp_path):
    process, items = begin(human36m, tmp_path, finished=2, start_new_session=True)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not catalog.is_prepared(HUMAN36M, tmp_path)
    finished = {path.name: path.stat().st_mtime_ns for path in items.glob("*.json")}
    assert finished
    process, _ = begin(human36m, tmp_path, finished=0)
    remade = {}
    while process.poll() is None:
        with contextlib.suppress(FileNotFoundError):  # It is removed at the end.
            remade |= {path.name: path.stat().st_mtime_ns for path in items.glob("*.json")}
        time.sleep(0.01)
    assert process.wait() == 0, process.communicate()
    assert {name: remade[name] for name in finished} == finished
    assert_same(read(HUMAN36M, tmp_path), undisturbed)
    assert not (tmp_path / ".preparing").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_one_sentence(human36m, tmp_path, number):
    process, _ = begin(human36m, tmp_path, finished=1)
    process.send_signal(number)
    _, errors = process.communicate(timeout=900)
    assert process.returncode == 1
    assert "error: Interrupted." in errors and "Traceback" not in errors
    assert not catalog.is_prepared(HUMAN36M, tmp_path)


def test_a_damaged_video_stops_after_all_else_is_made(tmp_path, capsys):
    write_human36m(tmp_path / "release", names=("Directions 1", "Eating"), frames=3)
    video = tmp_path / "release" / "S1" / "Videos" / "Eating.54138969.mp4"
    video.write_bytes(video.read_bytes()[:500])
    # Complete but for the video, as far as this test is concerned.
    options = {"manual_dir": tmp_path / "release", "partial": True, "workers": 1}
    prepare.prepare(HUMAN36M, tmp_path, **options)
    records = read(HUMAN36M, tmp_path)
    assert {record["action"] for record in records["train"]} == {b"Directions"}
    assert {record["action"] for record in records["test"]} == {b"Directions", b"Eating"}
    metadata = catalog.open_dataset(HUMAN36M, tmp_path).info.metadata
    assert any(f"{video} cannot be read as a video" in sentence for sentence in metadata["missing"])
    words = [HUMAN36M, "--manual_dir", str(tmp_path / "release"), "--data_dir", str(tmp_path)]
    assert prepare.main(words) == 1
    assert "error: The release is incomplete" in capsys.readouterr().err


@pytest.mark.parametrize("subjects", [("S1", "S9"), ("S9",)])
def test_a_split_without_records_is_left_out(tmp_path, subjects):
    write_human36m(tmp_path / "release", subjects=subjects, frames=3)
    video = tmp_path / "release" / "S9" / "Videos" / "Directions 1.54138969.mp4"
    video.write_bytes(b"nonsense")
    options = {"manual_dir": tmp_path / "release", "partial": True, "workers": 1}
    if "S1" in subjects:
        place = prepare.prepare(HUMAN36M, tmp_path, **options)
        assert list(read(HUMAN36M, tmp_path)) == ["train"]
        assert (place / "train.png").exists() and not (place / "test.png").exists()
    else:
        with pytest.raises(UserError, match=r"mp4 cannot be read(.|\n)*No records can be made"):
            prepare.prepare(HUMAN36M, tmp_path, **options)
        assert not catalog.is_prepared(HUMAN36M, tmp_path)


def test_errors_of_items_are_all_told_and_the_rest_is_kept(mpii, tmp_path):
    release, data = shutil.copytree(mpii, tmp_path / "release"), tmp_path / "data"
    images = sorted((release / "mpii_human_pose_v1" / "images").iterdir())
    whole = {path: path.read_bytes() for path in (images[1], images[3])}
    for path, content in whole.items():
        path.write_bytes(content[:1000])
    with pytest.raises(UserError) as error:
        prepare.prepare("mpii", data, manual_dir=release, workers=1)
    for path in whole:
        assert f"{path} cannot be read, or is damaged" in str(error.value)
    assert not catalog.is_prepared("mpii", data)
    for path, content in whole.items():
        path.write_bytes(content)
    prepare.prepare("mpii", data, manual_dir=release, workers=1)
    assert len(read("mpii", data)["train"]) == 4


def test_an_item_without_time_stops_the_preparation_and_is_processed_again(
    human36m, undisturbed, tmp_path
):
    """Not even `partial` leaves it out."""
    options = {"manual_dir": human36m, "partial": True, "workers": 1}
    with pytest.MonkeyPatch.context() as patch:

        def expired(reader, path, **_):
            raise OverloadError(f"{path}: its reader did not finish in 100 s.")

        patch.setattr(sequence, "read_isolated", expired)
        with pytest.raises(OverloadError, match=r"cdf: its reader did not finish"):
            prepare.prepare(HUMAN36M, tmp_path, **options)
    assert not catalog.is_prepared(HUMAN36M, tmp_path)
    prepare.prepare(HUMAN36M, tmp_path, **options)
    assert_same(read(HUMAN36M, tmp_path), undisturbed)


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ((work, "atomic_write"), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))),
        # ArrayRecord's words, seen on a full disk.
        ((base.RecordBuilder, "download_and_prepare"),
         RuntimeError("write() failed: No space left on device; writing f")),
    ],
)  # fmt: skip
def test_no_space_left_is_a_sentence_and_the_command_goes_on(mpii, tmp_path, place, error):
    def full(*_, **__):
        raise error

    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(UserError, match=r"No space left for mpii in .*--data_dir"),
    ):
        patch.setattr(*place, full)
        prepare.prepare("mpii", tmp_path, manual_dir=mpii, workers=1)
    assert not catalog.is_prepared("mpii", tmp_path)
    prepare.prepare("mpii", tmp_path, manual_dir=mpii, workers=1)
    assert len(read("mpii", tmp_path)["train"]) == 4


def test_a_runner_that_loses_records_is_found_out(mpii, tmp_path, monkeypatch):
    whole = base._examples

    def lossy(item, **options):
        examples = list(whole(item, **options))
        return examples[:-1] if item.split == "train" else examples

    monkeypatch.setattr(base, "_examples", lossy)
    with pytest.raises(UserError, match="4 records were made and 3 written"):
        prepare.prepare("mpii", tmp_path, manual_dir=mpii, workers=1)
    assert not catalog.is_prepared("mpii", tmp_path)


def test_only_one_process_prepares_a_data_set(mpii, tmp_path):
    scratch = tmp_path / ".preparing" / "mpii"
    with (
        prepare._single_process(scratch, "mpii"),
        pytest.raises(UserError, match=f"process {os.getpid()} on .* prepares mpii"),
    ):
        prepare.prepare("mpii", tmp_path, manual_dir=mpii)
    prepare.prepare("mpii", tmp_path, manual_dir=mpii, workers=1)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["mpii"], "error: mpii is made from files that you download yourself"),
        (["mpii", "--manual_dir", "/nowhere"], "error: --manual_dir /nowhere: there is no such"),
        (["mpi"], "error: There is no data set 'mpi'"),
    ],
)
def test_the_command_line_speaks_in_sentences(arguments, sentence, tmp_path, capsys):
    assert prepare.main([*arguments, "--data_dir", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(sentence)
    assert files(tmp_path) == []


def test_the_built_in_benchmark_is_cut_into_items_that_cover_it(tmp_path, monkeypatch):
    builder = prepare.load_builder("synthetic/lab_tiny", tmp_path)
    plan = builder.make_plan(Path(), tmp_path, partial=False)
    calls = []
    monkeypatch.setattr(
        generate, "render_records",
        lambda benchmark, split, indices: calls.append((split, list(indices))) or [],
    )  # fmt: skip
    for item in plan.items:
        plan.process(item)
    for split, size in (("train", 3000), ("test", 1000)):
        made = [index for where, indices in calls if where == split for index in indices]
        assert made == list(range(size))
    assert builder.use_threads and builder.name == "synthetic"


def test_beam_gives_the_same_records(human36m, undisturbed, tmp_path):
    pytest.importorskip("apache_beam")
    prepare.prepare(
        HUMAN36M, tmp_path, manual_dir=human36m, partial=True, workers=2,
        beam_runner="DirectRunner",
    )  # fmt: skip
    assert_same(read(HUMAN36M, tmp_path), undisturbed)
