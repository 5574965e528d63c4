"""DINOv2 vision transformer: four intermediate feature maps from one image.

Source: Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", 2023 (no registers). Module names
are those of the released checkpoints.
"""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pmgs_lib.models.base import ModelConfig, full_precision

# The released position code is resized for a grid 0.1 larger than the real one; weights were trained with it.
POSITION_OFFSET = 0.1
LayerNorm = partial(nn.LayerNorm, eps=1e-6)


class VitConfig(ModelConfig):
    """Size of a vision transformer. `taps` are the blocks whose outputs are used, shallow first."""

    width: int
    depth: int
    heads: int
    taps: tuple[int, int, int, int]
    position_grid: int = 37  # tokens a side that the position code was trained for
    patch: int = 14


VIT_PRESETS = {
    "vits": VitConfig(width=384, depth=12, heads=6, taps=(2, 5, 8, 11)),
    "vitb": VitConfig(width=768, depth=12, heads=12, taps=(2, 5, 8, 11)),
    "vitl": VitConfig(width=1024, depth=24, heads=16, taps=(4, 11, 17, 23)),
}


class Attention(nn.Module):
    """Multi-head self-attention with one joint projection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Float[Tensor, "frame token width"]) -> Float[Tensor, "frame token width"]:
        query, key, value = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(-2))


class FeedForward(nn.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Float[Tensor, "frame token width"]) -> Float[Tensor, "frame token width"]:
        return self.fc2(self.act(self.fc1(tokens)))


class LayerScale(nn.Module):
    """A learned factor for each channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, tokens: Float[Tensor, "frame token width"]) -> Float[Tensor, "frame token width"]:
        return tokens * self.gamma


class Block(nn.Module):
    """Attention, then feed-forward, each after a norm and scaled before the sum."""

    regions = ("forward",)

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = LayerNorm(width)
        self.attn = Attention(width, heads)
        self.ls1 = LayerScale(width)
        self.norm2 = LayerNorm(width)
        self.mlp = FeedForward(width)
        self.ls2 = LayerScale(width)

    def forward(self, tokens: Float[Tensor, "frame token width"]) -> Float[Tensor, "frame token width"]:
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens)))
        return tokens + self.ls2(self.mlp(self.norm2(tokens)))


class PatchEmbedding(nn.Module):
    """One token for each square patch of the image."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)

    def forward(self, images: Float[Tensor, "frame 3 h w"]) -> Float[Tensor, "frame width row column"]:
        return self.proj(images)


class DinoV2(nn.Module):
    """Tapped blocks of the transformer as maps, each after the final norm, without the class token.

    Images must be normalised, with sides that are multiples of the patch size.
    """

    regions = ("position_code",)

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.config = config
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, config.position_grid**2 + 1, config.width))
        self.patch_embed = PatchEmbedding(config.width, config.patch)
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.depth))
        self.norm = LayerNorm(config.width)
        self._initialise()

    def _initialise(self) -> None:
        nn.init.normal_(self.cls_token, std=1e-6)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, images: Float[Tensor, "frame 3 h w"]) -> tuple[Float[Tensor, "frame width row column"], ...]:
        patches = self.patch_embed(images)
        grid = patches.shape[-2:]
        tokens = torch.cat([self.cls_token.expand(len(images), -1, -1), patches.flatten(2).mT], dim=1)
        tokens = tokens + self.position_code(*grid).to(tokens.dtype)
        taps = []
        for number, block in enumerate(self.blocks):
            tokens = block(tokens)
            if number in self.config.taps:
                # Under autocast the sums of the blocks are in full precision; what is handed on need not be.
                taps.append(self.norm(tokens)[:, 1:].to(patches.dtype).mT.unflatten(-1, grid))
        return tuple(taps)

    def position_code(self, rows: int, columns: int) -> Float[Tensor, "1 token width"]:
        """Learned position code of the class token and of a `rows` x `columns` grid, resized bicubically."""
        side = self.config.position_grid
        if (rows, columns) == (side, side):
            return self.pos_embed
        grid = full_precision(self.pos_embed[:, 1:].mT.unflatten(-1, (side, side)))
        factors = [(rows + POSITION_OFFSET) / side, (columns + POSITION_OFFSET) / side]
        resized = functional.interpolate(grid, scale_factor=factors, mode="bicubic")
        return torch.cat([self.pos_embed[:, :1], resized.flatten(2).mT], dim=1)
