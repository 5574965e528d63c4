"""Descent on points themselves: against the closed form of a quadratic, and along rays."""

import pytest
import torch

from pmgs_lib.errors import ParameterError, TrainingError
from pmgs_lib.losses import PointmapLoss
from pmgs_lib.training import descend, pull


def squares(target):
    return lambda points: (points - target).square().sum(-1).mean()


def test_the_first_step_moves_as_far_as_asked_and_the_rest_shrink_alike(rng):
    """Gradient descent on squares multiplies every offset by the same factor, 1 minus first move over mean distance."""
    start, target = torch.rand(1, 30, 3, generator=rng), torch.rand(1, 30, 3, generator=rng)
    mean = (start - target).norm(dim=-1).mean().item()
    descent = descend(squares(target), start, steps=4, first_move=0.25 * mean)
    torch.testing.assert_close(descent.points - target, (start - target) * 0.75**4)
    first = squares(target)(start).item()
    assert descent.losses == pytest.approx([first * 0.75 ** (2 * step) for step in range(5)], rel=1e-4)


def test_along_rays_points_stay_on_them(rng):
    start, target = torch.rand(1, 30, 3, generator=rng), torch.rand(1, 30, 3, generator=rng)
    rays = torch.randn(1, 30, 3, generator=rng)
    descent = descend(squares(target), start, steps=40, first_move=0.05, directions=rays)
    along = torch.linalg.cross(descent.points - start, rays).norm(dim=-1)
    assert along.max() < 1e-5
    assert descent.losses[-1] < descent.losses[0]


def test_sizes_are_told_before_each_step_and_after_the_last():
    start = torch.tensor([[[-1.0, 0, 0], [1.0, 0, 0]]])
    descent = descend(squares(3 * start), start, steps=2, first_move=1.0)
    assert len(descent.sizes) == len(descent.losses) == 3
    assert descent.sizes == pytest.approx([1.0, 2.0, 2.5])


def test_nothing_to_descend_leaves_the_points_alone():
    points = torch.rand(1, 5, 3)
    descent = descend(squares(points), points, steps=3, first_move=1.0)
    torch.testing.assert_close(descent.points, points)


def test_a_pull_is_twice_the_way_for_a_mean_of_squares(rng):
    start, target = torch.rand(2, 30, 3, generator=rng), torch.rand(2, 30, 3, generator=rng)
    torch.testing.assert_close(pull(squares(target), start), 2 * (target - start))


def test_pm_loss_descends_and_the_normalised_one_does_not_by_shrinking(rng):
    pointmap = torch.rand(1, 200, 3, generator=rng)
    start = pointmap + 0.1 * torch.randn(1, 200, 3, generator=rng)
    losses = {name: PointmapLoss(normalization=name) for name in ("none", "pointmap")}
    descents = {
        name: descend(lambda points, loss=loss: loss(points, pointmap), start, steps=30, first_move=0.02)
        for name, loss in losses.items()
    }
    for descent in descents.values():
        assert descent.losses[-1] < 0.2 * descent.losses[0]
    assert descents["none"].sizes[-1] < descents["pointmap"].sizes[-1]


@pytest.mark.parametrize("options", [{"steps": -1, "first_move": 1.0}, {"steps": 1, "first_move": 0.0}])
def test_unusable_options_are_refused(options):
    with pytest.raises(ParameterError, match="descend"):
        descend(squares(torch.zeros(1, 2, 3)), torch.ones(1, 2, 3), **options)


def test_a_loss_that_is_no_number_stops():
    with pytest.raises(TrainingError, match="at step 0"):
        descend(lambda points: points.sum() * torch.nan, torch.ones(1, 2, 3), steps=1, first_move=1.0)
