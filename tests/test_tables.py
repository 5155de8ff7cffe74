"""Tables: rows beside the published ones, and how they are written."""

import numpy as np
import pytest

from pose3d_jax.evaluation import comparison, published, tables
from pose3d_jax.stages import METHODS


def test_published_rows_stand_before_ours_on_the_papers_data_sets_alone():
    ours = {"ours": {"table2": {"head": 99.0, "mean": 91.0}}}
    (table,) = tables.dataset_tables(ours, "human36m", 2000)
    assert list(table.rows)[-2:] == [f"{METHODS[3]} (published)", "ours"]
    assert table.rows[f"{METHODS[3]} (published)"] == {"mean": 91.62}
    (table,) = tables.dataset_tables(ours, "synthetic/lab", 2000)
    assert list(table.rows) == ["ours"]


def test_the_papers_row_stands_beside_ours_where_both_have_3d_errors():
    summary = {"PCKh@0.5": 90.0, "PCKh@0.5 weak perspective": 92.0, "MPJPE": 70.0}

    def results(dataset, summary):
        return {"method": METHODS[3], "data": {dataset: {"tables": {"summary": summary}}}}

    (beside,) = tables.tables_beside_paper(results("human36m", summary))
    assert list(beside.rows.values()) == [{"MPJPE": 64.90, "PCKh@0.5": 91.62}, summary]
    text = tables.as_text(beside)
    assert "64.9" in text and "70.0" in text
    assert all(sentence in text for sentence in published.KNOWN_DIFFERENCES)
    assert tables.tables_beside_paper(results("synthetic/lab", summary)) == []
    assert tables.tables_beside_paper(results("human36m", {"PCKh@0.5": 90.0})) == []


def test_published_averages_are_near_those_of_their_actions():
    """Guards against slips in copying: the paper's averages weigh actions by their images."""
    for name, row in published.HUMAN36M["table1"].items():
        actions = [value for column, value in row.items() if column != "all"]
        assert len(actions) == 15
        if name != "Zhou et al.":  # Its printed average is of another protocol.
            assert np.mean(actions) == pytest.approx(row["all"], abs=2.0), name
    for name, row in published.MPI_INF_3DHP["table3"].items():
        scenes = [row[scene] for scene in ("Studio GS", "Studio no GS", "Outdoor")]
        assert min(scenes) < row["all"] < max(scenes), name


def test_text_is_aligned_and_markdown_has_the_same_cells():
    table = tables.Table(
        "Errors, mm,", {"first": {"a": 1.25, "bone sum": 0.987}, "second": {"a": (10.0, 0.5)}}
    )
    lines = tables.as_text(table).splitlines()
    assert lines[0] == "Errors, mm,"
    assert len({len(line) for line in lines[1:]}) == 1
    assert lines[1].split() == ["a", "bone", "sum", "(truth", "=", "1)"]
    assert lines[2].split() == ["first", "1.2", "0.99"]
    assert lines[3].split() == ["second", "10.0", "±", "0.5", "–"]
    markdown = tables.as_markdown(table).splitlines()
    assert markdown[2:] == [
        "|  | a | bone sum (truth = 1) |",
        "| --- | ---: | ---: |",
        "| first | 1.2 | 0.99 |",
        "| second | 10.0 ± 0.5 | – |",
    ]


def evaluation_of(error: float, symmetry: float) -> dict:
    found = {"summary": {"MPJPE": error, "symmetry": symmetry}, "table1": {"all": error}}
    baselines = {"mean pose": {"MPJPE": 300.0}}
    return {"data": {"synthetic/wild": {"images": 9, "tables": found, "baselines": baselines}}}


def test_a_comparison_shows_mean_and_deviation_and_paired_differences():
    results = {
        METHODS[2]: [evaluation_of(100.0, 60.0), evaluation_of(120.0, 70.0)],
        METHODS[3]: [evaluation_of(101.0, 50.0), evaluation_of(121.0, 58.0)],
    }
    summary, table1 = comparison.comparison_tables(results)
    assert summary.rows[METHODS[2]]["MPJPE"] == pytest.approx((110, np.sqrt(200)))
    # Seeds differ by 20 mm, the methods by 1 mm in each: pairs show it, means do not.
    assert summary.rows["3D+2D: w − wo geo"]["MPJPE"] == pytest.approx((1, 0))
    assert summary.rows["3D+2D: w − wo geo"]["symmetry"] == pytest.approx((-11, np.sqrt(2)))
    assert summary.rows["mean pose"] == {"MPJPE": 300.0}
    assert "3D: w − wo geo" not in summary.rows and "mean pose" not in table1.rows


def test_one_seed_has_no_deviation():
    (summary, _) = comparison.comparison_tables({METHODS[3]: [evaluation_of(100.0, 60.0)]})
    assert summary.rows[METHODS[3]]["MPJPE"] == 100.0
