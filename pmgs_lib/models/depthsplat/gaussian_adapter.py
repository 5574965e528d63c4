"""From raw network outputs to Gaussians in the world, in the library's conventions.

Source: DepthSplat section 3.2, after pixelSplat (Charatan et al., 2024). What models of Gaussians at pixels
share is in `pmgs_lib.models.pixel_gaussians`.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pmgs_lib.cameras import Cameras
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.geometry.pose import wxyz_from_xyzw
from pmgs_lib.models.base import full_precision
from pmgs_lib.models.depthsplat.config import AdapterConfig
from pmgs_lib.models.pixel_gaussians import (
    CameraGaussians,
    harmonics_mask,
    pixel_footprint,
    pixel_means,
    world_gaussians,
)
from pmgs_lib.views import Views

CONSTANT_HARMONIC = 0.28209479177387814  # value of the basis function of degree 0
# Offset of the raw scale in the "softplus" and "exp" maps: untrained outputs near zero become small Gaussians.
SCALE_OFFSET = 4.0


class GaussianAdapter(nn.Module):
    """One Gaussian a pixel from the raw channels [opacity, offset 2, scale 3, quaternion xyzw 4, harmonics 3 x d]."""

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        self.config = config
        coefficients = (config.harmonics_degree + 1) ** 2
        self.channels = 1 + 2 + 3 + 4 + 3 * coefficients
        self.register_buffer("mask", harmonics_mask(config.harmonics_degree), persistent=False)

    def forward(
        self,
        raw: Float[Tensor, "batch view channel h w"],
        depth: Float[Tensor, "batch view h w"],
        context: Views,
    ) -> CameraGaussians:
        raw = full_precision(raw.flatten(-2).mT)
        opacity, offset, scale, quaternion, harmonics = raw.split([1, 2, 3, 4, self.channels - 10], dim=-1)
        height, width = depth.shape[-2:]
        harmonics = harmonics.unflatten(-1, (3, -1)).mT * self.mask
        shown = (context.images.flatten(-2).mT - 0.5) / CONSTANT_HARMONIC
        return CameraGaussians(
            means_world=pixel_means(context.cameras, depth, offset.sigmoid() - 0.5),
            scales=self.scales(scale, depth.flatten(-2), context.cameras, height, width),
            quaternions=wxyz_from_xyzw(functional.normalize(quaternion, dim=-1)),
            opacities=opacity[..., 0].sigmoid(),
            harmonics=torch.cat([harmonics[..., :1, :] + shown[..., None, :], harmonics[..., 1:, :]], dim=-2),
        )

    def scales(
        self,
        raw: Float[Tensor, "batch view gaussian 3"],
        depth: Float[Tensor, "batch view gaussian"],
        cameras: Cameras,
        height: int,
        width: int,
    ) -> Float[Tensor, "batch view gaussian 3"]:
        """Standard deviations in world units by the configured map."""
        low, high = self.config.scale_min, self.config.scale_max
        if self.config.scale_map == "softplus":
            return functional.softplus(raw - SCALE_OFFSET).clamp(low, high)
        if self.config.scale_map == "exp":
            return (raw - SCALE_OFFSET).exp().clamp(low, high)
        footprint = pixel_footprint(cameras, depth, height, width)
        return footprint[..., None] * low * (high / low) ** raw.sigmoid()

    def to_gaussians(self, local: CameraGaussians, cameras: Cameras) -> Gaussians:
        """Gaussians in the world, all views of a scene one after the other, in the library's conventions."""
        return world_gaussians(local, cameras, self.config.released_harmonics)
