"""MVSplat: depth by matching, then one Gaussian for each pixel of each view.

Source: Chen et al., "MVSplat: Efficient 3D Gaussian Splatting from Sparse Multi-View Images", ECCV 2024. Module names
are those of the released checkpoints.
"""

import torch
from torch import nn
from torch.nn import functional

from pmgs_lib.geometry.pose import wxyz_from_xyzw
from pmgs_lib.models.base import Prediction, full_precision
from pmgs_lib.models.checks import check_context
from pmgs_lib.models.matching.transformer import nearest_views
from pmgs_lib.models.mvsplat.config import MvSplatConfig
from pmgs_lib.models.mvsplat.depth_predictor import Backbone, DepthEstimate, DepthPredictor
from pmgs_lib.models.pixel_gaussians import (
    CameraGaussians,
    harmonics_mask,
    pixel_footprint,
    pixel_means,
    world_gaussians,
    z_depth_from_ray_length,
)
from pmgs_lib.views import Views


class MvSplat(nn.Module):
    """Feed-forward Gaussians and depth from two or more posed views.

    Call it with context views of batch shape `(batch,)`; sides must be multiples of `config.multiple`. The predicted
    depth is the z-depth of what the Gaussians show: with `config.unit_rays`, as released, what matching found is taken
    for the length of a ray, and z-depth is smaller by the cosine of the ray's angle.
    """

    def __init__(self, config: MvSplatConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mask", harmonics_mask(config.harmonics_degree), persistent=False)
        self.backbone = Backbone(config)
        # Offset, scale, quaternion and harmonics; opacity comes with depth.
        self.depth_predictor = DepthPredictor(config, gaussian_channels=2 + 3 + 4 + 3 * len(self.mask))

    def forward(self, context: Views) -> Prediction:
        context = self.check(context)
        estimate = self.estimate(context)
        with torch.autocast(context.images.device.type, enabled=False):
            local = self.camera_gaussians(context, estimate)
            gaussians = world_gaussians(local, context.cameras, self.config.released_harmonics)
            depth = estimate.depth
            if self.config.unit_rays:
                depth = z_depth_from_ray_length(depth, context.cameras)
        return Prediction(gaussians, depth, self.config.rendering)

    def estimate(self, context: Views) -> DepthEstimate:
        """Depth and raw Gaussians of every pixel. Each view is matched with all others."""
        neighbours = nearest_views(context.cameras.centers, None, 0)
        return self.depth_predictor(context, self.backbone(context.images, neighbours), neighbours)

    def camera_gaussians(self, context: Views, estimate: DepthEstimate) -> CameraGaussians:
        """Gaussians before conversion to the library's conventions."""
        raw = full_precision(estimate.raw.flatten(-2).mT)
        offset, scale, quaternion, harmonics = raw.split([2, 3, 4, 3 * len(self.mask)], dim=-1)
        low, high = self.config.scale_min, self.config.scale_max
        footprint = pixel_footprint(context.cameras, estimate.depth.flatten(-2), context.height, context.width)
        return CameraGaussians(
            means_world=pixel_means(context.cameras, estimate.depth, offset.sigmoid() - 0.5, self.config.unit_rays),
            scales=footprint[..., None] * (low + (high - low) * scale.sigmoid()),
            quaternions=wxyz_from_xyzw(functional.normalize(quaternion, dim=-1)),
            opacities=estimate.opacity_logits.flatten(-2).sigmoid(),
            harmonics=harmonics.unflatten(-1, (3, -1)).mT * self.mask,
        )

    def check(self, context: Views) -> Views:
        """The views as this model takes them, or an error that says why it cannot (see `check_context`)."""
        return check_context(type(self).__name__, context, self.config.multiple)
