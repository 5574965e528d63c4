"""What every rasterizer takes and returns, and the numbers all of them share."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from pmgs_lib.cameras import Cameras
from pmgs_lib.errors import ParameterError
from pmgs_lib.gaussians import Gaussians

# gsplat's numbers, equal in all backends (Ye et al., "gsplat: An open-source library for Gaussian splatting", 2024).
LOW_PASS = 0.3  # added to both variances of a projected Gaussian, in pixels squared
MAX_ALPHA = 0.999  # a Gaussian never hides more than this of what lies behind it
MIN_ALPHA = 1 / 255  # fainter contributions are skipped
MIN_TRANSMITTANCE = 1e-4  # a pixel stops before the Gaussian that would take it to this or below
VIEW_MARGIN = 0.3  # the projection is linearised at most this share of half a picture outside of the picture


@dataclass(frozen=True)
class Rendering:
    """Pictures of some cameras (*c): colour, depth = sum of weight * z in world units (not normalised), and alpha."""

    color: Float[Tensor, "*c 3 h w"]
    depth: Float[Tensor, "*c h w"]
    alpha: Float[Tensor, "*c h w"]


class RenderingSettings(BaseModel):
    """How Gaussians of one model are meant to be rendered.

    near_plane: Gaussians nearer than this are culled, in world units. near_plane_factor: if given, the near plane is
    this times the scene's own near distance instead (released DepthSplat: 0.2). centered_principal_point: draw the
    symmetric frustum of a camera's opening angles, whatever its principal point (see `symmetric_frustum`). max_degree:
    harmonics above it are ignored. background: RGB behind everything.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    near_plane: float = Field(default=0.01, gt=0)
    near_plane_factor: float | None = Field(default=None, gt=0)
    centered_principal_point: bool = False
    max_degree: int | None = Field(default=None, ge=0, le=4)
    background: tuple[float, float, float] = (0.0, 0.0, 0.0)


class Rasterizer(ABC):
    """One way of drawing. It is handed scenes and cameras with exactly these batch axes and draws on black."""

    # Fields of `Cameras` that receive gradients from this backend.
    camera_gradients: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def obstacle(self, device: torch.device) -> str | None:
        """Why this backend cannot serve tensors on `device`, or None. Cheap, and never finds out by drawing."""

    @abstractmethod
    def render(self, gaussians: Gaussians, cameras: Cameras, height: int, width: int, near_plane: float) -> Rendering:
        """Pictures (scene, view) of Gaussians with batch shape (scene,) by cameras with batch shape (scene, view)."""


def refuse_unusable(unusable: int, count: int) -> None:
    """Stop a draw in which some Gaussians are not finite: culling them would hide where a training went wrong."""
    if unusable:
        raise ParameterError(
            f"rasterize: {unusable} of {count} Gaussians have a NaN, an infinity or a quaternion of zero length "
            "(expected finite numbers): look at what made them, for instance a learning rate"
        )
