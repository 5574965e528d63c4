import math

import pytest
import torch
from torch.testing import assert_close

from pmgs_lib.errors import ParameterError
from pmgs_lib.losses import DepthLoss, inverse_depth_l1, log_depth_l1


def test_values_by_hand():
    prediction, target = torch.tensor([1.0, 4.0]), torch.tensor([2.0, 2.0])
    assert_close(log_depth_l1(prediction, target), torch.tensor(math.log(2)))
    assert_close(inverse_depth_l1(prediction, target), torch.tensor((0.5 + 0.25) / 2))


def test_log_depth_knows_no_unit(rng):
    prediction, target = torch.rand(2, 5, 5, generator=rng) + 1, torch.rand(2, 5, 5, generator=rng) + 1
    assert_close(log_depth_l1(100 * prediction, 100 * target), log_depth_l1(prediction, target))


@pytest.mark.parametrize("space", ["log", "inverse"])
@pytest.mark.parametrize("unknown", [0.0, -1.0, float("nan"), float("inf")])
def test_unknown_target_pixels_are_left_out(space, unknown):
    prediction = torch.tensor([2.0, 0.0, float("nan")], requires_grad=True)
    target = torch.tensor([4.0, unknown, unknown])
    loss = DepthLoss(space)(prediction, target)
    loss.backward()
    assert_close(loss.detach(), DepthLoss(space)(torch.tensor([2.0]), torch.tensor([4.0])))
    assert prediction.grad[0] != 0
    assert not prediction.grad[1:].any()


@pytest.mark.parametrize("space", ["log", "inverse"])
def test_nothing_known_is_zero_with_zero_gradient(space):
    prediction = torch.ones(3, requires_grad=True)
    loss = DepthLoss(space)(prediction, torch.zeros(3))
    loss.backward()
    assert loss == 0
    assert not prediction.grad.any()


@pytest.mark.parametrize("space", ["log", "inverse"])
def test_a_bad_prediction_is_never_hidden(space):
    assert not DepthLoss(space)(torch.tensor([1.0, float("nan")]), torch.ones(2)).isfinite()


def test_unusable_arguments_are_refused():
    with pytest.raises(ParameterError, match="expected one of log, inverse"):
        DepthLoss("linear")
    with pytest.raises(ParameterError, match="expected two tensors of equal shape"):
        log_depth_l1(torch.ones(2, 3), torch.ones(3))
