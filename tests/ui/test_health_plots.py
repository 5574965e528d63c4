"""Figures of PM-Loss show every scene they were given, or say how many they do not."""

import io

import numpy as np
import pytest
import torch

from pmgs_lib.errors import ParameterError
from pmgs_lib.losses import PointmapLoss, measure_health
from pmgs_lib.ui import plot_alignment, plot_health, style


def drawn(figure):
    """The figure, after drawing it: warnings are errors here."""
    figure.savefig(io.BytesIO(), format="png", dpi=50)
    return figure


def health_of(count: int, *, broken: int = 0, **options):
    """`count` scenes, each more disturbed than the one before, and `broken` ones."""
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(count + broken, 60, 3, generator=generator)
    spread = torch.linspace(0.02, 0.3, count + broken)[:, None, None]
    pointmap = points + spread * torch.randn(points.shape, generator=generator)
    pointmap[count:, 0] = torch.nan
    return measure_health(PointmapLoss(**options), points, pointmap, [f"scene {i}" for i in range(count + broken)])


def texts(figure) -> str:
    return "\n".join(text.get_text() for text in figure.texts) + (figure.get_suptitle() or "")


def test_worst_scenes_stand_on_top_and_the_numbers_are_theirs():
    health = health_of(3)
    figure = drawn(plot_health(health))
    losses, residuals, scales, curves = figure.axes
    assert [tick.get_text() for tick in losses.get_yticklabels()] == [scene.key for scene in health.scored]
    assert losses.get_ylim()[0] > losses.get_ylim()[1]
    np.testing.assert_allclose(losses.collections[0].get_offsets()[:, 0], [s.chamfer for s in health.scored])
    np.testing.assert_allclose(residuals.lines[0].get_xdata(), [s.residual for s in health.scored])
    np.testing.assert_allclose(scales.lines[0].get_xdata(), [s.scale for s in health.scored])
    np.testing.assert_allclose(curves.lines[0].get_xdata(), health.penalties(health.scored[0])[1:])
    assert curves.lines[0].get_ydata()[-1] == 100
    assert figure.get_suptitle() == (
        "3 scenes: 3 scored, 0 left out; threshold rule (dashed: 100) took hold in 0; thick curve: the worst"
    )


def test_left_out_scenes_are_named_with_their_reason():
    figure = drawn(plot_health(health_of(2, broken=1)))
    assert "3 scenes: 2 scored, 1 left out" in texts(figure)
    assert "left out: scene 2: 1 of 60 points of the pointmap are NaN or infinite" in texts(figure)


def test_more_scenes_than_fit_are_counted():
    figure = drawn(plot_health(health_of(20, broken=6)))
    assert len(figure.axes[0].get_yticklabels()) == 12
    assert "the 12 worst are drawn" in texts(figure)
    assert "and 2 more left out" in texts(figure)


def test_the_threshold_is_drawn_where_it_matters():
    health = health_of(3, threshold=0.01)
    figure = drawn(plot_health(health))
    assert health.scenes_above > 0
    (line,) = figure.axes[0].lines
    assert line.get_xdata()[0] == 0.01
    colors = figure.axes[0].collections[0].get_facecolors()
    assert len(np.unique(colors, axis=0)) == 2
    assert not health_of(3).scenes_above
    assert not drawn(plot_health(health_of(3))).axes[0].lines


def test_with_nothing_scored_only_the_account_is_drawn():
    figure = drawn(plot_health(health_of(0, broken=2)))
    assert not figure.axes
    assert "2 scenes: 0 scored, 2 left out" in texts(figure)


@pytest.mark.parametrize("options", [{"penalty": "absolute"}, {"normalization": "spread"}])
def test_units_are_those_of_the_loss(options):
    figure = drawn(plot_health(health_of(2, **options)))
    expected = "[scene units]" if "penalty" in options else "[squared sizes of the prediction]"
    assert figure.axes[0].get_title(loc="left") == f"loss {expected}"


def test_clouds_before_and_after_alignment(views):
    given = views(2)
    surface = given.cameras.unproject(given.depth)
    pointmap = 3 * surface + 5
    details = PointmapLoss().details(surface[None], pointmap[None], per_pixel=True)
    figure = drawn(plot_alignment(surface, pointmap, details.pixels.aligned[0], given.cameras))
    grid = np.array(figure.axes).reshape(2, 2)
    for axes in grid.flat:
        assert axes.get_aspect() == 1.0
        assert len(axes.collections) == 2
    below, above = (collection.get_offsets() for collection in grid[0, 1].collections)
    np.testing.assert_allclose(below, above, atol=1e-4)
    below, above = (collection.get_offsets() for collection in grid[0, 0].collections)
    assert np.abs(below - above).max() > 1
    # From the first camera, down points down.
    assert grid[1, 1].get_ylim()[0] > grid[1, 1].get_ylim()[1]
    assert "its own" in grid[0, 0].get_xlabel()
    assert "its own" not in grid[0, 1].get_xlabel()


def test_the_two_clouds_differ_in_brightness():
    from matplotlib.colors import to_rgb

    from pmgs_lib.ui.health_plots import CENTRES, POINTMAP

    dark, light = (np.dot(to_rgb(color), [0.2126, 0.7152, 0.0722]) for color in (CENTRES, POINTMAP))
    assert light > 1.5 * dark
    assert {CENTRES, POINTMAP} <= set(style.CYCLE)


def test_pixels_left_out_are_not_drawn_and_none_left_is_refused(views):
    given = views(1)
    surface = given.cameras.unproject(given.depth)
    aligned = surface.clone()
    aligned[0, 0] = torch.nan
    figure = plot_alignment(surface, surface, aligned, given.cameras)
    assert len(figure.axes[1].collections[0].get_offsets()) == surface[0, 1:].numel() // 3
    with pytest.raises(ParameterError, match="no finite point"):
        plot_alignment(surface, surface, torch.full_like(surface, torch.nan), given.cameras)
    with pytest.raises(ParameterError, match="cameras of shape"):
        plot_alignment(surface, surface, surface, given.cameras[0])
