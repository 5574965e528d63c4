"""Supervision by known depth, where a scene has it."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from pmgs_lib.errors import ParameterError
from pmgs_lib.losses.base import Loss, check_shapes

Transform = Callable[[Tensor], Tensor]


def log_depth_l1(prediction: Float[Tensor, "*shape"], target: Float[Tensor, "*target_shape"]) -> Float[Tensor, ""]:
    """Mean absolute difference of log z-depths: relative errors count alike near and far.

    Pixels whose target is not a positive finite number are unknown and left out; with none left the result is 0 with
    gradient 0. A predicted depth of 0 or less has no logarithm: the result is NaN or infinite and must stop the step.
    """
    return _masked_l1("log_depth_l1", torch.log, prediction, target)


def inverse_depth_l1(prediction: Float[Tensor, "*shape"], target: Float[Tensor, "*target_shape"]) -> Float[Tensor, ""]:
    """Mean absolute difference of inverse z-depths (1 / world unit): near surfaces count most.

    Unknown target pixels are left out as in `log_depth_l1`. A predicted depth of exactly 0 gives infinity.
    """
    return _masked_l1("inverse_depth_l1", torch.reciprocal, prediction, target)


def depth_gradient_l1(
    prediction: Float[Tensor, "*shape"], target: Float[Tensor, "*target_shape"], *, space: str = "inverse"
) -> Float[Tensor, ""]:
    """Mean absolute difference of the changes from pixel to pixel, along x plus along y, of depth in a space.

    A pair of neighbours counts where both targets are known; unknown targets and bad predictions are treated as in
    `log_depth_l1`. DepthSplat's paper (2410.13862, section 3) names it for inverse depth and refers to UniMatch, whose
    code compares the sizes of the changes, so that a slope the other way round costs nothing; here its sign counts.
    """
    check_shapes("depth_gradient_l1", prediction, target)
    if prediction.ndim < 2:
        raise ParameterError(f"depth_gradient_l1: depth has shape {tuple(prediction.shape)}, expected (..., h, w)")
    difference, known = _difference(SPACES[_checked("depth_gradient_l1", space)], prediction, target)
    total = difference.new_zeros(())
    for axis in (-1, -2):
        size = difference.shape[axis] - 1
        before, after = ((difference.narrow(axis, start, size), known.narrow(axis, start, size)) for start in (0, 1))
        both = before[1] & after[1]
        total = total + _mean_where(both, (after[0] - before[0]).abs())
    return total


SPACES = {"log": torch.log, "inverse": torch.reciprocal}


class DepthLoss(Loss):
    """L1 between predicted and known z-depth in `log` or `inverse` space."""

    def __init__(self, space: str = "log") -> None:
        super().__init__()
        self.space = _checked(type(self).__name__, space)

    def value(self, prediction: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        return _masked_l1(type(self).__name__, SPACES[self.space], prediction, target)


class DepthGradientLoss(Loss):
    """`depth_gradient_l1` between predicted and known z-depth in `log` or `inverse` space."""

    def __init__(self, space: str = "log") -> None:
        super().__init__()
        self.space = _checked(type(self).__name__, space)

    def value(self, prediction: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        return depth_gradient_l1(prediction, target, space=self.space)


def _checked(name: str, space: str) -> str:
    if space not in SPACES:
        raise ParameterError(f"{name}: space is {space!r}, expected one of {', '.join(SPACES)}")
    return space


def _masked_l1(name: str, transform: Transform, prediction: Tensor, target: Tensor) -> Tensor:
    check_shapes(name, prediction, target)
    difference, known = _difference(transform, prediction, target)
    return _mean_where(known, difference.abs())


def _difference(transform: Transform, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Predicted less known depth after the transform, 0 where it is unknown; and where it is known."""
    known = target.isfinite() & (target > 0)
    # Replaced before the transform: at unknown pixels its derivative could be infinite, and 0 times that NaN.
    one = torch.ones((), dtype=prediction.dtype, device=prediction.device)
    return transform(torch.where(known, prediction, one)) - transform(torch.where(known, target, one)), known


def _mean_where(counts: Tensor, values: Tensor) -> Tensor:
    """Mean over what counts, 0 when nothing does."""
    return torch.where(counts, values, torch.zeros_like(values)).sum() / counts.sum().clamp_min(1)
