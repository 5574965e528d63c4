"""Depth edges and floating points on a step that is known to the pixel."""

from dataclasses import replace

import pytest
import torch

from pmgs_lib import Cameras, Views
from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.evaluation import aligned_to_surface, floating_points, near_depth_edges, surface_distances
from pmgs_lib.geometry.pose import quaternion_to_matrix

HEIGHT, WIDTH, EDGE = 12, 20, 8


def step_views() -> Views:
    """A wall at 4 m, and one at 2 m before its right part from column `EDGE` on."""
    depth = torch.full((1, HEIGHT, WIDTH), 4.0)
    depth[..., EDGE:] = 2.0
    intrinsics = torch.tensor([[[1.0, 0, 0.5], [0, 1.5, 0.5], [0, 0, 1.0]]])
    cameras = Cameras(torch.eye(4)[None], intrinsics)
    images = torch.zeros(1, 3, HEIGHT, WIDTH)
    return Views(images, cameras, torch.tensor(0.5), torch.tensor(10.0), depth)


@pytest.mark.parametrize("reach", [0, 1, 3])
def test_edges_reach_so_many_pixels_to_both_sides(reach):
    edges = near_depth_edges(step_views().depth, ratio=1.5, reach=reach)
    columns = torch.arange(WIDTH)
    expected = (columns >= EDGE - 1 - reach) & (columns <= EDGE + reach)
    assert torch.equal(edges, expected.expand(1, HEIGHT, WIDTH))


def test_edges_turn_with_the_picture_and_do_not_depend_on_the_unit():
    depth = torch.rand(2, 9, 13) + 1
    options = {"ratio": 1.6, "reach": 0}
    edges = near_depth_edges(depth, **options)
    assert edges.any()
    assert not edges.all()
    assert torch.equal(near_depth_edges(depth.mT, **options), edges.mT)
    assert torch.equal(near_depth_edges(100 * depth, **options), edges)
    assert torch.equal(near_depth_edges(depth[1], **options), edges[1])


def test_a_smaller_step_than_asked_for_and_an_unknown_depth_make_no_edge():
    depth = step_views().depth.clone()
    assert not near_depth_edges(depth, ratio=2.01).any()
    for unknown in (0.0, -1.0, float("nan"), float("inf")):
        hole = torch.full((1, 6, 6), 3.0)
        hole[0, 2, 2] = unknown
        assert not near_depth_edges(hole).any()


@pytest.mark.parametrize("options", [{"ratio": 1.0}, {"reach": -1}])
def test_unusable_options_are_refused(options):
    with pytest.raises(ParameterError, match="near_depth_edges"):
        near_depth_edges(step_views().depth, **options)


def test_alignment_undoes_any_similarity():
    views = step_views()
    surface = views.cameras.unproject(views.depth)
    rotation = quaternion_to_matrix(torch.tensor([0.3, -0.5, 0.7, 0.1]))
    moved = 2.5 * surface @ rotation.mT + torch.tensor([3.0, -1.0, 2.0])
    torch.testing.assert_close(aligned_to_surface(moved, views), surface, atol=1e-5, rtol=1e-5)
    assert surface_distances(moved, views).mean() > 1
    assert surface_distances(aligned_to_surface(moved, views), views).max() < 1e-5


def test_a_point_between_the_walls_floats_and_those_on_them_do_not():
    views = step_views()
    points = views.cameras.unproject(views.depth)
    between = views.cameras.unproject(torch.full_like(views.depth, 3.0))
    torn = points.clone()
    torn[0, 5, EDGE] = between[0, 5, EDGE]
    floating = floating_points(torn, views)
    assert floating.sum() == 1
    assert floating[0, 5, EDGE]
    expected = torch.cdist(between[0, 5, EDGE][None], points.reshape(-1, 3)).min()
    assert surface_distances(torn, views)[0, 5, EDGE].item() == pytest.approx(expected.item(), rel=1e-5)


def test_tolerance_is_a_share_of_the_depth():
    views = step_views()
    ahead = views.cameras.unproject(0.98 * views.depth)
    assert not floating_points(ahead, views, tolerance=0.03).any()
    # Half a row of pixels further, the nearest surface point is another one; in depth it is 2 % off.
    assert floating_points(ahead, views, tolerance=0.01).all()


def test_without_depth_everywhere_there_is_no_alignment():
    views = step_views()
    points = views.cameras.unproject(views.depth)
    hole = views.depth.clone()
    hole[0, 0, 0] = 0
    for depth in (None, hole):
        with pytest.raises(DataError, match="lack exact depth"):
            aligned_to_surface(points, replace(views, depth=depth))
