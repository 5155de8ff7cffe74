import dataclasses
import errno
import itertools
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import small_checkpoint
from absl.flags import FLAGS, IllegalFlagValueError
from absl.testing import flagsaver
from PIL import Image
from small_checkpoint import assert_same, photo

from pose3d_jax import predict, skeleton
from pose3d_jax.errors import UserError
from pose3d_jax.images import videos
from pose3d_jax.prediction import detection, exports
from pose3d_jax.prediction.arguments import AUTO
from pose3d_jax.prediction.inputs import (
    FEW_IMAGES,
    Input,
    Options,
    choose_compute,
    list_inputs,
    read_boxes,
)
from pose3d_jax.prediction.pipeline import predict_files
from pose3d_jax.prediction.predictor import Predictor


def run(*words, code: int = 0) -> str:
    command = [sys.executable, "-m", "pose3d_jax.predict", "--compilation_cache=", *map(str, words)]
    process = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert process.returncode == code, process.stdout
    assert "Traceback" not in process.stdout
    return process.stdout


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A folder with two images in different places, one that is broken, and a video."""
    folder = tmp_path_factory.mktemp("inputs") / "photos"
    (folder / "more").mkdir(parents=True)
    Image.fromarray(photo(60, 80)).save(folder / "a.png")
    Image.fromarray(photo(50, 50, seed=1)).save(folder / "more" / "a.png")
    (folder / "broken.jpg").write_text("no image")
    (folder / "notes.txt").write_text("not an input")
    with videos.write_video(folder / "walk.mp4", Fraction(25)) as add:
        for i in range(5):
            add(np.roll(photo(64, 96, seed=2), 3 * i, axis=1))
    return folder


def test_the_program_predicts_what_it_can(inputs, tmp_path):
    out = tmp_path / "out"
    checkpoint = small_checkpoint.directory()
    said = run("--checkpoint", checkpoint, inputs, "--nodetect", "--out", out, code=1)
    assert "broken.jpg is not an image" in said and "1 of 4 inputs failed" in said
    produced = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    assert produced == {
        f"photos/{place}/{file}"
        for place in ("a.png", "more/a.png")
        for file in ("poses.json", "overlay.png", "figure.png")
    } | {"photos/walk.mp4/poses.json", "photos/walk.mp4/overlay.mp4"}

    content = json.loads((out / "photos" / "a.png" / "poses.json").read_text())
    assert (content["width"], content["height"]) == (80, 60)
    assert content["joint_names"] == list(skeleton.JOINT_NAMES)
    (person,) = content["people"]
    found = [[person[name]] for name in ("joints_2d", "joints_3d", "confidence")]
    assert_same(found, Predictor.from_checkpoint(checkpoint)(photo(60, 80)))
    with Image.open(out / "photos" / "a.png" / "overlay.png") as overlay:
        assert overlay.size == (80, 60)


@pytest.fixture(scope="module")
def predictor():
    return Predictor.from_checkpoint(small_checkpoint.directory(), batch_size=2)


def predict_one(predictor, source, place, boxes=None, **options) -> str:
    """What is told of one input, or the error."""
    ((_, told),) = predict_files(predictor, [Input(source, place)], Options(boxes=boxes, **options))
    if isinstance(told, UserError):
        raise told
    return told


def test_a_video_is_predicted_frame_by_frame(predictor, inputs, tmp_path):
    source = inputs / "walk.mp4"
    assert (
        predict_one(predictor, source, tmp_path, np.array([[5, 5, 40, 40]])) == "5 frames, 1 person"
    )
    content = json.loads((tmp_path / "poses.json").read_text())
    assert content["rate"] == 25
    assert [row["frame"] for row in content["frames"]] == list(range(5))
    assert [row["time"] for row in content["frames"]] == [0, 0.04, 0.08, 0.12, 0.16]
    with videos.open_video(source) as video:
        frames = list(video.frames)
    assert len(frames) == 5
    for row, frame in zip(content["frames"], frames):
        expected = predictor(frame.image, (5, 5, 40, 40))
        joints = row["people"][0]["joints_2d"]
        np.testing.assert_allclose(joints, expected.joints_2d[0], atol=1e-3)
    with videos.open_video(tmp_path / "overlay.mp4") as annotated:
        assert [frame.image.shape for frame in annotated.frames] == [(64, 96, 3)] * 5


def test_ctrl_c_between_two_results_waits_for_both(predictor, inputs, tmp_path, monkeypatch):
    place, replace = tmp_path / "out", Path.replace

    def interrupted(file, target):
        replace(file, target)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Path, "replace", interrupted)
    # Where the tests run in the background, a shell has Ctrl-C ignored from here on down.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            predict_one(predictor, inputs / "a.png", place, figures=False)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert {path.name for path in place.iterdir()} == {"poses.json", "overlay.png"}


def test_ctrl_c_leaves_whole_results_and_no_traceback(inputs, tmp_path):
    (tmp_path / "many").mkdir()
    for number in range(200):
        shutil.copy(inputs / "a.png", tmp_path / "many" / f"{number}.png")
    command = [sys.executable, "-m", "pose3d_jax.predict", "--compilation_cache=", "--nodetect"]
    command += [f"--checkpoint={small_checkpoint.directory()}", f"--out={tmp_path / 'out'}"]
    process = subprocess.Popen(
        [*command, tmp_path / "many"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Where the tests run in the background, a shell has Ctrl-C ignored from here on down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not list(tmp_path.glob("out/many/*/poses.json")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=900)
    assert process.returncode == 130, said
    assert said.endswith("interrupted\n") and "Traceback" not in said
    found = list(tmp_path.glob("out/many/*"))
    assert 0 < len(found) < 200
    for place in found:
        names = {path.name for path in place.iterdir()}
        assert names == {"figure.png", "overlay.png", "poses.json"}


def test_a_box_of_no_use_is_a_sentence_with_the_files_name(inputs, tmp_path, caplog):
    checkpoint, out = str(small_checkpoint.directory()), tmp_path / "out"
    words = {"checkpoint": checkpoint, "box": [(1.0, 2.0, 0.0, 4.0)], "compilation_cache": ""}
    with (
        flagsaver.flagsaver(out=str(out), **words),
        pytest.raises(UserError, match="1 of 1 inputs failed"),
    ):
        predict.main(["predict", str(inputs / "a.png")])
    assert f"{inputs / 'a.png'}: the box (1, 2, 0, 4) has no area" in caplog.text
    assert not out.exists()


@pytest.mark.parametrize("source", ["a.png", "walk.mp4"])
def test_results_are_there_together_or_not_at_all(predictor, inputs, tmp_path, source, monkeypatch):
    place = tmp_path / "out"
    with monkeypatch.context() as patch:
        full = OSError(errno.ENOSPC, "No space left on device")
        patch.setattr(exports, "write", lambda *_: (_ for _ in ()).throw(full))
        with pytest.raises(UserError, match=r"cannot be written: .*out: No space left"):
            predict_one(predictor, inputs / source, place)
    assert not place.exists()
    (place / "poses.json").mkdir(parents=True)
    with pytest.raises(UserError, match=r"out/poses\.json: Is a directory"):
        predict_one(predictor, inputs / source, place)
    assert [path.name for path in place.iterdir()] == ["poses.json"]
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        predict_one(predictor, inputs / source, tmp_path / "file" / "a")


def test_a_directory_that_cannot_be_written_is_named_before_any_work(inputs, monkeypatch):
    monkeypatch.setattr(Predictor, "from_checkpoint", lambda *_, **__: pytest.fail("it predicts"))
    with (
        flagsaver.flagsaver(out="/proc/results"),
        pytest.raises(UserError, match="cannot be written"),
    ):
        predict.main(["predict", str(inputs / "a.png")])


@pytest.mark.parametrize("source", ["a.png", "walk.mp4"])
def test_numbers_are_the_same_without_pictures(predictor, inputs, tmp_path, source):
    for place, overlays in (("with", True), ("without", False)):
        predict_one(predictor, inputs / source, tmp_path / place, overlays=overlays, figures=False)
    (alone,) = (tmp_path / "without").iterdir()
    assert alone.read_text() == (tmp_path / "with" / "poses.json").read_text()


def test_smoothing_stays_between_the_frames(predictor, inputs, tmp_path):
    predict_one(predictor, inputs / "walk.mp4", tmp_path, smooth=True)
    predict_one(predictor, inputs / "walk.mp4", tmp_path / "raw")

    def joints(place):
        rows = json.loads((place / "poses.json").read_text())["frames"]
        return np.array([row["people"][0]["joints_2d"] for row in rows])

    smooth, raw = joints(tmp_path), joints(tmp_path / "raw")
    np.testing.assert_array_equal(smooth[0], raw[0])
    assert (smooth >= raw.min(0) - 1e-3).all() and (smooth <= raw.max(0) + 1e-3).all()
    assert np.abs(np.diff(smooth, axis=0)).sum() < np.abs(np.diff(raw, axis=0)).sum()


def test_nobody_is_an_answer(predictor, inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(detection, "THRESHOLD", np.inf)
    said = predict_one(predictor, inputs / "a.png", tmp_path / "image", AUTO)
    assert "no person detected" in said
    content = json.loads((tmp_path / "image" / "poses.json").read_text())
    assert content["people"] == []
    predict_one(predictor, inputs / "walk.mp4", tmp_path / "video", AUTO)
    content = json.loads((tmp_path / "video" / "poses.json").read_text())
    assert [row["people"] for row in content["frames"]] == [[]] * 5


def test_detected_people_of_a_video_are_tracked(predictor, inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(detection, "THRESHOLD", -np.inf)  # The weights are random.
    monkeypatch.setattr(detection, "LOWEST_SCORE", 0.0)
    predict_one(predictor, inputs / "walk.mp4", tmp_path, AUTO, smooth=True)
    content = json.loads((tmp_path / "poses.json").read_text())
    assert len(content["frames"]) == 5 and all(row["people"] for row in content["frames"])
    ids = [{person["id"] for person in row["people"]} for row in content["frames"]]
    assert all(a & b for a, b in itertools.pairwise(ids))


def test_inputs_have_places_of_their_own(tmp_path, monkeypatch):
    for folder in ("a", "a/folder.jpg", "b", "empty"):  # A folder is one, whatever its name.
        (tmp_path / folder).mkdir()
    for path in ("a/x.jpg", "b/x.jpg"):
        (tmp_path / path).touch()
    out = tmp_path / "out"
    jobs, problems = list_inputs([tmp_path / "a", tmp_path / "b" / "x.jpg"], out)
    assert not problems
    assert [job.directory for job in jobs] == [out / "a" / "x.jpg", out / "x.jpg"]
    jobs, _ = list_inputs([tmp_path / "a" / "folder.jpg" / ".."], out)
    assert [job.directory for job in jobs] == [out / "a" / "x.jpg"]  # No place is outside.
    with pytest.raises(UserError, match="same name"):
        list_inputs([tmp_path / "a" / "x.jpg", tmp_path / "b" / "x.jpg"], out)
    # What is wrong with one input does not keep the others.
    jobs, problems = list_inputs([tmp_path / "empty", tmp_path / "a" / "x.jpg"], out)
    assert len(jobs) == 1 and "no images or videos in" in str(*problems)
    x = tmp_path / "a" / "x.jpg"
    same = tmp_path / "a" / ".." / "a" / "x.jpg"
    monkeypatch.setenv("HOME", str(tmp_path / "a"))
    assert list_inputs([x, same, "~/x.jpg"], out)[0] == [(x, out / "x.jpg")]
    with pytest.raises(UserError, match=r"which is a file.*--out"):
        list_inputs([x], tmp_path / "a")
    with pytest.raises(UserError, match="empty"):  # An unset variable of a shell.
        list_inputs([""], out)


def test_results_are_no_inputs(tmp_path):
    results = [f"out/a.jpg/{name}" for name in ("poses.json", "overlay.png", "figure.png")]
    for name in ("a.jpg", *results, "other/b.heic", ".DS_Store", ".thumbnails/a.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for out in (tmp_path / "out", tmp_path, tmp_path / "another"):
        jobs, problems = list_inputs([tmp_path], out)
        assert [job.source for job in jobs] == [tmp_path / "a.jpg"] and not problems


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.jpg").touch()
    scan = os.scandir

    def scandir(path):  # Root may read everything.
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    jobs, problems = list_inputs([tmp_path, tmp_path / ("n" * 300)], tmp_path / "out")
    assert len(jobs) == 2 and str(*problems) == f"{tmp_path / 'closed'}: Permission denied."


def test_a_video_is_known_by_its_content(inputs, tmp_path):
    shutil.copy(inputs / "walk.mp4", tmp_path / "recording")
    shutil.copy(inputs / "a.png", tmp_path / "photo")
    found, _ = list_inputs([tmp_path], tmp_path / "out")
    assert [(item.source.name, item.is_video) for item in found] == [
        ("photo", False), ("recording", True)
    ]  # fmt: skip


def test_boxes_of_a_file(predictor, inputs, tmp_path):
    (tmp_path / "boxes.json").write_text(json.dumps({"a.png": [[5, 5, 40, 40], [1, 1, 9, 9]]}))
    boxes = read_boxes(str(tmp_path / "boxes.json"))
    assert predict_one(predictor, inputs / "a.png", tmp_path / "out", boxes) == "2 people"
    with pytest.raises(UserError, match=r"walk\.mp4: the file of boxes has no entry 'walk.mp4'"):
        predict_one(predictor, inputs / "walk.mp4", tmp_path / "out", boxes)
    for text in ("[1, 2]", "{"):
        (tmp_path / "boxes.json").write_text(text)
        with pytest.raises(UserError, match=r"--boxes .*boxes\.json"):
            read_boxes(str(tmp_path / "boxes.json"))


@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_boxes_are_read_as_utf_8(tmp_path, start):
    (tmp_path / "boxes.json").write_text(start + '{"é.jpg": [1, 2, 3, 4]}', "utf-8")
    assert read_boxes(str(tmp_path / "boxes.json")) == {"é.jpg": [1, 2, 3, 4]}
    (tmp_path / "boxes.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="cannot be read"):
        read_boxes(str(tmp_path / "boxes.json"))


def test_exports_and_joint_sets(predictor, inputs, tmp_path):
    box = np.array([[5, 5, 40, 40]])
    options = {"exports": ("csv", "trc", "bvh"), "joint_set": "h36m"}
    predict_one(predictor, inputs / "walk.mp4", tmp_path, box, **options)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"poses.json", "overlay.mp4", "poses.csv", "poses.trc", "poses.bvh"}
    content = json.loads((tmp_path / "poses.json").read_text())
    assert len(content["joint_names"]) == 17
    assert len(content["frames"][0]["people"][0]["joints_3d"]) == 17


def refuse(path: Path, message: str) -> None:
    with pytest.raises(UserError, match=message), videos.open_video(path) as video:
        next(video.frames)


def test_a_play_list_opens_no_other_file(tmp_path, inputs):
    shutil.copy(inputs / "walk.mp4", tmp_path / "walk.mp4")
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile walk.mp4\n")
    refuse(tmp_path / "list.mp4", "cannot be read as a video")


def test_frames_of_any_size_are_not_decoded(inputs, monkeypatch):
    monkeypatch.setattr(videos, "MAX_PIXELS", 100)
    refuse(inputs / "walk.mp4", "cannot be read as a video")


def test_a_video_that_cannot_be_written_is_named(tmp_path):
    with (
        pytest.raises(UserError, match=r"absent/walk\.mp4 cannot be written: No such file"),
        videos.write_video(tmp_path / "absent" / "walk.mp4", Fraction(25)) as add,
    ):
        add(photo(64, 96))


def test_flags_are_checked():
    with pytest.raises(UserError, match="Usage"):
        predict.main(["predict"])
    own = FLAGS["box"].parser
    assert own.parse("1,2,3,4.5") == (1, 2, 3, 4.5)
    for text in ("1,2,3", "a,b,c,d", ""):
        with pytest.raises(ValueError, match="takes four numbers"):
            own.parse(text)
    with (
        pytest.raises(IllegalFlagValueError, match="csv, trc, bvh"),
        flagsaver.flagsaver(export=["fbx"]),
    ):
        pass


def test_weights_that_give_no_numbers_are_a_sentence(predictor, inputs, tmp_path, monkeypatch):
    """Matplotlib refuses to draw them, and JSON has no word for them."""
    predict_squares = Predictor.predict_squares

    def damaged(self, *arguments):
        pose = predict_squares(self, *arguments)
        return dataclasses.replace(
            pose,
            joints_2d=np.full_like(pose.joints_2d, np.nan),
            joints_3d=np.full_like(pose.joints_3d, np.inf),
        )

    monkeypatch.setattr(Predictor, "predict_squares", damaged)
    sources = [inputs / "a.png", inputs / "walk.mp4", inputs / "more" / "a.png"]
    jobs = [Input(source, tmp_path / str(i)) for i, source in enumerate(sources)]
    for (job, told), source in zip(predict_files(predictor, jobs, Options()), sources, strict=True):
        assert job.source == source
        assert isinstance(told, UserError) and f"{source}: the network's output" in str(told)
    assert not list(tmp_path.rglob("*"))


def test_a_few_bytes_that_describe_many_frames_are_refused(isolated, inputs, tmp_path):
    """FFmpeg makes room for all of them when it opens the file: gigabytes."""
    content, path = bytearray((inputs / "walk.mp4").read_bytes()), tmp_path / "a.mp4"
    for table, numbers in (
        (b"stsz", (1, 1 << 26)),
        (b"stts", (1, 1 << 26, 1)),
        (b"stsc", (1, 1, 1 << 26, 1)),
    ):
        struct.pack_into(f">{len(numbers)}I", content, content.index(table) + 8, *numbers)
    path.write_bytes(content)
    refuse(path, r"a\.mp4 is damaged or hostile: opening it takes more")


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 30), (30, 1), (7, 9)])
def test_videos_of_any_size_are_written(tmp_path, height, width):
    with videos.write_video(tmp_path / "a.mp4", Fraction(25)) as add:
        add(np.full((height, width, 3), 200, np.uint8))
    with videos.open_video(tmp_path / "a.mp4") as video:
        ((_, frame),) = video.frames
    assert frame.shape == (*(max(size - size % 2, 2) for size in (height, width)), 3)
    np.testing.assert_allclose(frame, 200, atol=3)


def test_few_images_are_predicted_in_float32(inputs):
    image, video = (Input(inputs / name, inputs) for name in ("a.png", "walk.mp4"))
    images = [image] * FEW_IMAGES
    assert choose_compute(images[1:], "auto") == "float32"
    assert choose_compute(images[1:], "bfloat16") == "bfloat16"
    for others in (images, [video], []):
        assert choose_compute(others, "auto") == "auto"
