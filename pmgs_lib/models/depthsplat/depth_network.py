"""The depth network of DepthSplat: multi-view matching and monocular features, refined to depth at image size.

Source: Xu et al., "DepthSplat: Connecting Gaussian Splatting and Depth", CVPR 2025, section 3.1. Module names are those
of the released checkpoints. Everything in here is inverse depth until the end.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pmgs_lib.models.backbones.cnn import IMAGENET_MEAN, IMAGENET_STD, ResidualPyramid
from pmgs_lib.models.backbones.dinov2 import DinoV2
from pmgs_lib.models.base import full_precision
from pmgs_lib.models.by_views import by_views
from pmgs_lib.models.depthsplat.config import DepthSplatConfig
from pmgs_lib.models.depthsplat.upsampler import FUSION, FusedDpt, resize
from pmgs_lib.models.matching.cost_volume import coarse_candidates, fine_candidates, frame_range, matching_cost
from pmgs_lib.models.matching.transformer import MultiViewTransformer, nearest_views
from pmgs_lib.models.matching.unet import UNetRegressor
from pmgs_lib.views import Views


@dataclass(frozen=True)
class DepthEstimate:
    """Depths of all views (final last, in training the coarse ones before it) and what the colour branch reuses."""

    depths: tuple[Float[Tensor, "batch view h w"], ...]
    match_probability: Float[Tensor, "frame candidate row column"]
    features: dict[str, Tensor]
    taps: tuple[Float[Tensor, "frame tap tap_row tap_column"], ...]


class FeaturePyramid(nn.Module):
    """The same features at the sizes of all scales: kept at the coarse one, doubled at the fine one."""

    regions = ("forward",)

    def __init__(self, channels: int, scales: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList([nn.Identity()])
        for scale in range(1, scales):
            width = channels >> scale
            doubled = nn.ConvTranspose2d(channels, width, 2, stride=2)
            self.stages.append(nn.Sequential(doubled, nn.GELU(), nn.Conv2d(width, width, 3, padding=1)))

    def forward(self, x: Float[Tensor, "frame channel row column"]) -> list[Tensor]:
        return [stage(x) for stage in self.stages]


class DepthPredictor(nn.Module):
    """z-depth of every view of a batch of scenes, from two views on.

    `views_at_once`: on how many frames the parts work together that see each frame for itself; None for all.
    """

    regions = ("weigh",)
    views_at_once: int | None = None

    def __init__(self, config: DepthSplatConfig) -> None:
        super().__init__()
        self.config = config
        width, tap_width = config.transformer_width, config.vit.width
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)
        self.backbone = ResidualPyramid(config.cnn_channels, width, config.lowest)
        self.transformer = MultiViewTransformer(
            width, config.transformer_blocks, config.feed_forward_factor, config.scrambled_window_mask
        )
        self.pretrained = DinoV2(config.vit)
        if config.scales > 1:
            self.mv_pyramid = FeaturePyramid(width, config.scales)
            self.mono_pyramid = FeaturePyramid(tap_width, config.scales)
        self.regressor, self.regressor_residual, self.depth_head = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for scale in range(config.scales):
            self._add_scale(scale, [width, config.cnn_channels[1]][scale] + (width >> scale) + (tap_width >> scale))
        order = FUSION[config.scales, config.upsample]
        self.upsampler = FusedDpt(config.dpt, tap_width, order, feature_channels(config), output=True)

    def _add_scale(self, scale: int, feature_width: int) -> None:
        config, candidates = self.config, self.config.candidates >> 2 * scale
        channels = config.unet_channels >> scale
        width_in = candidates + feature_width
        levels = (1,) * (config.unet_levels + scale)
        self.regressor.append(
            UNetRegressor(width_in, channels, levels, config.unet_head_width, config.checkpoint_attention)
        )
        self.regressor_residual.append(nn.Conv2d(width_in, channels, 1))
        self.depth_head.append(
            nn.Sequential(
                nn.Conv2d(channels, 2 * channels, 3, padding=1, padding_mode="replicate"),
                nn.GELU(),
                nn.Conv2d(2 * channels, candidates, 3, padding=1, padding_mode="replicate"),
            )
        )

    def forward(self, context: Views) -> DepthEstimate:
        batch, views = context.images.shape[:2]
        images = (context.images.flatten(0, 1) - self.mean) / self.std
        neighbours = nearest_views(context.cameras.centers, self.config.nearest_views, self.config.all_pairs_up_to)
        cnn = by_views(self.backbone, self.views_at_once, images)
        low = self.transformer(cnn.low.unflatten(0, (batch, views)), neighbours).flatten(0, 1)
        taps, mono = self.monocular(images)
        matching = self.mv_pyramid(low) if self.config.scales > 1 else [low]
        monocular = self.mono_pyramid(mono) if self.config.scales > 1 else [mono]
        coarse, inverse_depth = [], None
        for scale, cnn_features in enumerate((cnn.low, cnn.mid)[: self.config.scales]):
            features = [matching[scale], cnn_features, monocular[scale]]
            inverse_depth, probability = self.match(scale, context, neighbours, features, inverse_depth)
            coarse.append(inverse_depth)
        named = {"half": cnn.half, "mid": cnn.mid, "low": cnn.low, "inverse_depth": inverse_depth[:, None]}
        named |= {f"matching{scale}": x for scale, x in enumerate(matching)}
        named |= {f"monocular{scale}": x for scale, x in enumerate(monocular)}
        final = self.refine(inverse_depth, context, taps, named)
        size = (context.height, context.width)
        supervised = coarse if self.config.supervise_last_scale else coarse[:-1]
        early = [resize(x[:, None], size)[:, 0] for x in supervised] if self.training else []
        depths = tuple((1 / x).unflatten(0, (batch, views)) for x in [*early, final])
        return DepthEstimate(depths, probability, named, taps)

    def monocular(self, images: Float[Tensor, "frame 3 h w"]) -> tuple[tuple[Tensor, ...], Tensor]:
        """Four taps of the image transformer at 1/8 of the image, and the last at the coarse matching size."""
        height, width = images.shape[-2:]
        patch = self.config.vit.patch
        fitting = resize(images, (height // patch * patch, width // patch * patch))
        tapped = by_views(self.pretrained, self.views_at_once, fitting)
        taps = tuple(resize(tap, (height // 8, width // 8)) for tap in tapped)
        lowest = self.config.lowest
        return taps, taps[-1] if lowest == 8 else resize(taps[-1], (height // lowest, width // lowest))

    def match(
        self,
        scale: int,
        context: Views,
        neighbours: Int[Tensor, "batch view neighbour"],
        features: list[Tensor],
        coarser: Float[Tensor, "frame coarse_row coarse_column"] | None,
    ) -> tuple[Float[Tensor, "frame row column"], Float[Tensor, "frame candidate row column"]]:
        """Inverse depth at one scale as the mean of its candidates under the match probability.

        `features` are the matching, convolutional and monocular features of this scale.
        """
        views = context.count
        matching, cnn, mono = (x.to(features[1].dtype) for x in features)
        with torch.autocast(matching.device.type, enabled=False):
            candidates = self.candidates(scale, context, tuple(matching.shape[-2:]), coarser)
            cost = matching_cost(
                matching.unflatten(0, (-1, views)),
                context.cameras,
                candidates.unflatten(0, (-1, views)),
                neighbours,
                self.config.reference_intrinsics,
            ).flatten(0, 1)
        return self.weigh(scale, [cost.to(cnn.dtype), cnn, matching, mono], candidates, views)

    def weigh(
        self,
        scale: int,
        parts: list[Tensor],
        candidates: Float[Tensor, "frame candidate #row #column"],
        views: int,
    ) -> tuple[Float[Tensor, "frame row column"], Float[Tensor, "frame candidate row column"]]:
        """Mean of the candidates, and their match probability, from `parts`: cost and features at each pixel."""
        x = torch.cat(parts, dim=1)
        refined = self.regressor[scale](x, views) + self.regressor_residual[scale](x)
        # Rounded logits would be the largest part of what half precision does to depth.
        with torch.autocast(refined.device.type, enabled=False):
            probability = self.depth_head[scale](full_precision(refined)).softmax(dim=1)
        return (probability * candidates).sum(1), probability

    @torch.no_grad()
    def candidates(
        self, scale: int, context: Views, size: tuple[int, int], coarser: Tensor | None
    ) -> Float[Tensor, "frame candidate #row #column"]:
        """Inverse depths to try: the whole range at the coarse scale, then around the coarser estimate."""
        near, far = frame_range(context)
        count = self.config.candidates
        if coarser is None:
            return coarse_candidates(near, far, count)[:, :, None, None]
        interval = (1 / near - 1 / far) / (count - 1) / 2**scale
        center = resize(coarser[:, None], size)[:, 0]
        return fine_candidates(center, near, far, interval, count >> 2 * scale)

    def refine(
        self, inverse_depth: Float[Tensor, "frame row column"], context: Views, taps: tuple, features: dict[str, Tensor]
    ) -> Float[Tensor, "frame h w"]:
        """Inverse depth at image size: resized, corrected by the upsampler, and cut at the depth range."""
        correction = full_precision(by_views(self.upsampler, self.views_at_once, taps, features)[:, 0])
        size = (context.height, context.width)
        near, far = (
            full_precision(x).repeat_interleave(context.count)[:, None, None] for x in (context.near, context.far)
        )
        full = resize(inverse_depth[:, None], size)[:, 0] + correction
        return torch.minimum(torch.maximum(full, 1 / far), 1 / near)


def feature_channels(config: DepthSplatConfig) -> dict[str, int]:
    """Widths of the named features that the heads fuse; those of the coarse scale end in 0, of the fine one in 1."""
    half, mid, _ = config.cnn_channels
    matching, monocular = config.transformer_width, config.vit.width
    channels = {"half": half, "mid": mid, "low": matching, "inverse_depth": 1}
    for scale in range(config.scales):
        channels |= {f"matching{scale}": matching >> scale, f"monocular{scale}": monocular >> scale}
    return channels
