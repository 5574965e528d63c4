"""Differences of colours between a rendered and a true picture."""

import torch
from jaxtyping import Float
from torch import Tensor

from pmgs_lib.errors import ParameterError
from pmgs_lib.losses.base import Loss, check_shapes


def mean_squared_error(
    prediction: Float[Tensor, "*shape"], target: Float[Tensor, "*target_shape"], *, largest: float | None = None
) -> Float[Tensor, ""]:
    """Mean squared difference.

    With `largest`, elements whose squared difference reaches it are left out of the sum and of the count (the released
    PM-Loss training uses 0.2, against moving things); when all are left out the result is 0 with gradient 0. NaN is
    never left out.
    """
    check_shapes("mean_squared_error", prediction, target)
    squared = (prediction - target).square()
    if largest is None:
        return squared.mean()
    # Not `squared < largest`: a comparison with NaN is false, and the NaN would vanish.
    kept = ~(squared >= largest)
    return torch.where(kept, squared, torch.zeros_like(squared)).sum() / kept.sum().clamp_min(1)


def mean_absolute_error(
    prediction: Float[Tensor, "*shape"], target: Float[Tensor, "*target_shape"]
) -> Float[Tensor, ""]:
    """Mean absolute difference."""
    check_shapes("mean_absolute_error", prediction, target)
    return (prediction - target).abs().mean()


class PhotometricLoss(Loss):
    """Squared (`error="mse"`) or absolute (`"l1"`) difference of images in [0, 1], mean over everything.

    largest_squared_error: elements at or above it are left out (`mse` only); None keeps all.
    """

    def __init__(self, error: str = "mse", largest_squared_error: float | None = None) -> None:
        super().__init__()
        if error not in ("mse", "l1"):
            raise ParameterError(f"PhotometricLoss: error is {error!r}, expected 'mse' or 'l1'")
        if largest_squared_error is not None and (error != "mse" or not largest_squared_error > 0):
            raise ParameterError(
                f"PhotometricLoss: largest_squared_error is {largest_squared_error} with error {error!r}, "
                "expected a positive number with 'mse', or None to keep all elements"
            )
        self.error, self.largest_squared_error = error, largest_squared_error

    def value(self, prediction: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        if self.error == "l1":
            return mean_absolute_error(prediction, target)
        return mean_squared_error(prediction, target, largest=self.largest_squared_error)
