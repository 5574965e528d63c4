"""Figures to beat: what counts as measured, which file counts, and what a verdict is of."""

import json
from pathlib import Path

import pytest

from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.suite.performance import (
    PerformanceTable,
    Target,
    compare_performance,
    read_measurements,
    read_targets,
)
from pmgs_lib.ui.performance_plots import plot_performance

REPORTS = Path(__file__).parents[2] / "reports"
FAST = Target("fast", ("model", "fast_ms"), "ms", at_most=10.0, released=40.0)
CLOSE = Target("close", ("model", "psnr"), "dB", at_least=45.0)
ABSENT = Target("absent", ("model", "step_ms"), "ms", at_most=5.0)
CONTENT = {
    "title": "t",
    "device": "d",
    "date": "2026-01-02",
    "model": {"commit": "abc", "fast_ms": [9, 8, 30], "psnr": 44},
}


def test_the_verdict_is_of_the_median_and_of_the_limit_s_direction():
    fast, close, absent = compare_performance([FAST, CLOSE, ABSENT], {"file": CONTENT})
    assert (fast.median, fast.verdict, fast.ratio) == (9, "MET", 40 / 9)
    assert (close.verdict, close.ratio) == ("MISSED", None)
    assert (absent.median, absent.verdict, absent.origin) == (None, "NOT MEASURED", "")
    assert fast.origin == "file, commit abc"


def test_the_latest_file_counts_where_it_has_the_figure():
    older = {**CONTENT, "date": "2025-01-01", "model": {"fast_ms": 20, "step_ms": 4}}
    fast, absent = compare_performance([FAST, ABSENT], {"new": CONTENT, "old": older})
    assert (fast.median, fast.source) == (9, "new")
    assert (absent.median, absent.source) == (4, "old")


def test_what_is_no_number_is_refused(tmp_path):
    with pytest.raises(DataError, match="expected a number or a list of numbers"):
        compare_performance([FAST], {"file": {"model": {"fast_ms": "quick"}}})
    (tmp_path / "m.json").write_text(json.dumps({"title": "t", "device": "d"}))
    with pytest.raises(DataError, match="date is None"):
        read_measurements(tmp_path / "m.json")
    with pytest.raises(DataError, match="not readable as JSON"):
        read_measurements(tmp_path / "absent.json")
    for entry in ({"work": "w"}, {"work": "w", "path": ["a"], "unit": "ms"}):
        (tmp_path / "t.json").write_text(json.dumps([entry]))
        with pytest.raises(DataError, match="expected"):
            read_targets(tmp_path / "t.json")


def test_the_table_says_what_nobody_measured():
    table = PerformanceTable(compare_performance([FAST, CLOSE, ABSENT], {"a<b": CONTENT}), "Figures")
    assert "absent  ≤ 5 ms  NOT MEASURED" in repr(table)
    assert "a&lt;b, commit abc" in table._repr_html_()
    assert table._repr_html_().count("NOT MEASURED") == 1


def test_the_figure_draws_ours_limit_and_released_code():
    figure = plot_performance(compare_performance([FAST, CLOSE, ABSENT], {"file": CONTENT}), "ms")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["fast", "absent"]
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {
        "ours, median", "must be at most", "released code",
    }  # fmt: skip
    with pytest.raises(ParameterError, match="nothing in GiB"):
        plot_performance(compare_performance([FAST], {}), "GiB")


def test_the_repository_s_files_fit_each_other():
    targets = read_targets(REPORTS / "performance_targets.json")
    files = {path.name: read_measurements(path) for path in REPORTS.glob("performance*_h200.json")}
    found = compare_performance(targets, files)
    measured = [comparison for comparison in found if comparison.values]
    assert len(files) == 2
    assert len(measured) >= 21
    assert len({target.work for target in targets}) == len(targets)
