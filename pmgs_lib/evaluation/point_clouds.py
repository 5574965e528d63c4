"""How far predicted Gaussian centres lie from the exact surfaces, and how much of those surfaces they reach.

All points are used: nothing is subsampled, weighted by opacity or aligned.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.geometry.nearest import nearest_neighbors
from pmgs_lib.views import Views


class PointCloudErrors(NamedTuple):
    """Mean distances in world units (metres).

    accuracy_m: predicted point to its nearest surface point; completeness_m: surface point to its nearest predicted
    point; overall_m: mean of the two (the DTU convention).
    """

    accuracy_m: float
    completeness_m: float
    overall_m: float


def exact_surface(views: Views) -> Float[Tensor, "point 3"]:
    """World points of every pixel of the views of one scene, from their exact depth."""
    if views.depth is None:
        raise DataError("exact_surface: these views carry no exact depth; use a data set that stores it")
    points = views.cameras.unproject(views.depth)
    return points[views.depth.isfinite() & (views.depth > 0)]


def within_range(
    points: Float[Tensor, "point 3"], centers: Float[Tensor, "camera 3"], limit_m: float
) -> Bool[Tensor, "point"]:
    """Which points lie within `limit_m` of the nearest camera centre."""
    nearest = torch.full_like(points[:, 0], torch.inf)
    for center in centers:
        nearest = torch.minimum(nearest, (points - center).norm(dim=-1))
    return nearest <= limit_m


def point_cloud_errors(
    predicted: Float[Tensor, "predicted 3"], views: Views, limit_m: float | None = None
) -> PointCloudErrors:
    """Errors of `predicted` world points of one scene against the exact surfaces that its context `views` see.

    With `limit_m` only points within that distance of a context camera are measured, on both sides (a sky at the far
    end would otherwise rule the mean); their neighbours are still sought in the whole other cloud, so the limit makes
    no edge. Raises `ParameterError` when either side has no point to measure and when a predicted point is not finite.
    """
    surface = exact_surface(views).to(predicted)
    if not bool(predicted.isfinite().all()):
        raise ParameterError(
            "point_cloud_errors: a predicted point is NaN or infinite; the model diverged, see its loss"
        )
    accuracy = _mean_distance("predicted", predicted, surface, views, limit_m)
    completeness = _mean_distance("exact surface", surface, predicted, views, limit_m)
    return PointCloudErrors(accuracy, completeness, (accuracy + completeness) / 2)


def _mean_distance(side: str, query: Tensor, reference: Tensor, views: Views, limit_m: float | None) -> float:
    if limit_m is not None:
        query = query[within_range(query, views.cameras.centers.to(query), limit_m)]
    if len(query) == 0:
        raise ParameterError(
            f"point_cloud_errors: the {side} points within limit_m={limit_m} are none, expected some; raise the limit"
        )
    return nearest_neighbors(query, reference).squared_distances.double().sqrt().mean().item()
