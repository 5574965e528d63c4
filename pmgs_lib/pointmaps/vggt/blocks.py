"""Transformer blocks that VGGT's parts share.

Every linear layer computes in the precision of its weights and everything else in float32. With weights in bfloat16
this is what CUDA's autocast makes of a float32 model (norms, rotations, residual stream in float32), with none of its
casts of weights.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

ROTATION_BASE = 100.0


class Linear(nn.Linear):
    """A linear layer that takes input of any precision and computes in its own."""

    def forward(self, x: Float[Tensor, "*batch inward"]) -> Float[Tensor, "*batch outward"]:
        return functional.linear(x.to(self.weight.dtype), self.weight, self.bias)


class PatchEmbedding(nn.Module):
    """One token for each square patch of the image."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)

    def forward(self, images: Float[Tensor, "frame 3 h w"]) -> Float[Tensor, "frame token width"]:
        return self.proj(images.to(self.proj.weight.dtype)).flatten(2).mT


class Attention(nn.Module):
    """Self-attention. In VGGT's aggregator queries and keys are normalised and rotated by their place (2-D RoPE)."""

    def __init__(self, width: int, heads: int, normalised: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.q_norm = nn.LayerNorm(width // heads) if normalised else nn.Identity()
        self.k_norm = nn.LayerNorm(width // heads) if normalised else nn.Identity()
        self.proj = Linear(width, width)

    def forward(
        self, tokens: Float[Tensor, "batch token width"], rotation: Float[Tensor, "2 token channel"] | None
    ) -> Float[Tensor, "batch token width"]:
        query, key, value = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).unbind(2)
        if rotation is not None:
            query = rotate(self.q_norm(query.float()), rotation).to(value.dtype)
            key = rotate(self.k_norm(key.float()), rotation).to(value.dtype)
        # Heads move before tokens as views: the fused kernels take any strides there.
        parts = (part.transpose(1, 2) for part in (query, key, value))
        return self.proj(functional.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(-2))


class FeedForward(nn.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, width: int, hidden: int, outward: int) -> None:
        super().__init__()
        self.fc1 = Linear(width, hidden)
        self.fc2 = Linear(hidden, outward)

    def forward(self, tokens: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch outward"]:
        return self.fc2(functional.gelu(self.fc1(tokens)))


class LayerScale(nn.Module):
    """A learned factor for each channel."""

    def __init__(self, width: int, start: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), start))

    def forward(self, tokens: Float[Tensor, "batch token width"]) -> Float[Tensor, "batch token width"]:
        return tokens * self.gamma


class Block(nn.Module):
    """Attention, then feed-forward, each after a norm and scaled before the sum.

    rotary: normalise and rotate queries and keys. epsilon: of the two norms. scale: start of the layer scales.
    """

    def __init__(
        self, width: int, heads: int, *, rotary: bool = False, epsilon: float = 1e-5, scale: float = 0.01
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=epsilon)
        self.attn = Attention(width, heads, normalised=rotary)
        self.ls1 = LayerScale(width, scale)
        self.norm2 = nn.LayerNorm(width, eps=epsilon)
        self.mlp = FeedForward(width, 4 * width, width)
        self.ls2 = LayerScale(width, scale)

    def forward(
        self, tokens: Float[Tensor, "batch token width"], rotation: Float[Tensor, "2 token channel"] | None = None
    ) -> Float[Tensor, "batch token width"]:
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens), rotation))
        return tokens + self.ls2(self.mlp(self.norm2(tokens)))


def rotation_table(
    rows: int, columns: int, special: int, channels: int, device: torch.device
) -> Float[Tensor, "2 token channel"]:
    """Cosines and sines that turn one head's channels of every token of a frame.

    The first half of the channels turns with the row, the second with the column, in pairs half of a half apart.
    Patches count from 1; the `special` tokens before them stand at 0 and are not turned.
    """
    quarter = channels // 4
    speeds = ROTATION_BASE ** (-torch.arange(quarter, dtype=torch.float64, device=device) / quarter)
    grid = torch.cartesian_prod(*(torch.arange(1, n + 1, device=device) for n in (rows, columns)))
    places = torch.cat([grid.new_zeros(special, 2), grid.reshape(-1, 2)]).double()
    angles = (places[:, :, None, None] * speeds).expand(-1, -1, 2, -1).flatten(1)
    return torch.stack([angles.cos(), angles.sin()]).float()


def rotate(
    x: Float[Tensor, "batch token head channel"], rotation: Float[Tensor, "2 token channel"]
) -> Float[Tensor, "batch token head channel"]:
    """Queries or keys turned by the angles of `rotation_table`."""
    cosine, sine = rotation[:, :, None]
    first, second = x.unflatten(-1, (2, 2, -1)).unbind(-2)
    return x * cosine + torch.stack([-second, first], dim=-2).flatten(-3) * sine
