"""What happens at depth edges: where they are, and which points float between the surfaces on both sides."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.evaluation.point_clouds import exact_surface
from pmgs_lib.geometry.nearest import nearest_neighbors
from pmgs_lib.geometry.similarity import similarity_transform
from pmgs_lib.views import Views


def near_depth_edges(
    depth: Float[Tensor, "*batch h w"], ratio: float = 1.2, reach: int = 3
) -> Bool[Tensor, "*batch h w"]:
    """Pixels at most `reach` pixels (rows or columns) from two neighbours whose z-depths differ by a factor of `ratio`.

    Unlike `depth_edges` of the embedded scenes it marks steps only, no creases. An unknown depth (0, negative or not
    finite) makes no edge.
    """
    if not ratio > 1 or reach < 0:
        raise ParameterError(f"near_depth_edges: ratio {ratio} and reach {reach}, expected ratio > 1 and reach >= 0")
    known = depth.isfinite() & (depth > 0)
    logarithm = torch.where(known, depth, 1.0).log()
    edges = torch.zeros_like(known)
    for axis in (-1, -2):
        length = depth.shape[axis] - 1
        sides = [[tensor.narrow(axis, start, length) for start in (0, 1)] for tensor in (logarithm, known)]
        (first, second), (first_known, second_known) = sides
        step = ((first - second).abs() > math.log(ratio)) & first_known & second_known
        for start in (0, 1):
            edges.narrow(axis, start, length).logical_or_(step)
    flat = edges.reshape(-1, 1, *depth.shape[-2:]).float()
    return (functional.max_pool2d(flat, 2 * reach + 1, stride=1, padding=reach) > 0).reshape(depth.shape)


def aligned_to_surface(centres: Float[Tensor, "view h w 3"], views: Views) -> Float[Tensor, "view h w 3"]:
    """World centres of one scene, mapped onto its exact surface by the best similarity from pixel to pixel.

    What is left is an error of shape: PM-Loss sees no other, because it aligns before it compares.
    """
    if views.depth is None or not bool((views.depth.isfinite() & (views.depth > 0)).all()):
        raise DataError("aligned_to_surface: these views lack exact depth at some pixel; use a scene that has it")
    surface = views.cameras.unproject(views.depth).reshape(-1, 3)
    return similarity_transform(centres.reshape(-1, 3), surface).apply(centres.reshape(-1, 3)).reshape(centres.shape)


def surface_distances(centres: Float[Tensor, "view h w 3"], views: Views) -> Float[Tensor, "view h w"]:
    """Distance in world units of each centre to the nearest exact surface point that any of the views sees."""
    surface = exact_surface(views).to(centres)
    return nearest_neighbors(centres.reshape(-1, 3), surface).squared_distances.sqrt().reshape(centres.shape[:-1])


def floating_points(
    centres: Float[Tensor, "view h w 3"], views: Views, tolerance: float = 0.03
) -> Bool[Tensor, "view h w"]:
    """Centres that lie farther from every exact surface than `tolerance` times the exact z-depth of their pixel."""
    return surface_distances(centres, views) > tolerance * views.depth
