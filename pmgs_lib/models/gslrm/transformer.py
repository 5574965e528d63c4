"""The transformer of GS-LRM: pre-norm, without biases, full attention among the patches of all views.

Source: Zhang et al., ECCV 2024, section 3. Module names are those of the unofficial code's checkpoints.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from pmgs_lib.models.base import full_precision
from pmgs_lib.models.gslrm.config import GslrmConfig


class Attention(nn.Module):
    """Attention of all tokens to all; order and number of tokens are free."""

    def __init__(self, config: GslrmConfig) -> None:
        super().__init__()
        self.shape = (3, config.heads, config.head_width)
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.proj = nn.Linear(config.width, config.width, bias=False)
        self.norms = nn.ModuleList()
        if config.normalise_queries:
            self.norms.extend(nn.RMSNorm(config.head_width) for _ in ("query", "key"))

    def forward(self, x: Float[Tensor, "batch token width"]) -> Float[Tensor, "batch token width"]:
        query, key, value = self.qkv(x).unflatten(-1, self.shape).permute(2, 0, 3, 1, 4)
        if self.norms:
            # Their weights stay in float32 under autocast, and so do they.
            query, key = (
                norm(full_precision(y)).to(value.dtype) for norm, y in zip(self.norms, (query, key), strict=True)
            )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear maps with a GELU between them, token by token."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden, bias=False)
        self.fc2 = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Float[Tensor, "batch token width"]) -> Float[Tensor, "batch token width"]:
        return self.fc2(functional.gelu(self.fc1(x)))


class Block(nn.Module):
    """Attention and feed-forward, each added to what comes in; the sum stays in float32 under autocast."""

    regions = ("forward",)

    def __init__(self, config: GslrmConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, bias=False)
        self.attn = Attention(config)
        self.norm2 = nn.LayerNorm(config.width, bias=False)
        self.mlp = FeedForward(config.width, config.feed_forward_factor * config.width)

    def forward(self, x: Float[Tensor, "batch token width"]) -> Float[Tensor, "batch token width"]:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    """All blocks, one after the other."""

    def __init__(self, config: GslrmConfig) -> None:
        super().__init__()
        self.checkpoint_blocks = config.checkpoint_blocks
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))

    def forward(self, x: Float[Tensor, "batch token width"]) -> Float[Tensor, "batch token width"]:
        recompute = self.checkpoint_blocks and torch.is_grad_enabled()
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if recompute else block(x)
        return x
