"""What every pointmap source shares."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from pmgs_lib.errors import ParameterError
from pmgs_lib.views import Views


class PointmapSource(ABC):
    """A point for every pixel of every view, in one frame a scene, of unknown pose and scale to the world.

    `source(context, key)` returns "*batch view h w 3" without gradient; `key` names the scene or scenes in messages.
    """

    @torch.no_grad()
    def __call__(self, context: Views, key: str | tuple[str, ...] = "") -> Float[Tensor, "*batch view h w 3"]:
        pointmap = self.points(context, key)
        expected = (*context.batch_shape, context.count, context.height, context.width, 3)
        if pointmap.shape != expected:
            raise ParameterError(
                f"{type(self).__name__}: returned points of shape {tuple(pointmap.shape)}, expected {expected}"
            )
        return pointmap

    @abstractmethod
    def points(self, context: Views, key: str | tuple[str, ...]) -> Float[Tensor, "*batch view h w 3"]:
        """The pointmap of the context views."""
