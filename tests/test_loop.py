"""What the training loop warns of."""

import logging

import pytest

from pose3d_jax.training.loop import warn_of_collapse


@pytest.mark.parametrize(
    ("means", "warns"),
    [
        ({"bone_ratio_lab": 1.07, "bone_ratio_wild": 1.20}, False),
        ({"bone_ratio_lab": 1.16, "bone_ratio_wild": 1.41}, True),  # depths of a zigzag
        ({"bone_ratio_lab": 1.50, "bone_ratio_wild": 1.00}, True),  # no depth in the wild
        ({"bone_ratio_lab": 1.07}, False),  # lab images alone
        ({"heatmap_loss": 0.001}, False),
    ],
)
def test_depths_that_leave_the_labs_are_warned_of(caplog, means, warns):
    with caplog.at_level(logging.WARNING):
        warn_of_collapse(means)
    assert [("collapsing" in record.message) for record in caplog.records] == [True] * warns
