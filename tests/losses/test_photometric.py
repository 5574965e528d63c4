import pytest
import torch
from torch.testing import assert_close

from pmgs_lib.errors import ParameterError
from pmgs_lib.losses import PhotometricLoss, mean_absolute_error, mean_squared_error


def test_values_by_hand():
    prediction, target = torch.tensor([0.0, 0.5, 1.0]), torch.tensor([0.0, 0.0, 0.0])
    assert_close(mean_squared_error(prediction, target), torch.tensor(1.25 / 3))
    assert_close(mean_absolute_error(prediction, target), torch.tensor(0.5))
    # 1.0 is at or above the limit: neither in the sum nor in the count.
    assert_close(mean_squared_error(prediction, target, largest=1.0), torch.tensor(0.125))


def test_left_out_elements_have_no_gradient(rng):
    prediction = torch.rand(2, 3, 8, 8, generator=rng).requires_grad_()
    target = torch.rand(2, 3, 8, 8, generator=rng)
    loss = PhotometricLoss(largest_squared_error=0.2)(prediction, target)
    loss.backward()
    kept = (prediction - target).detach().square() < 0.2
    assert 0 < kept.sum() < kept.numel()
    assert torch.equal(prediction.grad != 0, kept)
    assert_close(loss.detach(), (prediction - target).detach()[kept].square().mean())


def test_all_left_out_is_zero_with_zero_gradient():
    prediction = torch.ones(4, requires_grad=True)
    loss = mean_squared_error(prediction, torch.zeros(4), largest=0.5)
    loss.backward()
    assert loss == 0
    assert not prediction.grad.any()


@pytest.mark.parametrize("options", [{}, {"error": "l1"}, {"largest_squared_error": 0.2}])
def test_nan_is_never_hidden(options):
    prediction = torch.tensor([0.1, float("nan")])
    assert PhotometricLoss(**options)(prediction, torch.zeros(2)).isnan()


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(ParameterError, match="expected two tensors of equal shape"):
        PhotometricLoss()(torch.zeros(2, 3, 4, 4), torch.zeros(1, 3, 4, 4))
    with pytest.raises(ParameterError, match="at least one element"):
        mean_squared_error(torch.zeros(0, 3), torch.zeros(0, 3))


@pytest.mark.parametrize(
    "options", [{"error": "huber"}, {"largest_squared_error": 0.0}, {"error": "l1", "largest_squared_error": 0.2}]
)
def test_unusable_options_are_refused(options):
    with pytest.raises(ParameterError, match="PhotometricLoss"):
        PhotometricLoss(**options)


@pytest.mark.parametrize("options", [{}, {"error": "l1"}, {"largest_squared_error": 0.2}])
def test_each_item_is_measured_by_itself(options, rng):
    prediction, target = (torch.rand(3, 2, 3, 6, 6, generator=rng) for _ in range(2))
    loss = PhotometricLoss(**options)
    alone = torch.stack([loss(p, t) for p, t in zip(prediction, target, strict=True)])
    assert_close(loss.per_item(prediction, target), alone)
    assert_close(loss.per_item(prediction[[2, 0, 1]], target[[2, 0, 1]]), alone[[2, 0, 1]])
    if "largest_squared_error" not in options:
        assert_close(alone.mean(), loss(prediction, target))
