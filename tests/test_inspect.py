import numpy as np
import pytest
from miniature import write_human36m, write_mpii_people

from pose3d_jax import skeleton
from pose3d_jax.data.catalog import NotPreparedError
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
    assert "AvgSumLen): 4297.0" in text and "sum by subject: S1 4196.0" in text
    assert "subjects: S1 4" in text and "actions: Directions 2, Eating 2" in text
    assert "joints_3d project 0.00 px (median) and 0.0" in text
    assert "test: 4 records" in text


def test_what_is_missing_is_told(data_dir):
    assert "missing: S5: Videos_S5.tgz" in inspect.inspect("human36m", data_dir)


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


def test_the_command_line(data_dir, tmp_path, capsys):
    assert inspect.main(["nothing"]) == 1
    assert capsys.readouterr().err.startswith("error: There is no data set 'nothing'")
    assert inspect.main(["mpii", "--data_dir", str(tmp_path)]) == 1
    assert "python -m tfds_builders.prepare mpii" in capsys.readouterr().err
    arguments = ["mpii", "--data_dir", str(data_dir), "--out", str(tmp_path)]
    assert inspect.main(arguments) == 0
    assert "validation: 2 records" in capsys.readouterr().out


def test_what_is_not_prepared(tmp_path):
    with pytest.raises(NotPreparedError):
        inspect.inspect("human36m", tmp_path)
