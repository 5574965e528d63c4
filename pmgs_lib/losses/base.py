"""What every loss shares: a scalar from a prediction and a target of equal shape."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pmgs_lib.errors import ParameterError


class Loss(nn.Module, ABC):
    """A differentiable scalar; `loss(prediction, target)` checks the shapes, the variant owns its formula.

    A NaN in the prediction gives a NaN unless the variant states otherwise: whoever trains must see it.
    """

    def forward(
        self, prediction: Float[Tensor, "*shape"], target: Float[Tensor, "*target_shape"], **evidence: Any
    ) -> Float[Tensor, ""]:
        """The loss, a mean, in the units of the variant; `evidence` is what else the variant takes."""
        check_shapes(type(self).__name__, prediction, target)
        return self.value(prediction, target, **evidence)

    def per_item(
        self, prediction: Float[Tensor, "item *shape"], target: Float[Tensor, "item *target_shape"]
    ) -> Float[Tensor, "item"]:
        """The loss of each item along the first axis (each scene of a batch) by itself."""
        check_shapes(type(self).__name__, prediction, target)
        return torch.stack([self.value(*one) for one in zip(prediction.split(1), target.split(1), strict=True)])

    @abstractmethod
    def value(self, prediction: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        """The formula, on arguments whose shapes belong together."""


def check_shapes(name: str, prediction: Tensor, target: Tensor) -> None:
    """Refuse what broadcasting would silently stretch, and emptiness, whose mean is NaN."""
    if prediction.shape != target.shape or prediction.numel() == 0:
        raise ParameterError(
            f"{name}: prediction {tuple(prediction.shape)} and target {tuple(target.shape)}, "
            "expected two tensors of equal shape with at least one element"
        )
