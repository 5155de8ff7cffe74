import numpy as np
import pytest

from tfds_builders.lsp import corrections
from tfds_builders.lsp.corrections import DROP, KEEP, REPLACE, correct
from tfds_builders.lsp.make_corrections import correct_person, is_tilted, mirror_order

RIGHT_WRIST, RIGHT_ELBOW, LEFT_WRIST = 6, 7, 11


def standing() -> np.ndarray:
    """A person seen from the front: the right side of the body is on the left of the image."""
    x = [-10, -10, -10, 10, 10, 10, -25, -22, -15, 15, 22, 25, 0, 0]
    y = [100, 70, 40, 40, 70, 100, 40, 20, 0, 0, 20, 40, -8, -25]
    return np.column_stack([100 + np.array(x), 50 + np.array(y), np.ones(14)]).astype(float)


def confident(value=0.9):
    confidence = np.full(14, value)
    confidence[12:] = 0.0  # The teacher has no neck and no head top.
    return confidence


def test_agreeing_labels_are_kept():
    code, source = correct_person(standing(), standing()[:, :2] + 1.0, confident())
    assert (code == KEEP).all()
    np.testing.assert_array_equal(source, np.arange(14))


@pytest.mark.parametrize("joints", [(6, 7, 8), (6, 7), (0, 1, 2), (0, 1)])
def test_exchanged_limbs_are_exchanged_back(joints):
    mirror, labels = mirror_order(), standing()
    changed = [*joints, *mirror[list(joints)]]
    labels[changed] = labels[mirror[changed]]
    code, source = correct_person(labels, standing()[:, :2], confident())
    assert (code == KEEP).all()
    np.testing.assert_array_equal(labels[source], standing())


@pytest.mark.parametrize(
    ("confidence", "code"), [(0.9, REPLACE), (0.6, DROP), (0.4, KEEP), (0.0, KEEP)]
)
def test_a_wrong_joint_depends_on_the_confidence(confidence, code):
    labels, sure = standing(), confident()
    labels[RIGHT_WRIST, :2] += (-40, -30)
    sure[RIGHT_WRIST] = confidence
    codes, _ = correct_person(labels, standing()[:, :2], sure)
    assert codes[RIGHT_WRIST] == code
    assert (np.delete(codes, RIGHT_WRIST) == KEEP).all()


def test_nothing_of_a_tilted_person_is_replaced():
    labels, answer = standing(), standing()[:, :2]
    turned = (answer - 100) @ np.array([[0, 1], [-1, 0]]) + 100
    assert is_tilted(turned) and not is_tilted(answer)
    labels[:, :2] = turned
    labels[RIGHT_WRIST, :2] += (-40, -30)
    codes, _ = correct_person(labels, turned, confident())
    assert codes[RIGHT_WRIST] == DROP


def test_a_missing_label_is_added_only_where_the_teacher_is_very_sure():
    labels, sure = standing(), confident()
    labels[[RIGHT_ELBOW, LEFT_WRIST]] = 0.0
    sure[LEFT_WRIST] = 0.75
    codes, _ = correct_person(labels, standing()[:, :2], sure)
    assert (codes[RIGHT_ELBOW], codes[LEFT_WRIST]) == (REPLACE, KEEP)


def test_a_file_of_corrections_is_applied(tmp_path):
    people = np.stack([standing(), standing(), standing()])
    code, source = np.zeros((1, 14), np.uint8), np.arange(14, dtype=np.uint8)[None]
    code[0, RIGHT_WRIST], code[0, RIGHT_ELBOW] = REPLACE, DROP
    source[0, [0, 5]] = 5, 0
    position = np.array([[123, 456]], np.int16)
    path = tmp_path / "corrections.npz"
    np.savez(path, number=np.uint16([2]), code=code, source=source, position=position)
    fixed = correct(people, path)
    np.testing.assert_array_equal(fixed[[0, 2]], people[[0, 2]])
    np.testing.assert_allclose(fixed[1, RIGHT_WRIST], [12.3, 45.6, 1.0])
    np.testing.assert_array_equal(fixed[1, RIGHT_ELBOW], 0.0)
    np.testing.assert_array_equal(fixed[1, [0, 5]], people[1, [5, 0]])


def test_the_bundled_file_is_small_and_consistent():
    stored = np.load(corrections.CORRECTIONS)
    assert corrections.CORRECTIONS.stat().st_size < 400_000
    assert (stored["code"] == REPLACE).sum() == len(stored["position"])
    assert len(np.unique(stored["number"])) == len(stored["number"])
    assert stored["number"].min() >= 1 and stored["number"].max() <= 10_000
    # Neck and head top stay as labelled: the teacher does not have them.
    assert (stored["code"][:, 12:] == KEEP).all()
