"""The similarity (scale, rotation, translation) that best maps one list of points onto another, in closed form."""

from dataclasses import dataclass

import roma
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pmgs_lib.errors import ParameterError

# The gradient of the rotation divides by sums of singular values of the covariance; below this share of its norm the
# division is damped, so that it stays finite where the points leave the rotation open (a line, one point).
ROTATION_DAMPING = 1e-6
# Points spread by less than this share of their distance from the origin coincide as far as float64 can tell.
COINCIDENT_SPREAD = 1e-14
# Squares, sums of squares and quotients of spreads must be representable: coordinates stay below the largest number of
# a dtype to this power, and spreads above its smallest to this power.
RANGE_EXPONENT = 0.4


@dataclass(frozen=True)
class Similarity:
    """The map x -> scale * rotation @ x + translation.

    determined: where the points it was estimated from fix it; None for a similarity that was not estimated.
    """

    scale: Float[Tensor, "*batch"]
    rotation: Float[Tensor, "*batch 3 3"]
    translation: Float[Tensor, "*batch 3"]
    determined: Bool[Tensor, "*batch"] | None = None

    def apply(self, points: Float[Tensor, "*batch point 3"]) -> Float[Tensor, "*batch point 3"]:
        """The mapped points."""
        scaled_rotation = self.scale[..., None, None] * self.rotation
        return points @ scaled_rotation.mT + self.translation[..., None, :]

    def detach(self) -> "Similarity":
        """The same similarity as a constant: no gradient passes through it."""
        return Similarity(self.scale.detach(), self.rotation.detach(), self.translation.detach(), self.determined)


def similarity_transform(
    source: Float[Tensor, "*batch point 3"],
    target: Float[Tensor, "*batch point 3"],
    *,
    weights: Float[Tensor, "*batch point"] | None = None,
) -> Similarity:
    """Least-squares similarity that maps `source` onto `target`, point i onto point i; differentiable in both.

    Minimises the (weighted) sum of squared distances over proper rotations: a mirrored cloud gets the best rotation,
    not a reflection. Computed in float64 whatever the dtype or autocast; returned in the promoted dtype of the points.
    Planes and lines of points are fine; about a line the rotation is one of many, and its gradient is damped.

    Nothing raises for hopeless points; `determined` is False, all values and gradients are finite:
    source coincident (or one point, or spread below float minimum to the 0.4) -> scale 1, identity, the translation
    between the means;
    target coincident -> scale 0, identity, the mean of the target;
    NaN, infinite or immense (above float maximum to the 0.4) numbers -> scale 1, identity, translation 0, gradient 0.

    Method: Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991, eqs.
    40-42. Raises `ParameterError` for shapes that do not belong together and for negative weights.

    >>> points = torch.rand(5, 3)
    >>> round(similarity_transform(points, 2 * points + 1).scale.item(), 4)
    2.0
    """
    _check(source, target, weights)
    dtype = torch.promote_types(torch.promote_types(source.dtype, target.dtype), torch.float32)
    with torch.autocast(source.device.type, enabled=False):
        weights = None if weights is None else weights.double()
        estimate = estimate_similarity(source.double(), target.double(), weights, dtype)
    return Similarity(
        estimate.scale.to(dtype), estimate.rotation.to(dtype), estimate.translation.to(dtype), estimate.determined
    )


def largest_coordinate(dtype: torch.dtype) -> float:
    """Coordinates up to here may be squared, summed and differentiated in `dtype` without overflow."""
    return torch.finfo(dtype).max ** RANGE_EXPONENT


def estimate_similarity(source: Tensor, target: Tensor, weights: Tensor | None, dtype: torch.dtype) -> Similarity:
    """`similarity_transform` of float64 points, without its checks, with values that are sure to fit into `dtype`."""
    sizes = [_size(cloud) for cloud in (source, target)]
    # One pass each: NaN and infinity pass into the size, and it bounds every coordinate.
    usable = (sizes[0] <= largest_coordinate(dtype)) & (sizes[1] <= largest_coordinate(dtype))
    if weights is not None:
        usable = usable & weights.isfinite().all(-1) & (weights.sum(-1) > 0)
        weights = torch.where(usable[..., None], weights, torch.ones_like(weights))
        weights = weights / weights.sum(-1, keepdim=True)
    if not usable.all():
        # Replaced before any arithmetic: a gradient of 0 times NaN would be NaN.
        source, target = (torch.where(usable[..., None, None], c, torch.zeros_like(c)) for c in (source, target))
        sizes = [torch.where(usable, size, 0.0) for size in sizes]
    source_mean, target_mean = _mean(source, weights), _mean(target, weights)
    # The target's mean is a constant here: in the covariance its gradient cancels, because the source is centred.
    source_centred, target_centred = source - source_mean, target - target_mean.detach()
    smallest = torch.finfo(dtype).tiny ** RANGE_EXPONENT
    source_spreads = usable & _spreads(source_centred, source, sizes[0], weights, smallest)
    determined = source_spreads & _spreads(target_centred, target, sizes[1], weights, smallest)

    count = source.shape[-2] if weights is None else 1
    weighted_source = source_centred if weights is None else source_centred * weights[..., None]
    covariance = target_centred.mT @ weighted_source / count
    covariance = torch.where(determined[..., None, None], covariance, torch.zeros_like(covariance))
    rotation = _nearest_rotation(covariance)
    variance = torch.where(source_spreads, _variance(source_centred, weights), 1.0)
    # Umeyama's trace(D S), written without singular values: it needs no gradient of them.
    scale = (rotation * covariance).sum((-2, -1)) / variance
    scale = torch.where(usable & source_spreads, scale, torch.ones_like(scale))
    translation = target_mean[..., 0, :] - scale[..., None] * (source_mean @ rotation.mT)[..., 0, :]
    return Similarity(scale, rotation, translation, determined)


def _nearest_rotation(covariance: Tensor) -> Tensor:
    # The rotation does not depend on the size of the covariance, its damping would.
    size = torch.linalg.matrix_norm(covariance.detach())[..., None, None]
    return roma.special_procrustes(covariance / torch.where(size > 0, size, 1.0), gradient_eps=ROTATION_DAMPING)


def _size(points: Tensor) -> Tensor:
    """Norm of all coordinates together."""
    return torch.linalg.vector_norm(points.detach(), dim=(-2, -1))


def _spreads(centred: Tensor, points: Tensor, size: Tensor, weights: Tensor | None, smallest: float) -> Tensor:
    if weights is not None:
        carried = (weights > 0)[..., None]
        centred, size = centred * carried, _size(points * carried)
    return _size(centred) > (COINCIDENT_SPREAD * size).clamp_min(smallest)


def _variance(centred: Tensor, weights: Tensor | None) -> Tensor:
    """Mean squared length; weights sum to 1."""
    if weights is None:
        # The norm needs no memory of the size of the points; its gradient at 0 is 0.
        return torch.linalg.vector_norm(centred, dim=(-2, -1)).square() / centred.shape[-2]
    return (weights * centred.square().sum(-1)).sum(-1)


def _mean(points: Tensor, weights: Tensor | None) -> Tensor:
    """Mean over points, which stay as an axis of one; weights sum to 1."""
    return points.mean(-2, keepdim=True) if weights is None else weights[..., None, :] @ points


def _check(source: Tensor, target: Tensor, weights: Tensor | None) -> None:
    if source.ndim < 2 or source.shape[-1] != 3 or source.shape[-2] == 0:
        raise ParameterError(
            f"similarity_transform: source has shape {tuple(source.shape)}, "
            "expected (..., point, 3) with at least one point"
        )
    if source.shape != target.shape:
        raise ParameterError(
            f"similarity_transform: source {tuple(source.shape)} and target {tuple(target.shape)} differ in shape, "
            "expected a target point for each source point"
        )
    if weights is None:
        return
    if weights.shape != source.shape[:-1]:
        raise ParameterError(
            f"similarity_transform: weights have shape {tuple(weights.shape)}, "
            f"expected one for each point, {tuple(source.shape[:-1])}"
        )
    if (weights < 0).any():
        raise ParameterError(f"similarity_transform: a weight is {weights.min().item():.3g}, expected none below 0")
