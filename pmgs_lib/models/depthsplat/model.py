"""DepthSplat: depth by matching and monocular features, then one Gaussian for each pixel of each view.

Source: Xu et al., "DepthSplat: Connecting Gaussian Splatting and Depth", CVPR 2025. Module names are those of the
released checkpoints.
"""

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pmgs_lib.models.aligned import AlignedConv2d
from pmgs_lib.models.base import Prediction
from pmgs_lib.models.by_views import by_views
from pmgs_lib.models.checks import check_context
from pmgs_lib.models.depthsplat.color_branch import ColorFrames, build_features, build_regressor
from pmgs_lib.models.depthsplat.config import DepthSplatConfig
from pmgs_lib.models.depthsplat.depth_network import DepthEstimate, DepthPredictor
from pmgs_lib.models.depthsplat.gaussian_adapter import GaussianAdapter
from pmgs_lib.models.matching.unet import UNetRegressor
from pmgs_lib.views import Views

# Raw value that untrained confidences start from, as released.
INITIAL_CONFIDENCE = 0.5


class DepthSplat(nn.Module):
    """Feed-forward Gaussians and depth from two or more posed views.

    Call it with context views of batch shape `(batch,)`; sides must be multiples of `config.multiple`. In training mode
    the prediction carries the coarse estimates as `intermediates`; they share everything but depth with the final one.

    `views_at_once`: on how many frames the parts work together that see each frame for itself; None for all.
    """

    regions = ("frames_to_raw",)
    views_at_once: int | None = None

    def __init__(self, config: DepthSplatConfig) -> None:
        super().__init__()
        self.config = config
        self.depth_predictor = DepthPredictor(config)
        if config.color is not None:
            self._add_color_branch(config)

    def _add_color_branch(self, config: DepthSplatConfig) -> None:
        color = config.color
        self.feature_upsampler = build_features(config)
        self.gaussian_regressor = build_regressor(config)
        self.gaussian_adapter = GaussianAdapter(color.adapter)
        width_in = color.regressor.channels + 3 + color.features.features + 1
        width = self.gaussian_adapter.channels
        hidden = width * color.head_expansion
        self.gaussian_head = nn.Sequential(
            AlignedConv2d(width_in, hidden, 3, padding=1, padding_mode="replicate"),
            nn.GELU(),
            AlignedConv2d(hidden, width, 3, padding=1, padding_mode="replicate"),
        )
        self._initialise_head(color.initial_opacity)

    @torch.no_grad()
    def _initialise_head(self, opacity: float) -> None:
        """Start with the image's own colours, without view dependence, at one size and opacity everywhere.

        Rows are found by name: the released code of October 2024 takes those of a head without confidence (quirk C).
        """
        last, rows = self.gaussian_head[2], self.gaussian_adapter.rows
        for name in ("scale", "harmonics"):
            last.weight[rows[name]] = 0
            last.bias[rows[name]] = 0
        last.bias[rows["opacity"]] = math.log(opacity / (1 - opacity))
        if "confidence" in rows:
            last.bias[rows["confidence"]] = INITIAL_CONFIDENCE

    def forward(self, context: Views) -> Prediction:
        context = check_context(type(self).__name__, context, self.config.multiple)
        estimate = self.depth_predictor(context)
        settings = self.config.rendering
        if self.config.color is None:
            predictions = [Prediction(None, depth, settings) for depth in estimate.depths]
        else:
            predictions = self.color_predictions(context, estimate)
        return replace(predictions[-1], intermediates=tuple(predictions[:-1]))

    def color_predictions(self, context: Views, estimate: DepthEstimate) -> list[Prediction]:
        """Gaussians in the world for each depth of the estimate. They share everything that is not depth."""
        batch, views = context.images.shape[:2]
        frames = self.color_frames(context, estimate)
        raw = self.raw_gaussians(frames, views).unflatten(0, (batch, views))
        adapter, predictions = self.gaussian_adapter, []
        turn = adapter.turn(context.cameras)
        with torch.autocast(raw.device.type, enabled=False):
            confidence = adapter.confidence(raw, frames.match_probability.unflatten(0, (batch, views)))
            for depth in estimate.depths:
                gaussians = adapter.world_gaussians(raw, depth, context, turn)
                depth = adapter.z_depth(depth, context.cameras)
                predictions.append(Prediction(gaussians, depth, self.config.rendering, confidence=confidence))
        return predictions

    def color_frames(self, context: Views, estimate: DepthEstimate) -> ColorFrames:
        """What the colour branch is told about every view, from the final depth of the estimate."""
        probability = estimate.match_probability.amax(1, keepdim=True)
        return ColorFrames(
            images=context.images.flatten(0, 1),
            depth=self.depth_input(context, estimate.depths[-1]),
            match_probability=functional.interpolate(probability, size=context.images.shape[-2:]),
            taps=estimate.taps,
            features=estimate.features,
        )

    def raw_gaussians(self, frames: ColorFrames, views: int) -> Float[Tensor, "frame channel h w"]:
        """Raw channels of the Gaussians of some frames (see `GaussianAdapter`), `views` frames a scene.

        Every step but a U-Net regressor treats each frame for itself, so with another regressor the frames may be any
        part of all, with any divisor of their number as `views`.
        """
        if isinstance(self.gaussian_regressor, UNetRegressor):
            return self.frames_to_raw(frames, views)
        parts = (frames.images, frames.depth, frames.match_probability, frames.taps, frames.features)
        return by_views(lambda *own: self.frames_to_raw(ColorFrames(*own), 1), self.views_at_once, *parts)

    def frames_to_raw(self, frames: ColorFrames, views: int) -> Float[Tensor, "frame channel h w"]:
        """`raw_gaussians` of all these frames at once."""
        features = self.feature_upsampler(frames.taps, frames.features)
        parts = [frames.images, frames.depth, frames.match_probability, features]
        regressed = self.gaussian_regressor(torch.cat([x.to(features.dtype) for x in parts], dim=1), views)
        parts = [regressed, frames.images, features, frames.match_probability]
        return self.gaussian_head(torch.cat([x.to(features.dtype) for x in parts], dim=1))

    def depth_input(self, context: Views, depth: Float[Tensor, "batch view h w"]) -> Float[Tensor, "frame 1 h w"]:
        """What the regressor is told about depth: world units, or its place in the inverse depth range."""
        if not self.config.color.metric_depth_input:
            lowest, highest = (1 / x[:, None, None, None] for x in (context.far, context.near))
            depth = (1 / depth - lowest) / (highest - lowest)
        return depth.flatten(0, 1)[:, None]
