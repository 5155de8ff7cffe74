"""Images without a person: collected, pasted, mixed into training, and learned as empty."""

import io

import numpy as np
import pytest
from PIL import Image
from test_detector import RECORDS

from pose3d_jax.data import framing
from pose3d_jax.data.backgrounds import EVERY, background, open_backgrounds, with_backgrounds
from pose3d_jax.errors import UserError
from tfds_builders import backgrounds


@pytest.fixture
def folder(tmp_path):
    """A green photograph and its copy, a blue one to skip, a cut-out red thing, a damaged file."""
    folder = tmp_path / "unpacked"
    (folder / "people").mkdir(parents=True)
    Image.new("RGB", (1200, 600), (0, 255, 0)).save(folder / "green.png")
    Image.new("RGB", (600, 300), (0, 250, 0)).save(folder / "copy.png")
    Image.new("RGB", (600, 300), (0, 0, 255)).save(folder / "people" / "blue.png")
    Image.new("RGB", (20, 300)).save(folder / "narrow.png")
    thing = Image.new("RGBA", (80, 80))
    thing.paste((255, 0, 0, 255), (20, 20, 60, 60))
    thing.save(folder / "thing.png")
    (folder / "broken.jpg").write_bytes(b"no image")
    return folder


def test_each_different_image_is_collected_once(folder, tmp_path):
    assert backgrounds.main([str(folder), "--skip", "people", "--data_dir", str(tmp_path)]) == 0
    collected = open_backgrounds("backgrounds", tmp_path)
    images = {path.suffix: Image.open(path) for path in collected}
    assert len(collected) == 2
    assert images[".jpg"].size[0] in (600, 900) and images[".jpg"].getpixel((9, 9))[1] > 240
    assert images[".png"].mode == "RGBA" and images[".png"].getpixel((1, 1))[3] == 0


def test_a_folder_without_images_is_an_error(tmp_path, capsys):
    assert backgrounds.main([str(tmp_path), "--data_dir", str(tmp_path / "data")]) != 0
    assert "no images" in capsys.readouterr().err and not (tmp_path / "data").exists()
    with pytest.raises(UserError, match="no images"):
        open_backgrounds("data", tmp_path)
    assert open_backgrounds("", tmp_path) == []


def test_a_damaged_image_is_an_error_before_training(folder):
    with pytest.raises(UserError, match=r"broken\.jpg"):
        open_backgrounds(str(folder), None)


def shares(image):
    """The shares of the red and of the green pixels of an image."""
    strong = np.asarray(image) > 200
    red, green, blue = (strong[..., channel] for channel in range(3))
    return (red & ~green & ~blue).mean(), (green & ~red & ~blue).mean()


def test_a_thing_covers_a_part_of_a_background_and_a_photograph_all_of_it(folder):
    rng = np.random.default_rng(0)
    arguments = RECORDS[2], 90, 60, rng
    red = [shares(background(*arguments, [folder / "thing.png"]))[0] for _ in range(30)]
    assert max(red) < 0.9 and sum(share > 0.01 for share in red) > 10
    green = [shares(background(*arguments, [folder / "green.png"]))[1] for _ in range(30)]
    assert 10 < sum(share == 1.0 for share in green) < 30
    assert background(*arguments).shape == (60, 90, 3)


def test_one_record_of_ten_shows_nobody(folder):
    people = [dict(record, image_id=b"%d" % number) for number, record in enumerate(RECORDS * 9)]
    mixed = with_backgrounds(people, [folder / "green.png"], 320)
    assert len(mixed) == len(people) * EVERY // (EVERY - 1)
    records = list(mixed)
    empty = records[EVERY - 1 :: EVERY]
    assert [r for r in records if r["joints_valid"].any()] == people
    assert not any(record["joints_valid"].any() for record in empty)
    assert Image.open(io.BytesIO(empty[0]["image"])).size == (320, 320)
    assert mixed[EVERY - 1]["image"] == empty[0]["image"]
    assert set(empty[0]) >= set(people[0]) and all(r["box"][2] <= 320 for r in empty)


def test_without_joints_all_maps_are_known_to_be_empty():
    valid = np.array([[True] * 10 + [False] * 6, [False] * 16])
    whole = framing.whole_people({"joints_valid": valid, "box": np.ones((2, 3), np.float32)})
    np.testing.assert_array_equal(whole.visible, valid)
    np.testing.assert_array_equal(whole.known, [valid[0], [True] * 16])
