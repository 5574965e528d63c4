"""Figures of intervals and paired differences: what is drawn where, and told apart without colour."""

import io

import numpy as np
import pytest

from pmgs_lib.errors import ParameterError
from pmgs_lib.evaluation import interval_over_seeds, paired_tests
from pmgs_lib.ui import plot_paired_differences, plot_seed_means, style


def drawn(figure):
    figure.savefig(io.BytesIO(), format="png", dpi=50)
    return figure


def paired(differences, metric="psnr"):
    first = {f"scene {place}": 20.0 for place in range(len(differences))}
    second = {scene: 20.0 + value for scene, value in zip(first, differences, strict=True)}
    return paired_tests({metric: [first]}, {metric: [second]})


def test_seed_means_have_bars_of_their_interval_and_a_mark_a_seed():
    plain, other = interval_over_seeds([20.0, 20.4, 20.8]), interval_over_seeds([21.0, 21.2, 21.7])
    figure = drawn(
        plot_seed_means({"plain": {"psnr": plain}, "other": {"psnr": other, "ssim": other}}, ["psnr", "ssim"])
    )
    psnr, ssim = figure.axes
    assert psnr.get_title(loc="left") == "PSNR [dB], higher is better"
    for place, interval in enumerate((plain, other)):
        bars = psnr.containers[place].lines[2][0].get_segments()[0]
        np.testing.assert_allclose(bars, [[interval.low, place], [interval.high, place]])
    marks = [line for line in psnr.lines if line.get_markerfacecolor() == "none"]
    np.testing.assert_allclose(marks[1].get_xdata(), other.values)
    assert len({line.get_marker() for line in marks}) == 2  # told apart by shape
    assert [text.get_text() for text in ssim.texts] == ["not available", "21.300"]
    assert [text.get_text() for text in psnr.texts] == ["20.40", "21.30"]


def test_a_single_training_has_a_mark_without_a_bar_and_controls_are_grey():
    rows = {"several": {"psnr": interval_over_seeds([20.0, 20.4])}, "single": {"psnr": 22.5}, "control": {"psnr": 12.0}}
    (panel,) = drawn(plot_seed_means(rows, ["psnr"], ["control"])).axes
    assert len(panel.containers) == 1  # bars of one arm
    alone, control = (line for line in panel.lines if len(line.get_xdata()) == 1 and line.get_ydata()[0] in (1, 2))
    assert (alone.get_xdata()[0], control.get_xdata()[0]) == (22.5, 12.0)
    assert (alone.get_color() != style.CONTROL, control.get_color()) == (True, style.CONTROL)
    assert [label.get_text() for label in panel.get_yticklabels()] == list(rows)


@pytest.mark.parametrize(("metric", "better"), [("psnr", [0.1, 0.3]), ("lpips", [-0.2])])
def test_paired_differences_are_sorted_and_filled_where_better(metric, better):
    tests = paired([0.3, -0.2, 0.1, 0.0], metric)
    (panel,) = drawn(plot_paired_differences(tests, "new", "old")).axes
    _, mean, filled, hollow, crossed = panel.lines
    assert mean.get_ydata()[0] == pytest.approx(0.05)
    np.testing.assert_allclose(filled.get_ydata(), better)
    np.testing.assert_allclose(sorted([*hollow.get_ydata(), *better]), [-0.2, 0.1, 0.3])
    assert (hollow.get_markerfacecolor(), crossed.get_marker(), len(crossed.get_ydata())) == ("white", "x", 1)
    assert [label.get_text() for label in panel.get_xticklabels()] == ["scene 1", "scene 3", "scene 2", "scene 0"]
    assert panel.get_ylabel() == "new minus old"
    assert panel.get_title(loc="left").endswith(f"better in {len(better)} of 4, 1 tied")
    band = panel.patches[0].get_extents().transformed(panel.transData.inverted())
    assert (band.y0, band.y1) == pytest.approx((tests[0].interval.low, tests[0].interval.high))


def test_many_scenes_are_counted_instead_of_named():
    (panel,) = drawn(plot_paired_differences(paired(np.linspace(-1, 2, 40)), "new", "old")).axes
    assert panel.get_xlabel() == "40 scenes, in order of the difference"
    assert not panel.get_xticklabels()


def test_nothing_to_draw_is_refused():
    with pytest.raises(ParameterError, match="plot_seed_means: 0 arms"):
        plot_seed_means({}, ["psnr"])
    with pytest.raises(ParameterError, match="plot_paired_differences: no tests"):
        plot_paired_differences([], "a", "b")
    with pytest.raises(ParameterError, match="no metric is called"):
        plot_seed_means({"a": {}}, ["psrn"])
