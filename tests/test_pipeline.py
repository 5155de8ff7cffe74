"""Stages side by side: order, bounds, errors, and the same poses as without them."""

import itertools
import threading
import time

import numpy as np
import pytest
import small_checkpoint
from small_checkpoint import photo

from pose3d_jax.errors import UserError
from pose3d_jax.prediction import pipeline
from pose3d_jax.prediction.pipeline import Frame, ahead, mapped, predict_frames
from pose3d_jax.prediction.predictor import Predictor

pytestmark = pytest.mark.usefixtures("compile_quickly")


@pytest.fixture(scope="module")
def predictor(compile_quickly) -> Predictor:
    return Predictor.from_checkpoint(small_checkpoint.directory(), batch_size=4)


@pytest.mark.parametrize("stage", [ahead, lambda items: mapped(lambda item: item, items, 3)])
def test_a_stage_keeps_the_order_and_ends(stage):
    assert list(stage(iter(range(20)))) == list(range(20))
    assert list(stage([])) == []


@pytest.mark.parametrize("stage", [ahead, lambda items: mapped(lambda item: item, items, 2)])
def test_a_stage_makes_no_more_than_a_few_before_they_are_asked_for(stage):
    made = []
    items = stage(made.append(number) or number for number in itertools.count())
    for asked in range(1, 6):
        next(items)
        time.sleep(0.02)
        assert len(made) <= asked + 3
    items.close()


@pytest.mark.parametrize("stage", [ahead, lambda items: mapped(lambda item: item, items, 2)])
def test_who_stops_asking_stops_what_comes_before(stage):
    stopped = threading.Event()

    def numbers():
        try:
            yield from itertools.count()
        finally:
            stopped.set()

    items = stage(numbers())
    next(items)
    items.close()
    assert stopped.is_set()


@pytest.mark.parametrize("stage", [ahead, lambda items: mapped(lambda item: 1 // item, items, 2)])
def test_an_error_comes_after_what_was_before_it(stage):
    def numbers():
        yield from (1, 1)
        yield 1 // (0 if stage is ahead else 1) - 1

    items = stage(numbers())
    assert [next(items), next(items)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(items)


def frames() -> list[Frame]:
    """With a person, several, more than a batch holds, nobody; one broken, one with a bad box."""

    def broken():
        raise UserError("no image")

    boxes = [None, [(1, 2, 30, 40), (5, 5, 20, 10)], [(2, 2, 30, 30)] * 9, [], (0, 0, 30, 30), []]
    pictures = [photo(40 + i, 50, seed=i) for i in range(len(boxes))]
    good = [
        Frame(lambda picture=picture: picture, own, note=number)
        for number, (picture, own) in enumerate(zip(pictures, boxes))
    ]
    bad = [Frame(broken, None, note="broken"), Frame(good[0].load, (1, 1, 0, 5), note="bad")]
    return [*good[:3], bad[0], *good[3:5], bad[1], good[5]]


@pytest.mark.parametrize("budget", [0, 10_000, pipeline.BUDGET])
def test_frames_get_their_own_peoples_poses_in_their_order(predictor, monkeypatch, budget):
    monkeypatch.setattr(pipeline, "BUDGET", budget)
    given = frames()
    seen = list(predict_frames(predictor, given, margin=1.1, bone_length_sum=3900.0))
    assert [one.note for one in seen] == [frame.note for frame in given]
    for frame, one in zip(given, seen):
        if isinstance(frame.note, str):
            assert isinstance(one.pose, UserError) and one.picture is None
            continue
        picture = frame.load()
        expected = predictor(picture, frame.boxes, margin=1.1, bone_length_sum=3900.0)
        assert one.size == picture.shape[1::-1] and len(one.pose) == len(expected)
        np.testing.assert_array_equal(one.picture, picture)
        np.testing.assert_allclose(one.pose.joints_2d, expected.joints_2d, atol=1e-3)
        np.testing.assert_allclose(one.pose.joints_3d, expected.joints_3d, atol=1e-2)
        np.testing.assert_array_equal(one.pose.image, 0)


def test_batches_are_filled_across_frames(predictor, monkeypatch):
    counts = []
    start = predictor.batches.start
    monkeypatch.setattr(
        predictor.batches, "start", lambda batch: counts.append(batch.count) or start(batch)
    )
    picture = photo(40, 50)
    list(predict_frames(predictor, [Frame(lambda: picture, [(2, 2, 30, 30)] * 3)] * 6))
    assert counts == [4, 4, 4, 4, 2]


def test_frames_with_nobody_do_not_wait_for_a_batch(predictor, monkeypatch):
    monkeypatch.setattr(pipeline, "BUDGET", 20_000)
    made = []
    picture = photo(40, 50)
    empty = (Frame(lambda: picture, [], note=made.append(i) or i) for i in itertools.count())
    seen = predict_frames(predictor, empty)
    for number in range(30):
        assert next(seen).note == number
        assert len(made) < number + 30
    seen.close()


def test_pictures_are_reduced_when_people_are_cut_out(predictor):
    picture = photo(80, 100)
    (one,) = predict_frames(predictor, [Frame(lambda: picture, None, longest=50)])
    assert one.picture.shape == (40, 50, 3) and one.size == (100, 80)
    np.testing.assert_allclose(one.pose.joints_2d, predictor(picture).joints_2d, atol=1e-3)
