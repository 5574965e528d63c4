"""What gsplat's kernels allocate, without the kernels: its own Python code runs around them as it is.

So all that it keeps for the backward pass is counted, not guessed. Only the number of intersections of Gaussians with
tiles depends on numbers; it is stated. Shapes from gsplat 1.5, csrc/{Projection,Intersect,Rasterization}.cpp.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# Tiles of 16 x 16 pixels that a Gaussian touches in a view, mean over all Gaussians and views of a training step; those
# outside of the picture touch none.
TILES_OF_A_GAUSSIAN = 2.0


def kernel(name: str) -> Callable[..., Any]:
    """The stand-in for gsplat's kernel of this name."""
    return _KERNELS[name]


def kernel_option(name: str) -> str:
    """The stand-in for a constant of gsplat's compiled part: its name."""
    return name


def _project(means: Tensor, covars: Any, quats: Any, scales: Any, opacities: Any, views: Tensor, *_: Any) -> tuple:
    shape = (*means.shape[:-2], views.shape[-3], means.shape[-2])
    radii = means.new_empty(*shape, 2, dtype=torch.int32)
    return radii, means.new_empty(*shape, 2), means.new_empty(shape), means.new_empty(*shape, 3), None


def _project_gradient(means: Tensor, covars: Any, quats: Tensor, scales: Tensor, views: Tensor, *rest: Any) -> tuple:
    needs_views = rest[-1]
    made = [torch.zeros_like(x) for x in (means, quats, scales)]
    return made[0], None, made[1], made[2], torch.zeros_like(views) if needs_views else None


def _harmonics(degree: int, directions: Tensor, coefficients: Tensor, masks: Any) -> Tensor:
    return torch.empty_like(directions)


def _harmonics_gradient(bases: int, degree: int, directions: Tensor, coefficients: Tensor, *rest: Any) -> tuple:
    needs_directions = rest[-1]
    return torch.zeros_like(coefficients), torch.zeros_like(directions) if needs_directions else None


def _intersect(means: Tensor, radii: Tensor, depths: Tensor, *_: Any) -> tuple:
    tiles = torch.empty_like(depths, dtype=torch.int32)
    ends = tiles.view(-1).cumsum(0)
    count = math.ceil(TILES_OF_A_GAUSSIAN * depths.numel())
    unsorted = ends.new_empty(count), tiles.new_empty(count)
    ordered = tuple(torch.empty_like(x) for x in unsorted)
    return tiles, *ordered


def _offsets(keys: Tensor, images: int, columns: int, rows: int) -> Tensor:
    return keys.new_empty(images, rows, columns, dtype=torch.int32)


def _blend(means: Tensor, conics: Tensor, colors: Tensor, opacities: Tensor, *rest: Any) -> tuple:
    width, height = rest[2:4]
    shape = (*means.shape[:-2], height, width)
    pictures = means.new_empty(*shape, colors.shape[-1]), means.new_empty(*shape, 1)
    return *pictures, means.new_empty(shape, dtype=torch.int32)


def _blend_gradient(means: Tensor, conics: Tensor, colors: Tensor, opacities: Tensor, *_: Any) -> tuple:
    return None, *(torch.zeros_like(x) for x in (means, conics, colors, opacities))


_KERNELS = {
    "projection_ewa_3dgs_fused_fwd": _project,
    "projection_ewa_3dgs_fused_bwd": _project_gradient,
    "spherical_harmonics_fwd": _harmonics,
    "spherical_harmonics_bwd": _harmonics_gradient,
    "intersect_tile": _intersect,
    "intersect_offset": _offsets,
    "rasterize_to_pixels_3dgs_fwd": _blend,
    "rasterize_to_pixels_3dgs_bwd": _blend_gradient,
}
