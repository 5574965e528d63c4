"""DPT heads: from taps of the image transformer and matching features to maps of the image's size.

Source: Ranftl et al., "Vision Transformers for Dense Prediction", 2021; DepthSplat for the fusion with the matching
features. Module names are those of the released checkpoints.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pmgs_lib.models.aligned import HALF_BYTES, AlignedConv2d
from pmgs_lib.models.depthsplat.config import DptConfig

# What is concatenated, in this order, at 1/2, 1/4 and 1/8 of the image for (scales, upsample). "tap" is the head's own
# feature of that level, "matching0" and "matching1" the coarse and the fine matching feature.
FUSION = {
    (1, 4): (("half", "mid", "tap"), ("low", "tap", "matching0", "inverse_depth"), ("tap",)),
    (2, 2): (("half", "mid", "matching1", "inverse_depth", "tap"), ("low", "tap", "matching0"), ("tap",)),
    (2, 4): (("half", "tap"), ("mid", "tap", "matching1", "inverse_depth"), ("low", "tap", "matching0")),
    (1, 8): (("half", "tap"), ("mid", "tap"), ("low", "tap", "matching0", "inverse_depth")),
}


def resize(x: Float[Tensor, "frame channel row column"], size: tuple[int, int]) -> Float[Tensor, "frame channel h w"]:
    """Bilinear with aligned corners, as everywhere in the released network."""
    # Autocast would make all of it single precision; coordinates and weights are that anyway.
    with torch.autocast(x.device.type, enabled=False):
        return functional.interpolate(x, size=size, mode="bilinear", align_corners=True)


class ResidualUnit(nn.Module):
    """Two convolutions, each after a ReLU, on top of the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "frame channel row column"]) -> Float[Tensor, "frame channel row column"]:
        return x + self.conv2(functional.relu(self.conv1(functional.relu(x))))


class FusionBlock(nn.Module):
    """Adds a finer level to the coarser one, refines, and resizes. The deepest block has nothing to add."""

    def __init__(self, channels: int, deepest: bool) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(channels, channels, 1)
        if not deepest:
            self.resConfUnit1 = ResidualUnit(channels)
        self.resConfUnit2 = ResidualUnit(channels)

    def forward(
        self,
        x: Float[Tensor, "frame channel row column"],
        finer: Float[Tensor, "frame channel row column"] | None,
        size: tuple[int, int],
    ) -> Float[Tensor, "frame channel row_out column_out"]:
        if finer is not None:
            x = x + self.resConfUnit1(finer)
        x = self.resConfUnit2(x)
        if x.element_size() == HALF_BYTES:
            # Pixel by pixel and linear, the convolution may come first, where there are four times fewer pixels.
            return resize(self.out_conv(x), size)
        return self.out_conv(resize(x, size))


class Scratch(nn.Module):
    """The part of a DPT head that its authors train from scratch: one width for all levels, then the fusions."""

    def __init__(self, widths: tuple[int, int, int, int], channels: int, output: nn.Module | None) -> None:
        super().__init__()
        for level, width in enumerate(widths, start=1):
            setattr(self, f"layer{level}_rn", nn.Conv2d(width, channels, 3, padding=1, bias=False))
            setattr(self, f"refinenet{level}", FusionBlock(channels, deepest=level == len(widths)))
        if output is not None:
            self.output_conv = output

    def forward(self, levels: list[Tensor]) -> Float[Tensor, "frame channel h w"]:
        """From features at 1/2, 1/4, 1/8 and 1/16 to one map of twice the size of the first."""
        levels = [getattr(self, f"layer{number}_rn")(x) for number, x in enumerate(levels, start=1)]
        sizes = [tuple(2 * side for side in levels[0].shape[-2:]), *(x.shape[-2:] for x in levels[:-1])]
        fused = self.refinenet4(levels[3], None, tuple(sizes[3]))
        for number in (3, 2, 1):
            block = getattr(self, f"refinenet{number}")
            fused = block(fused, levels[number - 1], tuple(sizes[number - 1]))
        return self.output_conv(fused) if hasattr(self, "output_conv") else fused


class FusedDpt(nn.Module):
    """DPT head on four taps at 1/8 of the image and on named matching features.

    `order` is an entry of `FUSION`, `channels` the width of every named feature. With `output` the result has one
    channel (a correction of depth that starts at zero), else `config.features` channels.
    """

    regions = ("forward",)

    def __init__(
        self,
        config: DptConfig,
        tap_width: int,
        order: tuple[tuple[str, ...], ...],
        channels: dict[str, int],
        output: bool,
    ) -> None:
        super().__init__()
        self.order = order
        first, second, third, fourth = widths = config.projections
        self.projects = nn.ModuleList(nn.Conv2d(tap_width, width, 1) for width in widths)
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(first, first, 4, stride=4),
                nn.ConvTranspose2d(second, second, 2, stride=2),
                nn.Identity(),
                nn.Conv2d(fourth, fourth, 3, stride=2, padding=1),
            ]
        )
        self.concat_projects = nn.ModuleList(
            AlignedConv2d(sum(channels.get(name, width) for name in names), width, 1)
            for names, width in zip(order, (first, second, third), strict=True)
        )
        self.scratch = Scratch(widths, config.features, _depth_output(config.features) if output else None)

    def forward(
        self, taps: tuple[Float[Tensor, "frame tap row column"], ...], features: dict[str, Tensor]
    ) -> Float[Tensor, "frame channel h w"]:
        levels = []
        for tap, project, scale in zip(taps, self.projects, self.resize_layers, strict=True):
            levels.append(scale(project(tap)))
        for level, (names, project) in enumerate(zip(self.order, self.concat_projects, strict=True)):
            parts = features | {"tap": levels[level]}
            levels[level] = project(torch.cat([parts[name].to(levels[level].dtype) for name in names], dim=1))
        return self.scratch(levels)


def _depth_output(features: int) -> nn.Sequential:
    last = nn.Conv2d(16, 1, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(
        nn.Conv2d(features, features // 2, 3, padding=1, padding_mode="replicate"),
        nn.GELU(),
        nn.Conv2d(features // 2, 16, 3, padding=1, padding_mode="replicate"),
        nn.GELU(),
        last,
    )
