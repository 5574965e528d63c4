"""VGGT's aggregator: image tokens that look around inside their frame and across all frames in turn."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pmgs_lib.models.backbones.cnn import IMAGENET_MEAN, IMAGENET_STD
from pmgs_lib.pointmaps.vggt.blocks import Block, PatchEmbedding, rotation_table
from pmgs_lib.pointmaps.vggt.config import VggtConfig


class AggregatorTables(NamedTuple):
    """What depends on the size of the images only: made once a size, then handed in."""

    mean: Float[Tensor, "3 1 1"]
    deviation: Float[Tensor, "3 1 1"]
    position: Float[Tensor, "1 token width"]
    in_frame: Float[Tensor, "2 token channel"]
    across: Float[Tensor, "2 tokens channel"]


class RegisterVit(nn.Module):
    """DINOv2 with registers: patch tokens after the final norm.

    Unlike in DepthSplat's use of DINOv2, the position code is resized with antialiasing to the exact grid.
    Source: Oquab et al., "DINOv2", 2023; Darcet et al., "Vision Transformers Need Registers", 2023.
    """

    def __init__(self, config: VggtConfig) -> None:
        super().__init__()
        width, vision = config.width, config.vision
        self.side = vision.position_grid
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.randn(1, self.side**2 + 1, width) * 0.02)
        self.register_tokens = nn.Parameter(torch.zeros(1, vision.registers, width))
        self.patch_embed = PatchEmbedding(width, config.patch)
        self.blocks = nn.ModuleList(Block(width, vision.heads, epsilon=1e-6, scale=1.0) for _ in range(vision.depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(
        self, images: Float[Tensor, "frame 3 h w"], position: Float[Tensor, "1 place width"]
    ) -> Float[Tensor, "frame token width"]:
        frames = len(images)
        # Parameters, position and residual stream are float32 whatever the precision of the linear layers.
        placed = torch.cat([self.cls_token.expand(frames, -1, -1), self.patch_embed(images).float()], dim=1) + position
        registers = self.register_tokens.expand(frames, -1, -1)
        tokens = torch.cat([placed[:, :1], registers, placed[:, 1:]], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens[:, 1 + registers.shape[1] :])

    def position_code(self, rows: int, columns: int) -> Float[Tensor, "1 place width"]:
        """Learned position code of the class token and of a `rows` x `columns` grid."""
        if rows == columns == self.side:
            return self.pos_embed
        grid = self.pos_embed[:, 1:].mT.unflatten(-1, (self.side, self.side))
        resized = functional.interpolate(grid, size=(rows, columns), mode="bicubic", antialias=True)
        return torch.cat([self.pos_embed[:, :1], resized.flatten(2).mT], dim=1)


class Aggregator(nn.Module):
    """Stages of tokens: after each pair of blocks, the output inside frames beside that over all frames.

    Each frame has one camera token, then registers, then patches. The first frame has a camera token and registers of
    its own: it defines the world frame, so the order of frames matters.
    """

    def __init__(self, config: VggtConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = RegisterVit(config)
        self.camera_token = nn.Parameter(torch.randn(1, 2, 1, config.width) * 1e-6)
        self.register_token = nn.Parameter(torch.randn(1, 2, config.registers, config.width) * 1e-6)
        shape = (config.width, config.attention_heads)
        self.frame_blocks = nn.ModuleList(Block(*shape, rotary=True) for _ in range(config.pairs))
        self.global_blocks = nn.ModuleList(Block(*shape, rotary=True) for _ in range(config.pairs))

    @property
    def special(self) -> int:
        """Tokens of a frame before its patches."""
        return 1 + self.config.registers

    def tables(self, rows: int, columns: int, frames: int) -> AggregatorTables:
        """Tables for scenes of `frames` images of `rows` x `columns` patches, on the device of the weights."""
        device = self.camera_token.device
        channels = self.config.width // self.config.attention_heads
        rotation = rotation_table(rows, columns, self.special, channels, device)
        mean, deviation = (torch.tensor(x, device=device)[:, None, None] for x in (IMAGENET_MEAN, IMAGENET_STD))
        position = self.patch_embed.position_code(rows, columns)
        return AggregatorTables(mean, deviation, position, rotation, rotation.repeat(1, frames, 1))

    def forward(
        self, images: Float[Tensor, "batch frame 3 h w"], tables: AggregatorTables, stages: tuple[int, ...]
    ) -> dict[int, Float[Tensor, "batch frame token twice_width"]]:
        """The numbered `stages`; images in [0, 1]."""
        batch, frames = images.shape[:2]
        normalised = (images.flatten(0, 1) - tables.mean) / tables.deviation
        patches = self.patch_embed(normalised, tables.position).unflatten(0, (batch, frames))
        tokens = torch.cat([self._special_tokens(batch, frames), patches], dim=2)
        shape, kept = tokens.shape, {}
        for number, (inside, across) in enumerate(zip(self.frame_blocks, self.global_blocks, strict=True)):
            in_frame = inside(tokens.flatten(0, 1), tables.in_frame).view(shape)
            tokens = across(in_frame.flatten(1, 2), tables.across).view(shape)
            if number in stages:
                kept[number] = torch.cat([in_frame, tokens], dim=-1)
        return kept

    def _special_tokens(self, batch: int, frames: int) -> Float[Tensor, "batch frame special width"]:
        both = torch.cat([self.camera_token, self.register_token], dim=2)
        return torch.cat([both[:, :1], both[:, 1:].expand(-1, frames - 1, -1, -1)], dim=1).expand(batch, -1, -1, -1)
