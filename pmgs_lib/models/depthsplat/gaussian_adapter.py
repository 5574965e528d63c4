"""From raw network outputs to Gaussians in the world, in the library's conventions.

Source: DepthSplat section 3.2, after pixelSplat (Charatan et al., 2024). What models of Gaussians at pixels
share is in `pmgs_lib.models.pixel_gaussians`.
"""

from itertools import accumulate

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pmgs_lib.cameras import Cameras
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.geometry.harmonics import CONSTANT_HARMONIC
from pmgs_lib.geometry.pose import wxyz_from_xyzw
from pmgs_lib.models.base import full_precision
from pmgs_lib.models.depthsplat.config import AdapterConfig
from pmgs_lib.models.pixel_gaussians import (
    CameraGaussians,
    harmonics_mask,
    pixel_footprint,
    pixel_means,
    turned_gaussians,
    world_gaussians,
    world_turn,
    z_depth_from_ray_length,
)
from pmgs_lib.views import Views

# Offset of the raw scale in the "softplus" and "exp" maps: untrained outputs near zero become small Gaussians.
SCALE_OFFSET = 4.0


class GaussianAdapter(nn.Module):
    """One Gaussian a pixel from raw channels; `rows` says which channels are which, `channels` how many there are.

    In order: opacity, confidence if configured, offset x and y, scale 3, quaternion xyzw, harmonics colour by colour.
    """

    regions = ("world_gaussians",)

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        self.config = config
        coefficients = (config.harmonics_degree + 1) ** 2
        widths = {"opacity": 1} | ({"confidence": 1} if config.confidence else {})
        widths |= {"offset": 2, "scale": 3, "quaternion": 4, "harmonics": 3 * coefficients}
        self.channels = sum(widths.values())
        ends = accumulate(widths.values())
        self.rows = {name: slice(end - widths[name], end) for name, end in zip(widths, ends, strict=True)}
        self.register_buffer("mask", harmonics_mask(config.harmonics_degree), persistent=False)

    def forward(
        self,
        raw: Float[Tensor, "batch view channel h w"],
        depth: Float[Tensor, "batch view h w"],
        context: Views,
    ) -> CameraGaussians:
        """Gaussians at a depth: z-depth, or with `unit_rays` the length of the ray."""
        raw = full_precision(raw.flatten(-2).mT)
        opacity, offset, scale, quaternion, harmonics = (
            raw[..., self.rows[name]] for name in ("opacity", "offset", "scale", "quaternion", "harmonics")
        )
        height, width = depth.shape[-2:]
        harmonics = harmonics.unflatten(-1, (3, -1)).mT * self.mask
        shown = (context.images.flatten(-2).mT - 0.5) / CONSTANT_HARMONIC
        return CameraGaussians(
            means_world=pixel_means(context.cameras, depth, self.offsets(offset), self.config.unit_rays),
            scales=self.scales(scale, depth.flatten(-2), context.cameras, height, width),
            quaternions=wxyz_from_xyzw(functional.normalize(quaternion, dim=-1)),
            opacities=opacity[..., 0].sigmoid(),
            harmonics=torch.cat([harmonics[..., :1, :] + shown[..., None, :], harmonics[..., 1:, :]], dim=-2),
        )

    def offsets(self, raw: Float[Tensor, "batch view gaussian 2"]) -> Float[Tensor, "batch view gaussian 2"]:
        """Distance from the own pixel's centre, in pixels, by the configured mode."""
        if self.config.offset_mode == "pixel":
            return raw.tanh() * self.config.offset_factor / 2
        if self.config.offset_mode == "unconstrained":
            return raw * self.config.offset_factor
        return raw.sigmoid() - 0.5

    def confidence(
        self, raw: Float[Tensor, "batch view channel h w"], match_probability: Float[Tensor, "batch view 1 h w"]
    ) -> Float[Tensor, "batch view h w"] | None:
        """How sure the network is of each pixel's Gaussian, or None: its own channel plus the match probability."""
        if self.config.confidence is None:
            return None
        own = full_precision(raw[:, :, self.rows["confidence"]][:, :, 0])
        own = functional.softplus(own) if self.config.confidence == "softplus" else own.sigmoid()
        return own + match_probability[:, :, 0].detach()

    def z_depth(self, depth: Float[Tensor, "batch view h w"], cameras: Cameras) -> Float[Tensor, "batch view h w"]:
        """Depth along the optical axis of the surface that the Gaussians are put on, at pixel centres."""
        return z_depth_from_ray_length(depth, cameras) if self.config.unit_rays else depth

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
        footprint = pixel_footprint(cameras, depth, height, width)[..., None]
        if self.config.scale_map == "pixel_linear":
            return footprint * (low + (high - low) * raw.sigmoid())
        return footprint * low * (high / low) ** raw.sigmoid()

    def to_gaussians(self, local: CameraGaussians, cameras: Cameras) -> Gaussians:
        """Gaussians in the world, all views of a scene one after the other, in the library's conventions."""
        return world_gaussians(local, cameras, self.config.released_harmonics)

    def turn(self, cameras: Cameras) -> Float[Tensor, "batch view coefficient coefficient_in"]:
        """What the harmonics of each view are multiplied with on their way to the world."""
        return world_turn(cameras, self.config.harmonics_degree, self.config.released_harmonics)

    def world_gaussians(
        self,
        raw: Float[Tensor, "batch view channel h w"],
        depth: Float[Tensor, "batch view h w"],
        context: Views,
        turn: Float[Tensor, "batch view coefficient coefficient_in"],
    ) -> Gaussians:
        """`to_gaussians` of what `forward` makes, with the `turn` of the cameras given."""
        return turned_gaussians(self(raw, depth, context), context.cameras, turn)
