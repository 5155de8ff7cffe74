"""Concurrent stages: order, bounds, errors, and the same poses as without them."""

import itertools
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import small_checkpoint
from PIL import Image
from small_checkpoint import assert_same, photo

from pose3d_jax.prediction import pipeline
from pose3d_jax.prediction.inputs import Input, Options
from pose3d_jax.prediction.pipeline import (
    ImageResult,
    load_images,
    parallel_map,
    predict_images,
    prefetch,
)  # fmt: skip
from pose3d_jax.prediction.predictor import Predictor


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.from_checkpoint(small_checkpoint.directory(), batch_size=4)


STAGES = pytest.mark.parametrize(
    "stage", [prefetch, lambda items: parallel_map(lambda item: item, items, 2)]
)


@STAGES
def test_a_stage_keeps_the_order_and_ends(stage):
    assert list(stage(iter(range(20)))) == list(range(20))
    assert list(stage([])) == []


@STAGES
def test_a_stage_makes_no_more_than_a_few_before_they_are_asked_for(stage):
    made = []
    items = stage(made.append(number) or number for number in itertools.count())
    for asked in range(1, 6):
        next(items)
        time.sleep(0.02)
        assert len(made) <= asked + 3
    items.close()


@STAGES
def test_closing_a_stage_closes_its_source(stage):
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


@pytest.mark.parametrize(
    "stage", [prefetch, lambda items: parallel_map(lambda item: 1 // item, items, 2)]
)
def test_an_error_comes_after_what_was_before_it(stage):
    def numbers():
        yield from (1, 1)
        yield 1 // (0 if stage is prefetch else 1) - 1

    items = stage(numbers())
    assert [next(items), next(items)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(items)


@pytest.fixture
def files(tmp_path):
    """Photos with one person, several, more than a batch, none; a damaged file; a bad box."""
    boxes = {
        "0.png": None,
        "1.png": [(1, 2, 30, 40), (5, 5, 20, 10)],
        "2.png": [(2, 2, 30, 30)] * 9,
        "3.png": [],
        "4.png": (0, 0, 30, 30),
        "bad.png": (1, 1, 0, 5),
        "broken.png": None,
        "last.png": [],
    }
    for number, name in enumerate(boxes):
        Image.fromarray(photo(40 + number, 50, seed=number)).save(tmp_path / name)
    (tmp_path / "broken.png").write_text("no image")
    return tmp_path, boxes


@pytest.mark.parametrize("limit", [0, 10_000, pipeline.MAX_BYTES])
def test_images_get_their_own_peoples_poses_in_their_order(predictor, files, monkeypatch, limit):
    monkeypatch.setattr(pipeline, "MAX_BYTES", limit)
    folder, boxes = files
    options = Options(boxes=boxes, margin=1.1, bone_length_sum=3900.0)
    given = [ImageResult(Input(folder / name, folder / "out")) for name in boxes]
    results = list(predict_images(predictor, load_images(iter(given)), options))
    assert [result.input.source.name for result in results] == list(boxes)
    for number, (name, result) in enumerate(zip(boxes, results)):
        if name in ("bad.png", "broken.png"):
            assert name in str(result.error) and result.pose is None
            continue
        picture = photo(40 + number, 50, seed=number)
        expected = predictor(picture, boxes[name], margin=1.1, bone_length_sum=3900.0)
        assert len(result.pose) == len(expected)
        np.testing.assert_array_equal(result.image, picture)
        assert_same(result.pose, expected)
        np.testing.assert_array_equal(result.pose.image, 0)


def test_batches_are_filled_across_images(predictor, monkeypatch):
    counts = []
    predict_squares = predictor.predict_squares
    monkeypatch.setattr(
        predictor,
        "predict_squares",
        lambda images, squares, *more: (
            counts.append(sum(map(len, squares))) or predict_squares(images, squares, *more)
        ),
    )
    results = [ImageResult(Input(Path("a"), Path("b")), photo(40, 50)) for _ in range(6)]
    list(predict_images(predictor, iter(results), Options(boxes=[(2, 2, 30, 30)] * 2)))
    assert counts == [4, 4, 4]


def test_memory_is_bounded_by_the_chunks(predictor):
    made = []
    results = (
        ImageResult(Input(Path(str(n)), Path("b")), photo(40, 50))
        for n in itertools.count()
        if not made.append(n)
    )
    predicted = predict_images(predictor, results, Options(boxes=[]))
    for number in range(30):
        assert str(next(predicted).input.source) == str(number)
        assert len(made) < number + 30
    predicted.close()
