"""Figures of depth edges: what is drawn where, and in which unit."""

import io

import numpy as np
import pytest
import torch

from pmgs_lib.errors import ParameterError
from pmgs_lib.training import Descent
from pmgs_lib.ui import PixelRow, plot_descents, plot_edge_maps, plot_pixel_rows


def drawn(figure):
    figure.savefig(io.BytesIO(), format="png", dpi=50)
    return figure


def pictures(figure) -> list:
    return [axes.images[0] for axes in figure.axes if axes.images]


def test_edge_maps_share_the_depth_scale_and_mark_the_row(views):
    given = views(1)
    distances = torch.rand(8, 12)
    distances[0, 0] = torch.nan
    edges = torch.zeros(8, 12, dtype=torch.bool)
    edges[:, 4:7] = True
    maps = {"exact depth": given.depth[0], "predicted depth": 1.5 * given.depth[0]}
    figure = drawn(plot_edge_maps(given.images[0], maps, edges, distances, row=3))
    _, exact, predicted, loss = pictures(figure)[:4]
    assert exact.norm is predicted.norm
    assert loss.norm.vmin == 0
    assert loss.norm.vmax == pytest.approx(np.nanpercentile(distances.numpy(), 99.5))
    assert bool(loss.get_array().mask[0, 0])
    assert figure.axes[0].lines[0].get_ydata()[0] == 3
    outline = figure.axes[3].collections[0].get_paths()[0].vertices
    assert (outline[:, 0].min(), outline[:, 0].max()) == (3.5, 6.5)


def test_a_row_is_drawn_from_above_with_its_pull(views):
    camera = views(1).cameras[0]
    surface = torch.stack([torch.linspace(-1, 1, 10), torch.zeros(10), torch.full((10,), 4.0)], dim=-1)
    surface[5:, 2] = 2.0
    points = surface + torch.tensor([0.0, 9.0, 0.5])
    floating = torch.arange(10) >= 7
    pull = torch.tensor([0.0, 0.0, -0.5]).expand(10, 3)
    rows = {"before": PixelRow(points, floating, pull), "after": PixelRow(surface, torch.zeros(10, dtype=torch.bool))}
    figure = drawn(plot_pixel_rows(rows, surface, camera))
    before, after = figure.axes
    line, near, far = (line.get_xydata() for line in before.lines)
    # The line is broken once, where depth steps from 4 to 2.
    assert np.isnan(line).all(-1).sum() == 1
    np.testing.assert_allclose(near, points[:7, [0, 2]].numpy(), atol=1e-6)
    np.testing.assert_allclose(far, points[7:, [0, 2]].numpy(), atol=1e-6)
    (arrows,) = before.collections
    np.testing.assert_allclose(np.stack((arrows.U, arrows.V), -1), pull[:, [0, 2]].numpy(), atol=1e-6)
    assert not after.collections
    assert before.get_aspect() == after.get_aspect() == 1.0
    assert before.get_xlim() == after.get_xlim()


def test_descents_are_shares_of_their_start_beside_the_exact_size():
    points = torch.zeros(1, 2, 3)
    descents = {"a": Descent(points, (4.0, 2.0, 1.0), (1.0, 0.9, 0.8)), "b": Descent(points, (1.0,), (1.0,))}
    shares, sizes = drawn(plot_descents(descents, 1.25)).axes
    np.testing.assert_array_equal(shares.lines[0].get_ydata(), [100, 50, 25])
    np.testing.assert_array_equal(sizes.lines[0].get_ydata(), [1.0, 0.9, 0.8])
    assert sizes.lines[-1].get_ydata()[0] == 1.25
    assert len({line.get_linestyle() for line in shares.lines}) == 2


def test_nothing_to_draw_is_refused(views):
    with pytest.raises(ParameterError, match="plot_descents"):
        plot_descents({}, 1.0)
    with pytest.raises(ParameterError, match="plot_pixel_rows"):
        plot_pixel_rows({}, torch.zeros(2, 3), views(1).cameras[0])
    row = PixelRow(torch.ones(2, 3), torch.zeros(2, dtype=torch.bool))
    with pytest.raises(ParameterError, match="plot_pixel_rows"):
        plot_pixel_rows({"a": row}, torch.ones(2, 3), views(1).cameras)
