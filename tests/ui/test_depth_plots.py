"""Figures of depth: what is drawn, on which scales, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import LogNorm

from pmgs_lib.errors import ParameterError
from pmgs_lib.ui.depth_plots import plot_depths, plot_errors_by_views


def maps(figure):
    """Drawn arrays with their scale, by axes in order; pictures have three channels."""
    images = [image for axes in figure.axes for image in axes.get_images()]
    return [image for image in images if image.get_array().ndim == 2]


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]


def test_predicted_exact_and_error_stand_below_each_other(views):
    given = views(3)
    figure = plot_depths(given, 1.25 * given.depth, ["frame 7", "frame 8"])
    drawn = maps(figure)
    assert len(drawn) == 9
    predicted, exact, error = drawn[:3], drawn[3:6], drawn[6:]
    scales = {(image.norm.vmin, image.norm.vmax) for image in predicted + exact}
    assert len(scales) == 1
    assert all(isinstance(image.norm, LogNorm) for image in predicted + exact)
    for image in error:
        np.testing.assert_allclose(image.get_array(), 0.25, rtol=1e-5)
        assert (image.norm.vmin, image.norm.vmax) == (0, 0.5)
    assert titles(figure) == ["frame 7", "frame 8", "view 2", "predicted depth", "exact depth", "relative error"]


def test_pixels_without_exact_depth_have_no_error(views):
    given = views(2)
    hole = given.depth.clone()
    hole[0, 2, 3] = 0
    error = maps(plot_depths(replace(given, depth=hole), given.depth))[4].get_array()
    assert bool(error.mask[2, 3])
    assert int(error.mask.sum()) == 1


def test_without_exact_depth_there_are_two_rows(views):
    given = views(2, depth=False)
    figure = plot_depths(given, views(2).depth)
    assert len(maps(figure)) == 2
    assert titles(figure) == ["view 0", "view 1", "predicted depth"]


def test_more_views_than_fit_are_left_out(views):
    given = views(10)
    assert len(maps(plot_depths(given, given.depth))) == 3 * 8


def test_a_single_view_is_drawn_with_both_bars(views):
    given = views(1)
    plot_depths(given, given.depth).canvas.draw()


def test_depth_of_another_shape_is_refused(views):
    with pytest.raises(ParameterError, match="a depth for each of its pixels"):
        plot_depths(views(3), views(2).depth)


def test_errors_are_drawn_over_the_number_of_views():
    errors = {8: {"abs_rel": 0.1, "delta1": 0.9}, 2: {"abs_rel": 0.3, "delta1": 0.7}}
    figure = plot_errors_by_views(errors, ["abs_rel", "delta1"])
    first, second = figure.axes
    np.testing.assert_array_equal(first.lines[0].get_xydata(), [[2, 0.3], [8, 0.1]])
    np.testing.assert_array_equal(second.lines[0].get_xydata(), [[2, 0.7], [8, 0.9]])
    assert (first.get_title(loc="left"), second.get_title(loc="left")) == (
        "AbsRel, lower is better",
        "δ1, higher is better",
    )


@pytest.mark.parametrize(("errors", "metrics"), [({}, ["abs_rel"]), ({2: {"abs_rel": 1.0}}, ["psnr"]), ({2: {}}, [])])
def test_nothing_to_draw_is_refused(errors, metrics):
    with pytest.raises(ParameterError, match="plot_errors_by_views"):
        plot_errors_by_views(errors, metrics)
