import shutil

import numpy as np
import pytest
from miniature import write_human36m, write_mpii_people

from pose3d_jax import skeleton
from pose3d_jax.data.catalog import open_dataset
from pose3d_jax.data.loader import training_batches
from pose3d_jax.data.sources import open_source
from pose3d_jax.errors import UserError
from tfds_builders import inspect
from tfds_builders.prepare import prepare


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    data_dir, release = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("release")
    write_human36m(release / "human36m", names=("Directions", "Eating"), frames=9)
    prepare("human36m", data_dir, manual_dir=release / "human36m", partial=True, workers=1)
    write_mpii_people(release / "mpii")
    prepare("mpii", data_dir, manual_dir=release / "mpii", workers=1)
    return data_dir


def test_human36m_reproduces_the_canonical_skeleton(data_dir):
    """The miniature's people have the canonical bones; so must what is read back."""
    lines = inspect.inspect("human36m", data_dir).splitlines()
    start = lines.index("train: 4 records")
    for (a, b), length in zip(skeleton.BONES, skeleton.BONE_LENGTHS, strict=True):
        name = f"{skeleton.JOINT_NAMES[a]} – {skeleton.JOINT_NAMES[b]}"
        (line,) = (line for line in lines[start:][:30] if name in line)
        mean, deviation, canonical = map(float, line.split()[-3:])
        assert (mean, deviation, canonical) == (round(length, 1), 0.0, round(length, 1))
    text = "\n".join(lines[start:])
    assert "scaled to: 4297.0" in text and "sum by subject: S1 4196.0" in text
    assert "subjects: S1 4" in text and "actions: Directions 2, Eating 2" in text
    assert "joints_3d project 0.00 px (median) and 0.0" in text
    assert "test: 4 records" in text
    assert any("missing: S5: Videos_S5.tgz" in line for line in lines[:start])


def test_people_in_the_wild_have_no_bone_lengths(data_dir):
    text = inspect.inspect("mpii", data_dir)
    assert "train: 4 records" in text and "validation: 2 records" in text
    assert "100.0 % annotated" in text and "bone lengths" not in text and "project" not in text


def test_limit_reads_a_part(data_dir):
    assert "train: 4 records (3 read)" in inspect.inspect("human36m", data_dir, limit=3)


def test_deviation_and_projection_notice_what_is_wrong():
    """A wrong joint order or camera would show here: twice the bone, and pixels away."""
    rng = np.random.default_rng(0)
    joints = rng.normal(size=(2, 16, 3)) * 100 + (0, 0, 4000)
    joints[1, :, :2] *= 2
    labels = {
        "joints_3d": joints.astype(np.float32),
        "joints_2d": np.zeros((2, 16, 2), np.float32),
        "to_source": np.tile(np.eye(2, 3, dtype=np.float32), (2, 1, 1)),
        "camera": np.array(["54138969", "54138969"]),
        "subject": np.array(["S1", "S5"]),
        "has_3d": np.array([True, True]),
    }
    ends = joints[:, skeleton.BONES]
    expected = np.linalg.norm(ends[:, :, 0] - ends[:, :, 1], axis=-1).sum(-1)
    text = "\n".join(inspect.describe_bones(labels, 0))
    assert f"{expected.mean():.1f}  {expected.std():.1f}" in text
    assert f"S1 {expected[0]:.1f}, S5 {expected[1]:.1f}" in text
    error = inspect.projection_error(labels)
    x = 1145.0494 * joints[0, 3, 0] / joints[0, 3, 2] + 512.5415
    y = 1143.7811 * joints[0, 3, 1] / joints[0, 3, 2] + 515.4515
    np.testing.assert_allclose(error[0, 3], np.hypot(x, y), rtol=1e-5)


def test_projection_is_computed_in_64_bits():
    """In 32, a joint at the edge of the image would be off by some 1e-4 px."""
    low, high = (-1500, -1500, 2500), (1500, 1500, 5500)
    joints = np.random.default_rng(0).uniform(low, high, (200, 16, 3)).astype(np.float32)
    fx, fy, cx, cy = 1145.0494, 1143.7811, 512.5415, 515.4515
    exact = joints[..., :2].astype(np.float64) * (fx, fy) / joints[..., 2:].astype(np.float64)
    labels = {
        "joints_3d": joints,
        "joints_2d": np.zeros((200, 16, 2), np.float32),
        "to_source": np.tile(np.eye(2, 3, dtype=np.float32), (200, 1, 1)),
        "camera": np.array(["54138969"] * 200),
    }
    error = inspect.projection_error(labels)
    np.testing.assert_allclose(
        error, np.linalg.norm(exact + np.array([cx, cy]), axis=-1), rtol=1e-12
    )


def test_the_command_line(data_dir, tmp_path, capsys):
    assert inspect.main(["nothing"]) == 1
    assert capsys.readouterr().err.startswith("error: There is no data set 'nothing'")
    assert inspect.main(["mpii", "--data_dir", str(tmp_path)]) == 1
    assert "python -m tfds_builders.prepare mpii" in capsys.readouterr().err
    arguments = ["mpii", "--data_dir", str(data_dir), "--out", str(tmp_path)]
    assert inspect.main(arguments) == 0
    assert "validation: 2 records" in capsys.readouterr().out
    (tmp_path / "mpii_train.png").unlink()
    (tmp_path / "mpii_train.png").mkdir()
    assert inspect.main(arguments) == 1
    assert capsys.readouterr().err.strip().endswith("mpii_train.png: Is a directory.")


@pytest.mark.parametrize("damage", ["a flipped bit", "cut off", "gone"])
def test_damaged_records_are_a_sentence_with_the_command_that_mends_them(
    data_dir, tmp_path, capsys, damage
):
    shutil.copytree(data_dir / "mpii", tmp_path / "mpii")
    (file,) = (tmp_path / "mpii").rglob("*train.array_record*")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(content if damage == "a flipped bit" else content[: len(content) // 2])
    source = open_source(open_dataset("mpii", tmp_path), "train")
    batches = training_batches(
        [source], batch_size=len(source), seed=0, start=0, image_side=512, threads=2
    )
    with pytest.raises(UserError) as refusal:
        next(batches)
    sentence = str(refusal.value)
    assert "the records of mpii, split 'train'" in sentence
    assert f"prepare mpii --manual_dir DIR --data_dir {tmp_path} --overwrite" in sentence
    assert inspect.main(["mpii", "--data_dir", str(tmp_path), "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: Cannot read the records of mpii")
