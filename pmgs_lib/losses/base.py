"""What every loss shares: a scalar from a prediction and a target of equal shape."""

from abc import ABC, abstractmethod
from typing import Any

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
