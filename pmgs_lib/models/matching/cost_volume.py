"""Plane sweep: how well each depth candidate of a pixel agrees with the neighbour views.

Source: DepthSplat (Xu et al., 2025), section 3.1; MVSplat (Chen et al., 2024) for the plain dot-product cost.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from pmgs_lib.cameras import Cameras
from pmgs_lib.models.base import full_precision
from pmgs_lib.models.matching.sweep import SweepGeometry, fused_sweep, fused_sweep_serves
from pmgs_lib.views import Views

# Points that come this close to (or behind) the other camera are projected as if they were at this depth.
MIN_DEPTH = 1e-3
# Features that the plain version warps at once; at 4 bytes a gigabyte, a few times that with coordinates and products.
WARPED_ELEMENTS = 2**28


def frame_range(context: Views) -> tuple[Float[Tensor, " frame"], Float[Tensor, " frame"]]:
    """Near and far of every view of every scene."""
    near, far = (full_precision(x).repeat_interleave(context.count) for x in (context.near, context.far))
    return near, far


def coarse_candidates(
    near: Float[Tensor, " batch"], far: Float[Tensor, " batch"], count: int
) -> Float[Tensor, "batch candidate"]:
    """Inverse depths evenly spaced from 1 / far to 1 / near, both included."""
    return _evenly(1 / far, 1 / near, count)


def fine_candidates(
    center: Float[Tensor, "frame row column"],
    near: Float[Tensor, " frame"],
    far: Float[Tensor, " frame"],
    interval: Float[Tensor, " frame"],
    count: int,
) -> Float[Tensor, "frame candidate row column"]:
    """Inverse depths around an earlier estimate, evenly spaced between bounds that are cut at the depth range.

    Half of the candidates lie `interval` after `interval` below the centre, the others at it and above; near the ends
    of the range all of them move closer together.
    """
    below = count // 2
    low = torch.maximum(center - below * interval[:, None, None], (1 / far)[:, None, None])
    high = torch.minimum(center + (count - 1 - below) * interval[:, None, None], (1 / near)[:, None, None])
    return _evenly(low, high, count).movedim(-1, 1)


def _evenly(low: Tensor, high: Tensor, count: int) -> Tensor:
    fraction = torch.linspace(0, 1, count, dtype=low.dtype, device=low.device)
    return low[..., None] + (high - low)[..., None] * fraction


def matching_cost(
    features: Float[Tensor, "batch view channel row column"],
    cameras: Cameras,
    inverse_depth: Float[Tensor, "batch view candidate #row #column"],
    neighbours: Int[Tensor, "batch view neighbour"],
    reference_intrinsics: bool,
) -> Float[Tensor, "batch view candidate row column"]:
    """Mean over the neighbours of <feature, feature warped at the candidate depth> / sqrt(channels), at least float32.

    Where a candidate leaves a neighbour's image the neighbour contributes zero. No gradient flows through coordinates.
    The sweep uses whole feature pixels (0 ... n - 1), as trained. `reference_intrinsics` reproduces the released code,
    which projects with the intrinsics of the view it comes from: wrong where focal lengths differ.

    On a CUDA device one kernel does it all; elsewhere, or in float64, the plain version below, which is its oracle.
    """
    batch, views, _, rows, columns = features.shape
    matrix, vector = sweep_maps(cameras, neighbours, rows, columns, reference_intrinsics)
    if fused_sweep_serves(features):
        first_view = torch.arange(batch, device=features.device)[:, None, None] * views
        geometry = SweepGeometry(
            (neighbours + first_view).flatten(0, 1),
            torch.cat([matrix.flatten(-2), vector.flatten(-2)], dim=-1).flatten(0, 1),
            inverse_depth.flatten(0, 1),
        )
        return fused_sweep(features.flatten(0, 1), geometry).unflatten(0, (batch, views))
    features = full_precision(features)
    depth = (1 / inverse_depth).expand(-1, -1, -1, rows, columns)
    at_once = max(1, WARPED_ELEMENTS // features.numel())
    groups = depth.split(at_once, dim=2)
    costs = [plain_cost(features, neighbours, matrix, vector, group) for group in groups]
    return costs[0] if len(costs) == 1 else torch.cat(costs, dim=2)


def plain_cost(
    features: Float[Tensor, "batch view channel row column"],
    neighbours: Int[Tensor, "batch view neighbour"],
    matrix: Float[Tensor, "batch view neighbour 3 3"],
    vector: Float[Tensor, "batch view neighbour 3 1"],
    depth: Float[Tensor, "batch view candidate row column"],
) -> Float[Tensor, "batch view candidate row column"]:
    """`matching_cost` at the given depths, with everything that is warped in memory."""
    batch, views, channels = features.shape[:3]
    scene = torch.arange(batch, device=features.device)[:, None]
    total = torch.zeros_like(depth)
    for number, other in enumerate(neighbours.unbind(-1)):
        grid = sweep_grid(matrix[:, :, number], vector[:, :, number], depth)
        warped = warp_features(features[scene, other].flatten(0, 1), grid.flatten(0, 1))
        agreement = (features.flatten(0, 1)[:, :, None] * warped).sum(1)
        total = total + agreement.unflatten(0, (batch, views))
    return total / (math.sqrt(channels) * neighbours.shape[-1])


@torch.no_grad()
def sweep_maps(
    cameras: Cameras, neighbours: Int[Tensor, "batch view neighbour"], rows: int, columns: int, reference: bool
) -> tuple[Float[Tensor, "batch view neighbour 3 3"], Float[Tensor, "batch view neighbour 3 1"]]:
    """Matrix M and vector v for which M (x, y, 1) z + v is where a pixel of a view lands in its neighbours at depth z.

    `reference` projects with the intrinsics of the view itself.
    """
    scene = torch.arange(len(neighbours), device=neighbours.device)[:, None, None]
    others, own = cameras[scene, neighbours], cameras.pixel_intrinsics(rows, columns)[:, :, None]
    target = own if reference else others.pixel_intrinsics(rows, columns)
    other_from_own = others.camera_from_world @ cameras.world_from_camera[:, :, None]
    matrix = target @ other_from_own[..., :3, :3] @ torch.linalg.inv(own)
    return matrix, target @ other_from_own[..., :3, 3:]


@torch.no_grad()
def sweep_grid(
    matrix: Float[Tensor, "*batch 3 3"],
    vector: Float[Tensor, "*batch 3 1"],
    depth: Float[Tensor, "*batch candidate row column"],
) -> Float[Tensor, "*batch candidate row column 2"]:
    """Where each pixel lands in another view at each depth, as coordinates in [-1, 1] between first and last pixel.

    `matrix` and `vector` as in `sweep_maps`.
    """
    rows, columns = depth.shape[-2:]
    options = {"dtype": depth.dtype, "device": depth.device}
    y, x = torch.meshgrid(torch.arange(rows, **options), torch.arange(columns, **options), indexing="ij")
    rays = matrix @ torch.stack([x, y, torch.ones_like(x)]).flatten(1)
    projected = rays[..., None, :] * depth.flatten(-2)[..., None, :, :] + vector[..., None]
    position = projected[..., :2, :, :] / projected[..., 2:, :, :].clamp_min(MIN_DEPTH)
    last = torch.tensor([columns - 1, rows - 1], **options)[:, None, None]
    return (2 * position / last - 1).movedim(-3, -1).unflatten(-2, (rows, columns))


def warp_features(
    features: Float[Tensor, "frame channel row column"], grid: Float[Tensor, "frame candidate row column 2"]
) -> Float[Tensor, "frame channel candidate row column"]:
    """Features sampled bilinearly at every candidate, zero outside the image."""
    candidates, rows = grid.shape[1:3]
    sampled = functional.grid_sample(
        features, grid.flatten(1, 2), mode="bilinear", padding_mode="zeros", align_corners=True
    )
    return sampled.unflatten(2, (candidates, rows))
