import io

import numpy as np
import pytest
from PIL import Image

from pose3d_jax.data.loader import batch_ids, evaluation_batches, to_arrays, training_batches
from pose3d_jax.data.sources import subset, without_depth
from pose3d_jax.skeleton import NUM_JOINTS


def record(domain: str, number: int, side: int = 8) -> dict:
    """A record whose every label encodes its number."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), number, np.uint8)).save(buffer, "JPEG", quality=100)
    return {
        "image": buffer.getvalue(),
        "box": np.full(3, number, np.float32),
        "joints_2d": np.full((NUM_JOINTS, 2), number, np.float32),
        "joints_valid": np.ones(NUM_JOINTS, bool),
        "joints_3d": np.full((NUM_JOINTS, 3), number, np.float32),
        "has_3d": domain == "lab",
        "head_size": np.float32(number),
        "image_id": f"{domain}-{number}".encode(),
    }


LAB = [record("lab", i) for i in range(10)]
WILD = [record("wild", 100 + i) for i in range(7)]


def numbers(count: int, sources=(LAB, WILD), start=0, **options) -> np.ndarray:
    """The record numbers of `count` batches."""
    settings = {"batch_size": 8, "seed": 3, "image_side": 8, "threads": 2} | options
    batches = training_batches(sources, start=start, **settings)
    return np.array([next(batches)["head_size"] for _ in range(count)], int)


def test_every_share_of_a_batch_is_half_lab_half_wild():
    stream = numbers(20)
    for shares in (stream, stream.reshape(-1, 4), stream.reshape(-1, 2)):
        assert ((shares < 100).sum(-1) * 2 == shares.shape[-1]).all()


def test_a_source_given_twice_gives_twice_as_many():
    stream = numbers(20, [LAB, WILD, WILD, WILD])
    for shares in (stream, stream.reshape(-1, 4)):
        assert ((shares < 100).sum(-1) * 4 == shares.shape[-1]).all()
    seen = np.bincount(stream[stream >= 100] - 100)  # 120 draws of 7 records.
    assert len(seen) == 7 and seen.min() >= 15 and seen.max() <= 20


def test_every_epoch_has_every_record_once_in_a_new_order():
    lab = numbers(10, [LAB], batch_size=5).reshape(5, 2, 5).reshape(-1, 10)[:4]
    for epoch in lab:
        assert sorted(epoch) == list(range(10))
    assert len({tuple(epoch) for epoch in lab}) == len(lab)


def test_the_stream_depends_on_the_seed_alone():
    expected = numbers(12)
    for threads in (1, 5):
        np.testing.assert_array_equal(numbers(12, threads=threads), expected)
    assert (numbers(12, seed=4) != expected).any()


@pytest.mark.parametrize("start", [0, 1, 7])
def test_position_is_the_step(start):
    np.testing.assert_array_equal(numbers(5, start=start), numbers(12)[start : start + 5])


@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_share_one_stream(hosts):
    parts = [numbers(6, process_index=i, process_count=hosts) for i in range(hosts)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), numbers(6))


def test_batch_ids_name_the_records_of_a_batch():
    names = batch_ids([LAB, WILD], batch_size=8, seed=3, step=4)
    assert [int(name.split("-")[1]) for name in names] == numbers(5)[4].tolist()
    assert [name.split("-")[0] for name in names] == ["lab", "wild"] * 4


def test_smaller_images_are_padded_right_and_below():
    arrays = to_arrays(record("lab", 200), 12)
    assert arrays["image"].shape == (12, 12, 3) and arrays["image"].dtype == np.uint8
    assert (arrays["image"][:8, :8] == 200).all()
    assert not arrays["image"][8:].any() and not arrays["image"][:, 8:].any()


def test_evaluation_reads_everything_in_order():
    batches = evaluation_batches(LAB, batch_size=4, image_side=8, threads=2)
    seen = [batch["head_size"].tolist() for batch in batches]
    assert seen == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@pytest.mark.parametrize(("limit", "expected"), [(5, [0, 2, 4, 6, 8]), (100, list(range(10)))])
def test_a_limit_spreads_over_the_split(limit, expected):
    batches = evaluation_batches(subset(LAB, limit), batch_size=3, image_side=8, threads=1)
    seen = np.concatenate([batch["head_size"] for batch in batches])
    np.testing.assert_array_equal(seen, expected)


def test_hidden_depth_is_nobodys_label():
    hidden = without_depth(LAB)
    assert len(hidden) == len(LAB)
    assert not hidden[3]["has_3d"] and not hidden[3]["joints_3d"].any()
    assert LAB[3]["has_3d"] and LAB[3]["joints_3d"].all()
    np.testing.assert_array_equal(hidden[3]["joints_2d"], LAB[3]["joints_2d"])
