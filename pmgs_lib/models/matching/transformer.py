"""Multi-view transformer: features of each view exchange information with those of its neighbour views.

Source: Xu et al., "GMFlow", 2022, and UniMatch, 2023 (shifted-window attention); DepthSplat section 3.1 for several
views. Module names are those of the released checkpoints.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

# The image is split into WINDOWS x WINDOWS windows, as in all released models.
WINDOWS = 2
# Added to the score of a pair of tokens that only became neighbours through the cyclic shift.
SEPARATED = -100.0


class AttentionLayer(nn.Module):
    """One windowed attention with single head, optionally followed by a feed-forward layer on [source, message]."""

    def __init__(self, width: int, feed_forward_factor: int | None = None) -> None:
        super().__init__()
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width, bias=False)
        self.merge = nn.Linear(width, width, bias=False)
        self.norm1 = nn.LayerNorm(width)
        if feed_forward_factor is not None:
            hidden = 2 * width * feed_forward_factor
            self.mlp = nn.Sequential(
                nn.Linear(2 * width, hidden, bias=False), nn.GELU(), nn.Linear(hidden, width, bias=False)
            )
            self.norm2 = nn.LayerNorm(width)

    def forward(
        self,
        source: Float[Tensor, "batch view row column width"],
        target: Float[Tensor, "batch view row column width"],
        neighbours: Int[Tensor, "batch view neighbour"],
        shift: tuple[int, int],
        bias: Float[Tensor, "window query key"] | None,
    ) -> Float[Tensor, "batch view row column width"]:
        size = source.shape[2:4]
        # Each view is projected once, then handed to everybody that looks at it.
        query = _windows(self.q_proj(source), shift)
        key, value = (_windows(project(target), shift) for project in (self.k_proj, self.v_proj))
        key, value = (_gather_views(x, neighbours).flatten(3, 4).flatten(0, 1) for x in (key, value))
        query = query.flatten(0, 1)
        bias = None if bias is None else bias.to(query.dtype)
        message = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        message = _merged(message.unflatten(0, source.shape[:2]), shift, size)
        message = self.norm1(self.merge(message))
        if hasattr(self, "mlp"):
            message = self.norm2(self.mlp(torch.cat([source, message], dim=-1)))
        return source + message


class TransformerBlock(nn.Module):
    """Self-attention inside each view, then attention to the neighbour views."""

    regions = ("forward",)

    def __init__(self, width: int, feed_forward_factor: int) -> None:
        super().__init__()
        self.self_attn = AttentionLayer(width)
        self.cross_attn_ffn = AttentionLayer(width, feed_forward_factor)

    def forward(
        self,
        features: Float[Tensor, "batch view row column width"],
        neighbours: Int[Tensor, "batch view neighbour"],
        shift: tuple[int, int],
        bias_self: Float[Tensor, "window token token"] | None,
        bias_cross: Float[Tensor, "window token key"] | None,
    ) -> Float[Tensor, "batch view row column width"]:
        batch, views = features.shape[:2]
        own = torch.arange(views, device=features.device).expand(batch, views)[..., None]
        attended = self.self_attn(features, features, own, shift, bias_self)
        # Neighbours are seen as they left the previous block, not after their own self-attention in this one.
        return self.cross_attn_ffn(attended, features, neighbours, shift, bias_cross)


class MultiViewTransformer(nn.Module):
    """Blocks of self- and cross-view attention in 2x2 windows; every other block shifts them by half a window.

    `scrambled_mask` reproduces the released behaviour for two and more neighbours: keys are laid out pixel by pixel,
    the mask against the cyclic shift view by view, so it separates the wrong pairs.
    """

    def __init__(self, width: int, blocks: int, feed_forward_factor: int, scrambled_mask: bool) -> None:
        super().__init__()
        self.scrambled_mask = scrambled_mask
        self.layers = nn.ModuleList(TransformerBlock(width, feed_forward_factor) for _ in range(blocks))
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(
        self,
        features: Float[Tensor, "batch view width row column"],
        neighbours: Int[Tensor, "batch view neighbour"],
    ) -> Float[Tensor, "batch view width row column"]:
        rows, columns = features.shape[-2:]
        shift = (rows // WINDOWS // 2, columns // WINDOWS // 2)
        bias = shift_bias(rows, columns, features.device)
        bias_cross = bias_for_neighbours(bias, neighbours.shape[-1], self.scrambled_mask)
        code = position_code(features.shape[2], rows // WINDOWS, columns // WINDOWS, features.device)
        features = (features + code.tile(1, WINDOWS, WINDOWS)).movedim(2, -1)
        for number, block in enumerate(self.layers):
            if number % 2:
                features = block(features, neighbours, shift, bias, bias_cross)
            else:
                features = block(features, neighbours, (0, 0), None, None)
        return features.movedim(-1, 2)


def nearest_views(
    centers: Float[Tensor, "batch view 3"], nearest: int | None, all_pairs_up_to: int
) -> Int[Tensor, "batch view neighbour"]:
    """Indices of the views that each view is matched with, never itself.

    Up to `all_pairs_up_to` views (or with `nearest` None) these are all others in index order; beyond, the `nearest`
    ones by distance of camera centres, nearest first. Coincident centres are ranked by index.
    """
    batch, views = centers.shape[:2]
    if nearest is None or views <= all_pairs_up_to:
        index = torch.arange(views, device=centers.device)
        others = (index[:, None] + 1 + index[None, : views - 1]) % views
        return others.sort(dim=-1).values.expand(batch, -1, -1)
    distance = (centers[:, :, None] - centers[:, None]).norm(dim=-1)
    # A duplicate of the own centre must not take the place of the view itself at the front of the ranking.
    distance = distance - torch.eye(views, dtype=distance.dtype, device=distance.device)[None] * (1 + distance.max())
    return distance.argsort(dim=-1, stable=True)[..., 1 : nearest + 1]


def position_code(
    width: int, rows: int, columns: int, device: torch.device | None = None
) -> Float[Tensor, "width row column"]:
    """Sine and cosine code of a window: first half of the channels for the row, second half for the column.

    Positions run from 1/n to 1 times 2 pi, wavelengths from 1 to 10000, sine and cosine alternate (DETR, 2020).
    """
    half = width // 2
    wavelengths = 10000 ** (2 * (torch.arange(half, device=device, dtype=torch.float32) // 2) / half)
    codes = []
    for count in (rows, columns):
        angle = torch.arange(1, count + 1, device=device, dtype=torch.float32) / (count + 1e-6) * (2 * math.pi)
        angle = angle[:, None] / wavelengths
        codes.append(torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], dim=-1).flatten(1).mT)
    return torch.cat([codes[0][:, :, None].expand(-1, -1, columns), codes[1][:, None, :].expand(-1, rows, -1)])


def shift_bias(rows: int, columns: int, device: torch.device | None = None) -> Float[Tensor, "window token token"]:
    """Bias that separates, inside each shifted window, tokens that are no neighbours in the image (Swin, 2021)."""
    regions = []
    for count in (rows, columns):
        window = count // WINDOWS
        position = torch.arange(count, device=device)
        regions.append((position >= count - window).long() + (position >= count - window // 2).long())
    region = (regions[0][:, None] * 3 + regions[1][None, :])[None, None, :, :, None]
    region = _windows(region, (0, 0))[0, 0, :, :, 0]
    return SEPARATED * (region[:, :, None] != region[:, None, :]).float()


def bias_for_neighbours(
    bias: Float[Tensor, "window token token"], neighbours: int, scrambled: bool
) -> Float[Tensor, "window token key"]:
    """`bias` for the keys of several views one after the other; `scrambled` as in `MultiViewTransformer`."""
    tokens = bias.shape[-1]
    pixel = torch.arange(tokens, device=bias.device)
    view = torch.arange(neighbours, device=bias.device)
    column = pixel * neighbours + view[:, None] if scrambled else pixel.expand(neighbours, -1)
    return bias[:, :, column.flatten() % tokens]


def _gather_views(
    x: Float[Tensor, "batch view window token width"], neighbours: Int[Tensor, "batch view neighbour"]
) -> Float[Tensor, "batch view window neighbour token width"]:
    scene = torch.arange(len(x), device=x.device)[:, None, None]
    return x[scene, neighbours].movedim(2, 3)


def _windows(x: Tensor, shift: tuple[int, int]) -> Tensor:
    """(batch view row column width) to (batch view window token width), after a cyclic shift up and left."""
    if shift != (0, 0):
        x = x.roll((-shift[0], -shift[1]), dims=(2, 3))
    x = x.unflatten(3, (WINDOWS, -1)).unflatten(2, (WINDOWS, -1))
    return x.movedim(3, 4).flatten(4, 5).flatten(2, 3)


def _merged(
    x: Float[Tensor, "batch view window token width"], shift: tuple[int, int], size: tuple[int, int]
) -> Float[Tensor, "batch view row column width"]:
    """Inverse of `_windows` for an image of `size` rows and columns."""
    rows, columns = size[0] // WINDOWS, size[1] // WINDOWS
    x = x.unflatten(3, (rows, columns)).unflatten(2, (WINDOWS, WINDOWS))
    x = x.movedim(4, 3).flatten(4, 5).flatten(2, 3)
    return x.roll(shift, dims=(2, 3)) if shift != (0, 0) else x
