"""The two networks of MVSplat: features that have seen the other views, then depth by matching them.

Source: Chen et al., "MVSplat: Efficient 3D Gaussian Splatting from Sparse Multi-View Images", ECCV 2024, section 3.1 to
3.3. Module names are those of the released checkpoints. Frames are ordered by scene, then view.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from pmgs_lib.models.backbones.cnn import IMAGENET_MEAN, IMAGENET_STD, ResidualPyramid
from pmgs_lib.models.base import full_precision
from pmgs_lib.models.matching.cost_volume import coarse_candidates, frame_range, matching_cost
from pmgs_lib.models.matching.transformer import MultiViewTransformer
from pmgs_lib.models.matching.unet import CrossViewSequential, CrossViewUNet
from pmgs_lib.models.mvsplat.config import MvSplatConfig, UNetConfig
from pmgs_lib.views import Views


class MatchingFeatures(NamedTuple):
    """Features of every view at matching size: after attention across views, and before it."""

    matching: Float[Tensor, "batch view channel row column"]
    cnn: Float[Tensor, "frame channel row column"]


class DepthEstimate(NamedTuple):
    """z-depth of every pixel, how opaque it is, and the raw channels of everything else about its Gaussian."""

    depth: Float[Tensor, "batch view h w"]
    opacity_logits: Float[Tensor, "batch view h w"]
    raw: Float[Tensor, "batch view channel h w"]


class Backbone(nn.Module):
    """Convolutional features of each view, and the same after attention to all other views."""

    def __init__(self, config: MvSplatConfig) -> None:
        super().__init__()
        width = config.transformer_width
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)
        self.backbone = ResidualPyramid(config.cnn_channels, width, config.downscale, early=True)
        self.transformer = MultiViewTransformer(
            width, config.transformer_blocks, config.feed_forward_factor, config.scrambled_window_mask
        )

    def forward(
        self, images: Float[Tensor, "batch view 3 h w"], neighbours: Int[Tensor, "batch view neighbour"]
    ) -> MatchingFeatures:
        cnn = self.backbone((images.flatten(0, 1) - self.mean) / self.std).low
        return MatchingFeatures(self.transformer(cnn.unflatten(0, images.shape[:2]), neighbours), cnn)


class DepthPredictor(nn.Module):
    """Plane sweep, a U-Net on its cost, and a second U-Net at image size that refines depth; both look across views."""

    def __init__(self, config: MvSplatConfig, gaussian_channels: int) -> None:
        super().__init__()
        self.config = config
        width, candidates = config.transformer_width, config.candidates
        cost, refined = config.cost_unet, config.refine_unet
        last = nn.Conv2d(cost.channels, candidates, 3, padding=1)
        self.corr_refine_net = CrossViewSequential(*_to_unet(candidates + width, cost, 8), _unet(cost, config), last)
        self.regressor_residual = nn.Conv2d(candidates + width, candidates, 1)
        self.depth_head_lowres = _head(candidates, 2 * candidates, candidates)
        self.upsampler = nn.Sequential(
            nn.Conv2d(2 * width, width, 3, padding=1),
            nn.Upsample(scale_factor=config.downscale, mode="bilinear", align_corners=True),
            nn.GELU(),
        )
        self.proj_feature = nn.Conv2d(width, refined.channels, 3, padding=1)
        # In: colour, features, inverse depth and its probability.
        self.refine_unet = CrossViewSequential(
            *_to_unet(3 + refined.channels + 1 + 1, refined, 4), _unet(refined, config)
        )
        self.to_gaussians = _head(refined.channels + 3 + width, 2 * gaussian_channels, gaussian_channels)
        self.to_disparity = _head(refined.channels, 2 * refined.channels, 2)

    def forward(
        self, context: Views, features: MatchingFeatures, neighbours: Int[Tensor, "batch view neighbour"]
    ) -> DepthEstimate:
        frames, images = context.images.shape[:2], context.images.flatten(0, 1)
        inverse_depth, probability = self.match(context, features.matching, neighbours)
        full = self.upsampler(torch.cat([features.matching.flatten(0, 1), features.cnn], dim=1))
        parts = [images, self.proj_feature(full), inverse_depth, probability]
        refined = self.refine_unet(torch.cat([x.to(full.dtype) for x in parts], dim=1), context.count)
        raw = self.to_gaussians(torch.cat([refined, images.to(refined.dtype), full.to(refined.dtype)], dim=1))
        change, opacity_logits = full_precision(self.to_disparity(refined)).unbind(1)
        highest, lowest = (1 / x[:, None, None] for x in frame_range(context))
        depth = 1 / (inverse_depth[:, 0] + change).clamp(lowest, highest)
        return DepthEstimate(*(x.unflatten(0, frames) for x in (depth, opacity_logits, raw)))

    def match(
        self,
        context: Views,
        features: Float[Tensor, "batch view channel row column"],
        neighbours: Int[Tensor, "batch view neighbour"],
    ) -> tuple[Float[Tensor, "frame 1 h w"], Float[Tensor, "frame 1 h w"]]:
        """Mean of the inverse depths that are tried under their match probability, and the highest of these."""
        size = (context.height, context.width)
        with torch.autocast(features.device.type, enabled=False):
            near, far = frame_range(context)
            candidates = coarse_candidates(near, far, self.config.candidates)[:, :, None, None]
            sweep = candidates.unflatten(0, features.shape[:2])
            cost = matching_cost(
                features, context.cameras, sweep, neighbours, self.config.reference_intrinsics
            ).flatten(0, 1)
        x = torch.cat([cost.to(features.dtype), features.flatten(0, 1)], dim=1)
        refined = self.corr_refine_net(x, context.count) + self.regressor_residual(x)
        probability = full_precision(self.depth_head_lowres(refined)).softmax(dim=1)
        inverse_depth = (probability * candidates).sum(1, keepdim=True)
        inverse_depth = functional.interpolate(inverse_depth, size=size, mode="bilinear", align_corners=True)
        return inverse_depth, functional.interpolate(probability.amax(1, keepdim=True), size=size)


def _to_unet(channels_in: int, unet: UNetConfig, groups: int) -> list[nn.Module]:
    return [nn.Conv2d(channels_in, unet.channels, 3, padding=1), nn.GroupNorm(groups, unet.channels), nn.GELU()]


def _unet(unet: UNetConfig, config: MvSplatConfig) -> CrossViewUNet:
    return CrossViewUNet(
        unet.channels, (1,) * unet.levels, config.unet_head_width, config.checkpoint_attention, post_norm=True
    )


def _head(channels_in: int, hidden: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, hidden, 3, padding=1), nn.GELU(), nn.Conv2d(hidden, channels_out, 3, padding=1)
    )
