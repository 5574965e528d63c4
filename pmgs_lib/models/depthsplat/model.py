"""DepthSplat: depth by matching and monocular features, then one Gaussian for each pixel of each view.

Source: Xu et al., "DepthSplat: Connecting Gaussian Splatting and Depth", CVPR 2025. Module names are those of the
released checkpoints.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pmgs_lib.models.base import Prediction
from pmgs_lib.models.checks import check_context
from pmgs_lib.models.depthsplat.config import DepthSplatConfig
from pmgs_lib.models.depthsplat.depth_network import DepthEstimate, DepthPredictor, feature_channels
from pmgs_lib.models.depthsplat.gaussian_adapter import CameraGaussians, GaussianAdapter
from pmgs_lib.models.depthsplat.upsampler import FUSION, FusedDpt
from pmgs_lib.views import Views


class DepthSplat(nn.Module):
    """Feed-forward Gaussians and depth from two or more posed views.

    Call it with context views of batch shape `(batch,)`; sides must be multiples of `config.multiple`. In training mode
    the prediction carries the coarse estimates as `intermediates`; they share everything but depth with the final one.
    """

    def __init__(self, config: DepthSplatConfig) -> None:
        super().__init__()
        self.config = config
        self.depth_predictor = DepthPredictor(config)
        if config.color is not None:
            self._add_color_branch(config)

    def _add_color_branch(self, config: DepthSplatConfig) -> None:
        color = config.color
        order = tuple(
            tuple(n for n in names if n != "inverse_depth") for names in FUSION[config.scales, config.upsample]
        )
        features, hidden = color.dpt.features, color.regressor_channels
        self.feature_upsampler = FusedDpt(color.dpt, config.vit.width, order, feature_channels(config), output=False)
        self.gaussian_regressor = nn.Sequential(
            nn.Conv2d(3 + 1 + 1 + features, hidden, 3, padding=1), nn.GELU(), nn.Conv2d(hidden, hidden, 3, padding=1)
        )
        self.gaussian_adapter = GaussianAdapter(color.adapter)
        width = self.gaussian_adapter.channels
        self.gaussian_head = nn.Sequential(
            nn.Conv2d(hidden + 3 + features + 1, width, 3, padding=1, padding_mode="replicate"),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1, padding_mode="replicate"),
        )
        self._initialise_head(color.initial_opacity)

    @torch.no_grad()
    def _initialise_head(self, opacity: float) -> None:
        """Start with the image's own colours, without view dependence, at one size and opacity everywhere."""
        last = self.gaussian_head[2]
        for rows in (slice(3, 6), slice(10, None)):
            last.weight[rows] = 0
            last.bias[rows] = 0
        last.bias[0] = math.log(opacity / (1 - opacity))

    def forward(self, context: Views) -> Prediction:
        self.check(context)
        estimate = self.depth_predictor(context)
        settings = self.config.rendering
        if self.config.color is None:
            predictions = [Prediction(None, depth, settings) for depth in estimate.depths]
        else:
            locals_ = self.camera_gaussians(context, estimate)
            with torch.autocast(context.images.device.type, enabled=False):
                worlds = [self.gaussian_adapter.to_gaussians(local, context.cameras) for local in locals_]
            pairs = zip(worlds, estimate.depths, strict=True)
            predictions = [Prediction(gaussians, depth, settings) for gaussians, depth in pairs]
        final = predictions[-1]
        return Prediction(final.gaussians, final.depth, settings, tuple(predictions[:-1]))

    def camera_gaussians(self, context: Views, estimate: DepthEstimate) -> tuple[CameraGaussians, ...]:
        """Gaussians before conversion to the library's conventions, one set for each depth of the estimate."""
        batch, views = context.images.shape[:2]
        raw = self.raw_gaussians(context, estimate).unflatten(0, (batch, views))
        with torch.autocast(raw.device.type, enabled=False):
            return tuple(self.gaussian_adapter(raw, depth, context) for depth in estimate.depths)

    def raw_gaussians(self, context: Views, estimate: DepthEstimate) -> Float[Tensor, "frame channel h w"]:
        """Raw channels of the Gaussians of all views (see `GaussianAdapter`)."""
        images = context.images.flatten(0, 1)
        size = images.shape[-2:]
        features = self.feature_upsampler(estimate.taps, estimate.features)
        confidence = functional.interpolate(estimate.match_probability.amax(1, keepdim=True), size=size)
        parts = [images, self.depth_input(context, estimate.depths[-1]), confidence, features]
        regressed = self.gaussian_regressor(torch.cat([x.to(features.dtype) for x in parts], dim=1))
        parts = [regressed, images, features, confidence]
        return self.gaussian_head(torch.cat([x.to(features.dtype) for x in parts], dim=1))

    def depth_input(self, context: Views, depth: Float[Tensor, "batch view h w"]) -> Float[Tensor, "frame 1 h w"]:
        """What the regressor is told about depth: world units, or its place in the inverse depth range."""
        if not self.config.color.metric_depth_input:
            lowest, highest = (1 / x[:, None, None, None] for x in (context.far, context.near))
            depth = (1 / depth - lowest) / (highest - lowest)
        return depth.flatten(0, 1)[:, None]

    def check(self, context: Views) -> None:
        """Raise `ParameterError` for views that this model cannot take."""
        check_context(type(self).__name__, context, self.config.multiple)
