"""Accuracy and completeness on clouds whose distances are known."""

import pytest
import torch

from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.evaluation.point_clouds import exact_surface, point_cloud_errors, within_range


def test_the_exact_surface_is_the_plane(views):
    surface = exact_surface(views([0, 0.3]))
    assert surface.shape == (2 * 24 * 32, 3)
    torch.testing.assert_close(surface[:, 2], torch.full((len(surface),), 4.0))


def test_the_exact_surface_has_no_error(views):
    context = views([0, 0.3])
    assert point_cloud_errors(exact_surface(context), context) == pytest.approx((0, 0, 0), abs=1e-6)


def test_a_shift_along_the_normal_is_measured_on_both_sides(views):
    context = views([0, 0.3])
    shifted = exact_surface(context) + torch.tensor([0, 0, 0.01])
    assert point_cloud_errors(shifted, context) == pytest.approx((0.01, 0.01, 0.01), rel=1e-4)


def test_a_missing_half_costs_completeness_and_a_floater_costs_accuracy(views):
    context = views([0, 0.3])
    surface = exact_surface(context)
    half = point_cloud_errors(surface[surface[:, 0] < 0], context)
    assert half.accuracy_m == pytest.approx(0, abs=1e-6)
    assert half.completeness_m > 0.1
    floater = point_cloud_errors(torch.cat([surface, surface[:1] - torch.tensor([0, 0, 2.0])]), context)
    assert floater.accuracy_m == pytest.approx(2 / (len(surface) + 1), rel=1e-3)
    assert floater.completeness_m == pytest.approx(0, abs=1e-6)
    assert half.overall_m == pytest.approx((half.accuracy_m + half.completeness_m) / 2)


def test_distances_equal_the_brute_force_ones(views, rng):
    context = views([0, 0.3])
    surface = exact_surface(context)
    predicted = surface[::3] + 0.3 * torch.randn(len(surface[::3]), 3, generator=rng)
    distances = torch.cdist(predicted.double(), surface.double())
    errors = point_cloud_errors(predicted, context)
    assert errors.accuracy_m == pytest.approx(distances.min(dim=1).values.mean().item(), rel=1e-5)
    assert errors.completeness_m == pytest.approx(distances.min(dim=0).values.mean().item(), rel=1e-5)


def test_the_limit_crops_what_is_measured_but_not_what_it_is_measured_against(views):
    context = views([0, 0.3])
    surface = exact_surface(context)
    far = surface.norm(dim=-1) > 4.4
    assert 0.1 < far.float().mean() < 0.9
    moved = torch.where(far[:, None], surface + torch.tensor([0, 0, 1.0]), surface)
    assert point_cloud_errors(moved, context).accuracy_m > 0.1
    near_only = point_cloud_errors(moved, context, limit_m=4.2)
    assert near_only.accuracy_m == pytest.approx(0, abs=1e-6)
    assert near_only.completeness_m == pytest.approx(0, abs=1e-6)


def test_within_range_asks_the_nearest_camera():
    points = torch.tensor([[0.0, 0, 1], [9, 0, 1], [5, 0, 0]])
    centers = torch.tensor([[0.0, 0, 0], [9, 0, 0]])
    assert within_range(points, centers, 1.5).tolist() == [True, True, False]


def test_views_without_exact_depth_are_a_data_error(dataset):
    context = dataset(blind=("a",)).example("a", [0], [1], 24, 32).context
    with pytest.raises(DataError, match="carry no exact depth"):
        point_cloud_errors(torch.zeros(2, 3), context)


@pytest.mark.parametrize(
    ("predicted", "limit_m", "message"),
    [
        (torch.tensor([[0.0, 0, torch.nan]]), None, "NaN or infinite"),
        (torch.zeros(0, 3), None, "predicted points within limit_m=None are none"),
        (torch.tensor([[0.0, 0, 50]]), 20.0, "predicted points within limit_m=20.0 are none"),
        (torch.tensor([[0.0, 0, 1]]), 2.0, "exact surface points within limit_m=2.0 are none"),
    ],
)
def test_what_cannot_be_measured_is_refused(predicted, limit_m, message, views):
    with pytest.raises(ParameterError, match=message):
        point_cloud_errors(predicted, views([0.0]), limit_m)
