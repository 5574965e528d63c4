"""A centre and a point of the pointmap for each pixel: which pairs count, and how one cloud lies on the other.

A group is what one alignment covers: an item of the batch, or a view of it. Whatever does not count is zero in both
clouds before any arithmetic, because the gradient of 0 times NaN would be NaN.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pmgs_lib.geometry.similarity import Similarity, estimate_similarity, largest_coordinate
from pmgs_lib.losses.pointmap_settings import PointmapLossSettings

# A confidence below this share of the item's largest counts as none: products with it could vanish in float64.
SMALLEST_WEIGHT = 1e-6

Grouped = Float[Tensor, "batch group pixel 3"]


@dataclass(frozen=True)
class AlignedPairs:
    """The clouds of a batch in float64 and the similarity of each group that maps the pointmap onto the centres.

    weights: what a pixel counts; None where all count alike. reasons: why (item, group) was left out.
    """

    centres: Grouped
    points: Grouped
    weights: Float[Tensor, "batch group pixel"] | None
    alignment: Similarity
    left_out: Bool[Tensor, "batch group"]
    reasons: dict[tuple[int, int], str] = field(default_factory=dict)

    @property
    def excluded(self) -> Bool[Tensor, "batch"]:
        """Items of which no group is left."""
        return self.left_out.all(-1)

    @property
    def flat_weights(self) -> Float[Tensor, "batch pixel"] | None:
        return None if self.weights is None else self.weights.flatten(1)

    def counts(self) -> Bool[Tensor, "batch pixel"]:
        """Pixels that take part."""
        if self.weights is not None:
            return self.weights.flatten(1) > 0
        return ~self.left_out.repeat_interleave(self.centres.shape[2], dim=1)

    def mean_scale(self) -> Float[Tensor, "batch"]:
        """Scale of the pointmap onto the prediction: mean over the groups that are aligned, or over all of none."""
        scale, aligned = self.alignment.scale.detach(), ~self.left_out | self.excluded[:, None]
        return torch.where(aligned, scale, 0.0).sum(-1) / aligned.sum(-1)

    def residual(self, aligned: Float[Tensor, "batch pixel 3"]) -> Float[Tensor, "batch"]:
        """Root mean square distance of counterparts, scene units; 0 for an excluded item."""
        counts = self.counts()
        offsets = torch.where(counts[..., None], self.centres.detach().flatten(1, 2) - aligned, 0.0)
        return torch.linalg.vector_norm(offsets, dim=(-2, -1)) / counts.sum(-1).clamp_min(1).sqrt()

    def reason(self, item: int) -> str | None:
        """Why an item was excluded; None when it was not."""
        first, groups = self.reasons.get((item, 0)), self.left_out.shape[1]
        if len([key for key in self.reasons if key[0] == item]) < groups:
            return None
        return first if groups == 1 else f"none of {groups} views can be aligned; view 0: {first}"

    def leave_out(self, faulty: Bool[Tensor, "batch group"], explain: Callable[[int, int], str]) -> "AlignedPairs":
        """The same pairs without these groups; `explain(item, group)` says why."""
        if not faulty.any():
            return self
        found = {(item, group): explain(item, group) for item, group in faulty.nonzero().tolist()}
        weights = self.weights
        if weights is None and faulty.shape[1] > 1:
            weights = torch.ones_like(self.centres[..., 0])
        return replace(
            self,
            centres=_zero_where(faulty, self.centres),
            points=_zero_where(faulty, self.points),
            weights=None if weights is None else torch.where(faulty[..., None], 0.0, weights),
            left_out=self.left_out | faulty,
            reasons=found | self.reasons,
        )


def align_pairs(
    means: Tensor, pointmap: Tensor, confidence: Tensor | None, settings: PointmapLossSettings
) -> AlignedPairs:
    """Pairs of checked arguments, flattened to pixels, masked, and aligned group by group."""
    groups = pointmap.shape[1] if settings.per_view else 1
    given = [cloud.flatten(1, -2).unflatten(1, (groups, -1)) for cloud in (means, pointmap)]
    dtype = torch.promote_types(means.dtype, torch.float32)
    centres, points = (cloud.double() for cloud in given)
    weights, bad = _pixel_weights(points.detach(), confidence, settings)
    if weights is not None:
        counts = (weights > 0)[..., None]
        centres, points = torch.where(counts, centres, 0.0), torch.where(counts, points, 0.0)
    alignment = estimate_similarity(points, centres, weights, dtype)
    if settings.alignment == "none":
        alignment = _identity_like(alignment)
    elif settings.detach_alignment:
        alignment = alignment.detach()
    pairs = AlignedPairs(centres, points, weights, alignment, torch.zeros_like(alignment.determined))

    def explain(item: int, group: int) -> str:
        if bad is not None and bad[item, group].any():
            return f"{bad[item, group].sum().item()} confidences are NaN, infinite or negative"
        counts = ... if weights is None else weights[item, group] > 0
        return _why_undetermined(*(cloud[item, group].detach()[counts] for cloud in given), dtype)

    return pairs.leave_out(~alignment.determined if bad is None else ~alignment.determined | bad.any(-1), explain)


def _identity_like(alignment: Similarity) -> Similarity:
    """No movement at all, where there could have been a meaningful one."""
    unmoved = torch.eye(3, dtype=alignment.rotation.dtype, device=alignment.rotation.device)
    return Similarity(
        torch.ones_like(alignment.scale), unmoved.expand_as(alignment.rotation),
        torch.zeros_like(alignment.translation), alignment.determined,
    )  # fmt: skip


def _pixel_weights(
    points: Tensor, confidence: Tensor | None, settings: PointmapLossSettings
) -> tuple[Tensor | None, Tensor | None]:
    """What each pixel counts, and where the confidence is unusable; None for either that nobody asked for."""
    weights, bad = None, None
    if confidence is not None:
        bad = ~(confidence.isfinite() & (confidence >= 0)).flatten(1)
        weights = _confidence_weights(torch.where(bad, 0.0, confidence.flatten(1).double()), settings)
        weights, bad = (values.unflatten(1, points.shape[1:3]) for values in (weights, bad))
    if settings.nearest_share < 1:
        weights = _without_farthest(points, weights, settings.nearest_share)
    return weights, bad


def _zero_where(faulty: Tensor, cloud: Tensor) -> Tensor:
    return torch.where(faulty[..., None, None], torch.zeros_like(cloud), cloud)


def _confidence_weights(confidence: Float[Tensor, "batch pixel"], settings: PointmapLossSettings) -> Tensor:
    if settings.confidence_rule == "weights":
        # Their size does not matter, their sum must be representable.
        largest = confidence.amax(-1, keepdim=True)
        shares = confidence / torch.where(largest > 0, largest, 1.0)
        return torch.where(shares < SMALLEST_WEIGHT, 0.0, shares)
    limit = settings.confidence_limit
    if settings.confidence_rule == "top":
        limit = _smallest_of_share(-confidence, limit).neg()
    return (confidence >= limit).double()


def _without_farthest(points: Grouped, weights: Tensor | None, share: float) -> Tensor:
    """Weights with 0 for all but the share of the points nearest to the mean of those that count."""
    weights = torch.ones_like(points[..., 0]) if weights is None else weights
    counts = weights > 0
    total = counts.sum(-1)[..., None, None].clamp_min(1)
    masked = torch.where(counts[..., None], points, 0.0)
    offsets = masked - masked.sum(-2, keepdim=True) / total
    squared = torch.where(counts, offsets.square().sum(-1), torch.inf)
    # Not `squared <= limit`: a NaN must stay, to be found and named.
    return torch.where(squared > _smallest_of_share(squared, share, counts), 0.0, weights)


def _smallest_of_share(values: Tensor, share: float, counts: Tensor | None = None) -> Tensor:
    """The value that this share of the values along the last axis (of those that count) does not exceed."""
    total = torch.full_like(values[..., :1], values.shape[-1]) if counts is None else counts.sum(-1, keepdim=True)
    rank = (total * share).ceil().long().clamp_min(1) - 1
    return values.sort(dim=-1).values.gather(-1, rank)


def _why_undetermined(means: Tensor, pointmap: Tensor, dtype: torch.dtype) -> str:
    if len(means) == 0:
        return "the masks leave no pixel"
    for name, points in (("prediction", means), ("pointmap", pointmap)):
        broken = (~points.isfinite()).any(-1).sum().item()
        if broken:
            return f"{broken} of {len(points)} points of the {name} are NaN or infinite"
        if points.abs().max() > largest_coordinate(dtype) / points.numel() ** 0.5:
            return f"the {name} has coordinates up to {points.abs().max().item():.1e}: squares would overflow"
    spreads = [(cloud - cloud.mean(0)).norm() for cloud in (c.double() for c in (pointmap, means))]
    return f"all points of the {'pointmap' if spreads[0] <= spreads[1] else 'prediction'} coincide"
