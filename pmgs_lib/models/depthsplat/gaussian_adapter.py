"""From raw network outputs to Gaussians in the world, in the library's conventions.

Source: DepthSplat section 3.2, after pixelSplat (Charatan et al., 2024). What released weights mean by their harmonics
is converted here, once, at the model's exit.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pmgs_lib.cameras import Cameras
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.geometry.harmonics import change_of_basis, harmonics_basis
from pmgs_lib.geometry.pose import matrix_to_quaternion, quaternion_multiply, wxyz_from_xyzw
from pmgs_lib.models.base import full_precision
from pmgs_lib.models.depthsplat.config import AdapterConfig
from pmgs_lib.models.released_harmonics import library_from_released, released_harmonics_world
from pmgs_lib.views import Views

CONSTANT_HARMONIC = 0.28209479177387814  # value of the basis function of degree 0
# Offset of the raw scale in the "softplus" and "exp" maps: untrained outputs near zero become small Gaussians.
SCALE_OFFSET = 4.0


@dataclass(frozen=True)
class CameraGaussians:
    """Gaussians as the network states them: centres in the world, everything else along the axes of its own camera.

    quaternions are wxyz; harmonics are in the basis of the weights. Gaussians are ordered by row, then column.
    """

    means_world: Float[Tensor, "batch view gaussian 3"]
    scales: Float[Tensor, "batch view gaussian 3"]
    quaternions: Float[Tensor, "batch view gaussian 4"]
    opacities: Float[Tensor, "batch view gaussian"]
    harmonics: Float[Tensor, "batch view gaussian coefficient 3"]


class GaussianAdapter(nn.Module):
    """One Gaussian a pixel from the raw channels [opacity, offset 2, scale 3, quaternion xyzw 4, harmonics 3 x d]."""

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        self.config = config
        coefficients = (config.harmonics_degree + 1) ** 2
        self.channels = 1 + 2 + 3 + 4 + 3 * coefficients
        # View dependence starts small, the more so the higher the degree.
        mask = torch.ones(coefficients, 1)
        for degree in range(1, config.harmonics_degree + 1):
            mask[degree**2 : (degree + 1) ** 2] = 0.1 * 0.25**degree
        self.register_buffer("mask", mask, persistent=False)

    def forward(
        self,
        raw: Float[Tensor, "batch view channel h w"],
        depth: Float[Tensor, "batch view h w"],
        context: Views,
    ) -> CameraGaussians:
        raw = full_precision(raw.flatten(-2).mT)
        opacity, offset, scale, quaternion, harmonics = raw.split([1, 2, 3, 4, self.channels - 10], dim=-1)
        height, width = depth.shape[-2:]
        depth = depth.flatten(-2)
        harmonics = harmonics.unflatten(-1, (3, -1)).mT * self.mask
        shown = (context.images.flatten(-2).mT - 0.5) / CONSTANT_HARMONIC
        return CameraGaussians(
            means_world=_means(context.cameras, depth, offset.sigmoid() - 0.5, height, width),
            scales=self.scales(scale, depth, context.cameras, height, width),
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
        focal = torch.diagonal(cameras.pixel_intrinsics(height, width), dim1=-2, dim2=-1)[..., :2]
        footprint = depth * (1 / focal).mean(-1)[..., None]
        return footprint[..., None] * low * (high / low) ** raw.sigmoid()

    def to_gaussians(self, local: CameraGaussians, cameras: Cameras) -> Gaussians:
        """Gaussians in the world, all views of a scene one after the other, in the library's conventions."""
        rotation = cameras.world_from_camera[..., :3, :3]
        if self.config.released_harmonics:
            matrix = library_from_released(self.config.harmonics_degree).to(rotation)
            harmonics = matrix @ released_harmonics_world(local.harmonics, rotation)
        else:
            turn = change_of_basis(harmonics_basis, self.config.harmonics_degree, rotation)
            harmonics = turn[:, :, None] @ local.harmonics
        turned = quaternion_multiply(matrix_to_quaternion(rotation)[:, :, None], local.quaternions)
        parts = (local.means_world, local.scales, turned, local.opacities, harmonics)
        return Gaussians(*(part.flatten(1, 2) for part in parts))


def _means(
    cameras: Cameras, depth: Float[Tensor, "batch view gaussian"], offset: Tensor, height: int, width: int
) -> Float[Tensor, "batch view gaussian 3"]:
    """World points at z-depth along the rays through pixel centres moved by `offset` pixels."""
    origins, directions = cameras.rays(height, width)
    columns = cameras.world_from_camera[..., :3, :3] @ torch.linalg.inv(cameras.pixel_intrinsics(height, width))
    directions = directions.flatten(2, 3) + offset @ columns[..., :2].mT
    return origins[..., None, :] + directions * depth[..., None]
