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
from pmgs_lib.views import Views

# Points that come this close to (or behind) the other camera are projected as if they were at this depth.
MIN_DEPTH = 1e-3


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
    """Mean over the neighbours of <feature, feature warped at the candidate depth> / sqrt(channels).

    Where a candidate leaves a neighbour's image the neighbour contributes zero. No gradient flows through coordinates.
    The sweep uses whole feature pixels (0 ... n - 1), as trained. `reference_intrinsics` reproduces the released code,
    which projects with the intrinsics of the view it comes from: wrong where focal lengths differ.
    """
    batch, views, channels, rows, columns = features.shape
    features = full_precision(features)
    scene = torch.arange(batch, device=features.device)[:, None]
    depth = (1 / inverse_depth).expand(-1, -1, -1, rows, columns)
    total = torch.zeros_like(depth)
    for other in neighbours.unbind(-1):
        target = cameras if reference_intrinsics else cameras[scene, other]
        intrinsics = target.pixel_intrinsics(rows, columns)
        other_from_reference = cameras[scene, other].camera_from_world @ cameras.world_from_camera
        grid = sweep_grid(cameras.pixel_intrinsics(rows, columns), intrinsics, other_from_reference, depth)
        warped = warp_features(features[scene, other].flatten(0, 1), grid.flatten(0, 1))
        agreement = (features.flatten(0, 1)[:, :, None] * warped).sum(1)
        total = total + agreement.unflatten(0, (batch, views))
    return total / (math.sqrt(channels) * neighbours.shape[-1])


@torch.no_grad()
def sweep_grid(
    intrinsics: Float[Tensor, "*batch 3 3"],
    target_intrinsics: Float[Tensor, "*batch 3 3"],
    target_from_reference: Float[Tensor, "*batch 4 4"],
    depth: Float[Tensor, "*batch candidate row column"],
) -> Float[Tensor, "*batch candidate row column 2"]:
    """Where each pixel lands in another view at each depth, as coordinates in [-1, 1] between first and last pixel."""
    rows, columns = depth.shape[-2:]
    options = {"dtype": depth.dtype, "device": depth.device}
    y, x = torch.meshgrid(torch.arange(rows, **options), torch.arange(columns, **options), indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)]).flatten(1)
    rays = target_intrinsics @ target_from_reference[..., :3, :3] @ torch.linalg.inv(intrinsics) @ pixels
    center = target_intrinsics @ target_from_reference[..., :3, 3:]
    projected = rays[..., None, :] * depth.flatten(-2)[..., None, :, :] + center[..., None]
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
