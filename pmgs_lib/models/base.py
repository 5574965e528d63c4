"""What every model takes and returns, whatever its architecture."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from pmgs_lib.gaussians import Gaussians
from pmgs_lib.rasterizers.base import RenderingSettings


class ModelConfig(BaseModel):
    """Base of the configurations of models and their parts: frozen, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Prediction:
    """What a model says about a batch of scenes.

    gaussians: in the world frame and the library's conventions; None for a model that predicts depth only. depth:
    z-depth of every context view in world units. settings: how the Gaussians are meant to be rendered. intermediates:
    earlier estimates of the same quantities, coarse first, present in training mode when the model makes them.
    confidence: how sure the model is of the Gaussian at each pixel, where it says so; nothing is rendered with it.
    """

    gaussians: Gaussians | None
    depth: Float[Tensor, "*batch view h w"] | None
    settings: RenderingSettings
    intermediates: tuple["Prediction", ...] = ()
    confidence: Float[Tensor, "*batch view h w"] | None = None


def full_precision(x: Tensor) -> Tensor:
    """`x` in float32 if it is in half precision, else as it is: for geometry and probabilities under autocast."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
