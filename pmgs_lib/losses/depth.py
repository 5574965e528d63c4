"""Supervision by known depth, where a scene has it."""

import torch
from jaxtyping import Float
from torch import Tensor

from pmgs_lib.errors import ParameterError
from pmgs_lib.losses.base import Loss, check_shapes


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


SPACES = {"log": log_depth_l1, "inverse": inverse_depth_l1}


class DepthLoss(Loss):
    """L1 between predicted and known z-depth in `log` or `inverse` space."""

    def __init__(self, space: str = "log") -> None:
        super().__init__()
        if space not in SPACES:
            raise ParameterError(f"DepthLoss: space is {space!r}, expected one of {', '.join(SPACES)}")
        self.space = space

    def value(self, prediction: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        return SPACES[self.space](prediction, target)


def _masked_l1(name: str, transform, prediction: Tensor, target: Tensor) -> Tensor:
    check_shapes(name, prediction, target)
    known = target.isfinite() & (target > 0)
    # Replaced before the transform: at unknown pixels its derivative could be infinite, and 0 times that NaN.
    one = torch.ones((), dtype=prediction.dtype, device=prediction.device)
    difference = transform(torch.where(known, prediction, one)) - transform(torch.where(known, target, one))
    return difference.abs().sum() / known.sum().clamp_min(1)
