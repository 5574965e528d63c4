"""U-Net whose lowest level lets the tokens of all views attend to each other.

Source: the 2D U-Net of Latent Diffusion (Rombach et al., 2022) as MVSplat and DepthSplat refine cost volumes with it.
Module names are those of the released checkpoints.
"""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

GROUPS = 8


class ResBlock(nn.Module):
    """Two normalised convolutions; the last step starts at zero, so that the block starts as its shortcut."""

    def __init__(self, channels_in: int, channels_out: int, post_norm: bool = False) -> None:
        super().__init__()
        if post_norm:
            self.in_layers = _convolved_then_normalised(channels_in, channels_out)
            self.out_layers = _convolved_then_normalised(channels_out, channels_out)
            _zero(self.out_layers[1])
        else:
            self.in_layers = nn.Sequential(
                nn.GroupNorm(GROUPS, channels_in), nn.SiLU(), nn.Conv2d(channels_in, channels_out, 3, padding=1)
            )
            # The identity keeps the place of the released models' dropout of rate zero.
            self.out_layers = nn.Sequential(
                nn.GroupNorm(GROUPS, channels_out),
                nn.SiLU(),
                nn.Identity(),
                _zero(nn.Conv2d(channels_out, channels_out, 3, padding=1)),
            )
        same = channels_in == channels_out
        self.skip_connection = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Float[Tensor, "frame channel row column"]) -> Float[Tensor, "frame channel_out row column"]:
        return self.skip_connection(x) + self.out_layers(self.in_layers(x))


class CrossViewAttention(nn.Module):
    """Self-attention over the tokens of all views of a scene together."""

    def __init__(self, channels: int, head_width: int, checkpointed: bool, post_norm: bool = False) -> None:
        super().__init__()
        self.heads = channels // head_width
        self.checkpointed = checkpointed
        self.post_norm = post_norm
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)
        _zero(self.norm if post_norm else self.proj_out)

    def forward(
        self, x: Float[Tensor, "frame channel row column"], views: int
    ) -> Float[Tensor, "frame channel row column"]:
        if self.checkpointed and self.training:
            return checkpoint(self.attend, x, views, use_reentrant=False)
        return self.attend(x, views)

    def attend(
        self, x: Float[Tensor, "frame channel row column"], views: int
    ) -> Float[Tensor, "frame channel row column"]:
        """Attention with its residual. Views are normalised and projected one by one and attend together."""
        size, tokens = x.shape[-2:], x.flatten(2)
        joint = self.qkv(tokens if self.post_norm else self.norm(tokens)).unflatten(0, (-1, views))
        joint = joint.transpose(1, 2).flatten(2)
        # Each head's query, key and value lie side by side in the joint projection.
        query, key, value = joint.unflatten(1, (self.heads, 3, -1)).mT.unbind(2)
        mixed = functional.scaled_dot_product_attention(query, key, value).mT.flatten(1, 2)
        mixed = mixed.unflatten(2, (views, -1)).transpose(1, 2).flatten(0, 1)
        message = self.proj_out(mixed)
        return x + (self.norm(message) if self.post_norm else message).unflatten(2, size)


class Downsample(nn.Module):
    """Halves the size with a strided convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(
        self, x: Float[Tensor, "frame channel row column"]
    ) -> Float[Tensor, "frame channel row_out column_out"]:
        return self.op(x)


class Upsample(nn.Module):
    """Doubles the size by repetition, then smooths with a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(
        self, x: Float[Tensor, "frame channel row column"]
    ) -> Float[Tensor, "frame channel row_out column_out"]:
        return self.conv(functional.interpolate(x, scale_factor=2, mode="nearest"))


class CrossViewUNet(nn.Module):
    """One residual block a level down, two a level up, attention at the lowest level; width and size are kept.

    `multipliers` gives one factor of `channels` for each level. Sides must divide by 2 ** (levels - 1). DepthSplat
    normalises before each convolution and attention, MVSplat after it (`post_norm`).
    """

    def __init__(
        self,
        channels: int,
        multipliers: tuple[int, ...],
        head_width: int,
        checkpointed: bool = False,
        post_norm: bool = False,
    ) -> None:
        super().__init__()
        widths = [channels * factor for factor in multipliers]
        lowest = len(widths) - 1
        residual = partial(ResBlock, post_norm=post_norm)

        def attention(level: int) -> list[nn.Module]:
            return [CrossViewAttention(widths[level], head_width, checkpointed, post_norm)] if level == lowest else []

        self.input_blocks = nn.ModuleList([nn.ModuleList([nn.Conv2d(channels, channels, 3, padding=1)])])
        skips, width = [channels], channels
        for level, level_width in enumerate(widths):
            self.input_blocks.append(nn.ModuleList([residual(width, level_width), *attention(level)]))
            width = level_width
            skips.append(width)
            if level != lowest:
                self.input_blocks.append(nn.ModuleList([Downsample(width)]))
                skips.append(width)
        # The released models keep the place of an attention in the middle, without parameters.
        self.middle_block = nn.ModuleList([residual(width, width), nn.Identity(), residual(width, width)])
        self.output_blocks = nn.ModuleList()
        for level in range(lowest, -1, -1):
            for last in (False, True):
                block = [residual(width + skips.pop(), widths[level]), *attention(level)]
                width = widths[level]
                self.output_blocks.append(nn.ModuleList([*block, Upsample(width)] if last and level else block))
        if post_norm:
            self.out = _convolved_then_normalised(width, channels)
        else:
            last = _zero(nn.Conv2d(width, channels, 3, padding=1))
            self.out = nn.Sequential(nn.GroupNorm(GROUPS, width), nn.SiLU(), last)

    def forward(
        self, x: Float[Tensor, "frame channel row column"], views: int
    ) -> Float[Tensor, "frame channel row column"]:
        skips = []
        for block in self.input_blocks:
            x = _run(block, x, views)
            skips.append(x)
        x = _run(self.middle_block, x, views)
        for block in self.output_blocks:
            x = _run(block, torch.cat([x, skips.pop()], dim=1), views)
        return self.out(x)


class CrossViewSequential(nn.Sequential):
    """Modules one after the other, of which the U-Nets look across `views`."""

    def forward(
        self, x: Float[Tensor, "frame channel row column"], views: int
    ) -> Float[Tensor, "frame channel_out row column"]:
        for module in self:
            x = module(x, views) if isinstance(module, CrossViewUNet) else module(x)
        return x


class UNetRegressor(CrossViewSequential):
    """A convolution to the U-Net's width, the U-Net that looks across views, and a last convolution."""

    regions = ("forward",)

    def __init__(
        self,
        channels_in: int,
        channels: int,
        multipliers: tuple[int, ...],
        head_width: int,
        checkpointed: bool = False,
    ) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels, 3, padding=1),
            nn.GroupNorm(GROUPS, channels),
            nn.GELU(),
            CrossViewUNet(channels, multipliers, head_width, checkpointed),
            nn.Conv2d(channels, channels, 3, padding=1),
        )


def _run(block: nn.ModuleList, x: Tensor, views: int) -> Tensor:
    for module in block:
        x = module(x, views) if isinstance(module, CrossViewAttention) else module(x)
    return x


def _convolved_then_normalised(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1), nn.GroupNorm(GROUPS, channels_out), nn.SiLU()
    )


def _zero(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module
