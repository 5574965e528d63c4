import itertools
import math

import pytest
import torch
from torch.testing import assert_close

from pmgs_lib.errors import ParameterError
from pmgs_lib.losses import DepthGradientLoss, DepthLoss, depth_gradient_l1, inverse_depth_l1, log_depth_l1


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


def test_gradient_term_by_hand():
    prediction, target = torch.tensor([[1.0, 0.5], [0.25, 1.0]]), torch.ones(2, 2)
    # Inverse depth 1 2 / 4 1: along x 1 and -3, along y 3 and -1, all 0 in the target.
    assert_close(depth_gradient_l1(prediction, target), torch.tensor(2.0 + 2.0))
    logs = torch.tensor([math.log(2), 2 * math.log(2)]).mean() + torch.tensor([2 * math.log(2), math.log(2)]).mean()
    assert_close(depth_gradient_l1(prediction, target, space="log"), logs)


def test_gradient_term_sees_the_sign_of_a_slope_and_not_a_shift():
    rising = 1 / torch.tensor([[1.0, 2.0, 3.0]])
    assert_close(depth_gradient_l1(rising.flip(1), rising), torch.tensor(2.0))
    assert_close(depth_gradient_l1(1 / (1 / rising + 5), rising), torch.tensor(0.0), atol=1e-6, rtol=0)
    assert_close(depth_gradient_l1(7 * rising, rising, space="log"), torch.tensor(0.0), atol=1e-6, rtol=0)


@pytest.mark.parametrize("space", ["log", "inverse"])
def test_gradient_term_equals_a_loop_over_known_pairs(space, rng):
    prediction, target = (torch.rand(2, 5, 7, generator=rng) + 0.5 for _ in range(2))
    target[torch.rand(2, 5, 7, generator=rng) < 0.3] = 0.0
    transform = {"log": torch.log, "inverse": torch.reciprocal}[space]
    total = 0.0
    for step in ((0, 0, 1), (0, 1, 0)):
        found = []
        for here in itertools.product(range(2), range(5 - step[1]), range(7 - step[2])):
            there = tuple(a + b for a, b in zip(here, step, strict=True))
            pair = [[transform(depth[at]) for at in (here, there)] for depth in (prediction, target)]
            if all(target[at] > 0 for at in (here, there)):
                found.append(abs((pair[0][1] - pair[0][0]) - (pair[1][1] - pair[1][0])).item())
        total += sum(found) / len(found)
    assert depth_gradient_l1(prediction, target, space=space).item() == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("space", ["log", "inverse"])
@pytest.mark.parametrize("unknown", [0.0, -1.0, float("nan"), float("inf")])
def test_gradient_term_leaves_out_pairs_with_an_unknown_target(space, unknown):
    prediction = torch.tensor([[2.0, 3.0, float("nan")], [0.0, 2.5, 6.0]], requires_grad=True)
    target = torch.tensor([[4.0, 4.0, unknown], [unknown, 4.0, unknown]])
    loss = DepthGradientLoss(space)(prediction, target)
    loss.backward()
    assert loss.isfinite()
    known = torch.tensor([[True, True, False], [False, True, False]])
    assert torch.equal(prediction.grad != 0, known)


@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (1, 4)])
@pytest.mark.parametrize("known", [0.0, 2.0])
def test_gradient_term_of_narrow_or_unknown_pictures_is_finite(shape, known):
    prediction = torch.ones(shape, requires_grad=True)
    loss = DepthGradientLoss("inverse")(prediction, torch.full(shape, known))
    loss.backward()
    assert loss == 0
    assert not prediction.grad.any()


@pytest.mark.parametrize("space", ["log", "inverse"])
def test_gradient_term_never_hides_a_bad_prediction(space):
    prediction = torch.ones(3, 3)
    prediction[1, 1] = float("nan")
    assert DepthGradientLoss(space)(prediction, torch.ones(3, 3)).isnan()


def test_gradient_term_is_differentiable(rng):
    prediction = (torch.rand(4, 5, generator=rng, dtype=torch.float64) + 0.5).requires_grad_()
    target = torch.rand(4, 5, generator=rng, dtype=torch.float64) + 0.5
    for space in ("log", "inverse"):
        assert torch.autograd.gradcheck(lambda d, space=space: depth_gradient_l1(d, target, space=space), prediction)


def test_gradient_term_refuses_unusable_arguments():
    with pytest.raises(ParameterError, match="expected one of log, inverse"):
        DepthGradientLoss("linear")
    with pytest.raises(ParameterError, match=r"depth has shape \(3,\), expected \(..., h, w\)"):
        depth_gradient_l1(torch.ones(3), torch.ones(3))
    with pytest.raises(ParameterError, match="expected two tensors of equal shape"):
        depth_gradient_l1(torch.ones(2, 3), torch.ones(3))
    with pytest.raises(ParameterError, match="space is 'linear'"):
        depth_gradient_l1(torch.ones(2, 3), torch.ones(2, 3), space="linear")
