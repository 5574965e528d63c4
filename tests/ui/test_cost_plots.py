"""Figures of ablations and timings say the numbers they are given, and nothing for what is not there."""

import pandas as pd
import pytest

from pmgs_lib.errors import ParameterError
from pmgs_lib.evaluation.scaling import loads
from pmgs_lib.ui import plot_changes, plot_growth


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


@pytest.fixture
def summary() -> pd.DataFrame:
    rows = [
        ("mask", "two", 0.0, 0.0),
        ("mask", "many", 0.012, -1.5),
        ("rays", "two", 0.05, 0.25),
        ("rays", "many", 0, 0),
    ]
    return pd.DataFrame(rows, columns=["behaviour", "situation", "depth_change", "psnr_change"])


def test_cells_say_the_change_and_stay_empty_where_nothing_changed(summary):
    figure = plot_changes(summary)
    left, right = figure.axes
    assert texts(left) == ["-1.50", "+0.25"]
    assert texts(right) == ["1.20", "5.00"]
    assert [label.get_text() for label in left.get_yticklabels()] == ["mask", "rays"]
    assert [label.get_text() for label in left.get_xticklabels()] == ["two", "many"]
    assert left.images[0].norm.vmin == -left.images[0].norm.vmax


def test_a_behaviour_that_was_not_measured_somewhere_says_so(summary):
    left, right = plot_changes(summary[:3]).axes
    assert texts(left) == ["-1.50", "+0.25", "n/a"]
    assert texts(right) == ["1.20", "5.00", "n/a"]


def test_a_summary_without_rows_or_columns_is_refused(summary):
    for unusable in (summary[:0], summary.drop(columns="psnr_change")):
        with pytest.raises(ParameterError, match=r"plot_changes: .* rows with columns"):
            plot_changes(unusable)


@pytest.fixture
def timings() -> pd.DataFrame:
    rows = []
    for load in loads([2, 4, 8], [[10, 10], [20, 20]]):
        for setting, factor in (("exact", 2.0), ("fast", 1.0)):
            seconds = factor * load.views * load.pixels**0.5 / 100
            rows.append({"setting": setting, **vars(load), "pixels": load.pixels, "median_s": seconds})
    table = pd.DataFrame(rows)
    return table.assign(low_s=0.9 * table["median_s"], high_s=1.2 * table["median_s"], peak_bytes=None)


def test_growth_is_drawn_with_its_exponents_and_spread(timings):
    figure = plot_growth(timings)
    by_views, by_pixels = figure.axes
    legend = [text.get_text() for text in by_views.get_legend().get_texts()]
    assert legend == ["exact, exponent 1.00", "fast, exponent 1.00"]
    assert "exponent 0.50" in by_pixels.get_legend().get_texts()[0].get_text()
    assert by_views.get_xscale() == by_views.get_yscale() == "log"
    points, caps, _ = by_views.containers[0]
    assert points.get_ydata().tolist() == pytest.approx([0.4, 0.8, 1.6])
    assert caps[0].get_ydata().tolist() == pytest.approx([0.36, 0.72, 1.44])
    assert "100 pixels each" in by_views.get_title(loc="left")


def test_memory_is_drawn_where_it_is_known(timings):
    known = timings.assign(peak_bytes=2**30 * timings["views"])
    figure = plot_growth(known)
    assert len(figure.axes) == 4
    assert figure.axes[2].containers[0][0].get_ydata().tolist() == pytest.approx([2, 4, 8])
    assert "exponent 0.00" in figure.axes[3].get_legend().get_texts()[0].get_text()


def test_one_point_is_drawn_without_a_law(timings):
    figure = plot_growth(timings[timings["views"] == 2][:2])
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["exact", "fast"]


def test_a_table_without_times_is_refused(timings):
    with pytest.raises(ParameterError, match=r"plot_growth: .* without \['median_s'\]"):
        plot_growth(timings.drop(columns="median_s"))
