"""Distances of PM-Loss: from which point to which, in which unit, and what they cost."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pmgs_lib.cameras import Cameras
from pmgs_lib.geometry.nearest import nearest_indices
from pmgs_lib.geometry.similarity import largest_coordinate
from pmgs_lib.losses.pointmap_pairs import AlignedPairs
from pmgs_lib.losses.pointmap_settings import PointmapLossSettings

# A surface may not weigh more than a hundred times one at the mean depth of its item.
LEAST_DEPTH_SHARE = 0.01
# With less in common than this, the size of one cloud says nothing about that of the other.
LEAST_CORRELATION = 1e-3
# Between the first steps of one seed and of the next: a prime, larger than any training is long.
SEED_STRIDE = 2_654_435_761
# Positions of cameras above it are no positions.
LARGEST_POSE = largest_coordinate(torch.float32)
# Depths below this share of the prediction's spread are no unit to measure in.
LEAST_DEPTH = 1e-6


def penalize(squared: Float[Tensor, "*shape"], settings: PointmapLossSettings) -> Float[Tensor, "*shape"]:
    """The penalty of squared distances; its gradient is finite also at distance 0."""
    scale = settings.penalty_scale
    if settings.penalty == "squared":
        return squared
    if settings.penalty == "geman_mcclure":
        return squared / (1 + squared / scale**2)
    # Replaced before the root, whose slope at 0 is infinite.
    positive = squared > 0
    distance = torch.where(positive, torch.where(positive, squared, 1.0).sqrt(), 0.0)
    if settings.penalty == "absolute":
        return distance
    return torch.where(distance <= scale, squared, 2 * scale * distance - scale**2)


def differences_to_pointmap(
    pairs: AlignedPairs, aligned: Float[Tensor, "batch pixel 3"], sampled: Tensor | None, settings: PointmapLossSettings
) -> Float[Tensor, "batch sample 3"]:
    """From the nearest aligned point to each (sampled) centre."""
    centres = take(pairs.centres.flatten(1, 2), sampled)
    nearest = _nearest_counting(centres, aligned, pairs.flat_weights, sampled, settings)
    if settings.per_view:
        return centres - take(aligned, nearest)
    # Picked in the pointmap's own frame and aligned afterwards: the gradient then meets the alignment in one 3x3
    # product, and nothing is scattered back. One product with a sum, for the memory it does not walk through.
    scale, rotation, translation = pairs.alignment.scale, pairs.alignment.rotation, pairs.alignment.translation
    picked = take(pairs.points.flatten(1, 2), nearest)
    return torch.baddbmm(centres + -translation, picked, (scale[..., None, None] * rotation)[:, 0].mT, alpha=-1)


def differences_to_centres(
    pairs: AlignedPairs, aligned: Float[Tensor, "batch pixel 3"], sampled: Tensor | None, settings: PointmapLossSettings
) -> Float[Tensor, "batch sample 3"]:
    """From the nearest centre to each (sampled) aligned point."""
    points, centres = take(aligned, sampled), pairs.centres.flatten(1, 2)
    return points - take(centres, _nearest_counting(points, centres, pairs.flat_weights, sampled, settings))


def depth_differences(
    pairs: AlignedPairs, aligned: Float[Tensor, "batch pixel 3"], poses: Tensor, sampled: Tensor | None
) -> Float[Tensor, "batch sample 1"]:
    """z-depth of each centre in the view of its pixel, less that of the aligned point of the same pixel."""
    depths = view_depths(pairs.centres.flatten(1, 2), poses) - view_depths(aligned, poses)
    return take(depths, sampled)[..., None]


@torch.no_grad()
def _nearest_counting(
    queries: Tensor, pool: Tensor, weights: Tensor | None, sampled: Tensor | None, settings: PointmapLossSettings
) -> Int[Tensor, "batch sample"]:
    """Index of the point of the pool nearest to each query, among the pixels with a positive weight."""
    if weights is None:
        return nearest_indices(queries, pool, backend=settings.backend)
    counts = weights > 0
    # Stand-ins instead of clouds of different sizes: what does not count lies on a point that does.
    stand_in = counts.int().argmax(-1, keepdim=True)
    pool = torch.where(counts[..., None], pool, take(pool, stand_in))
    queries = torch.where(take(counts, sampled)[..., None], queries, take(pool, stand_in))
    found = nearest_indices(queries, pool, backend=settings.backend)
    return torch.where(counts.gather(1, found), found, stand_in)


def take(values: Tensor, pixels: Int[Tensor, "batch sample"] | None) -> Tensor:
    """Values (batch, pixel) or vectors (batch, pixel, 3) at pixels of each item or at (1, sample) of all; None: all."""
    if pixels is None:
        return values
    pixels = pixels.expand(len(values), -1)
    if values.ndim == 2:
        return values.gather(1, pixels)
    # Whole rows are faster than a gather of their elements.
    rows = pixels + torch.arange(len(values), device=values.device)[:, None] * values.shape[1]
    return values.flatten(0, 1).index_select(0, rows.flatten()).unflatten(0, pixels.shape)


def sample_pixels(
    aligned: Float[Tensor, "batch pixel 3"], settings: PointmapLossSettings, step: int | None
) -> Int[Tensor, "1 sample"] | None:
    """`sampled_points` of the pixels of an item, one from each stretch of equal length; None where that is all of them.

    Each pixel is expected equally often, so a mean over the sample has no bias, and neighbours in the picture, whose
    errors are alike, seldom meet in it. Equal for equal seed and step, for every item and on every device.
    """
    size, count = settings.sampled_points, aligned.shape[1]
    if size is None or size >= count:
        return None
    generator = torch.Generator().manual_seed((settings.seed * SEED_STRIDE + step) % 2**63)
    place = torch.rand(1, size, generator=generator, dtype=torch.float64) + torch.arange(size)
    return (place * (count / size)).long().clamp_max(count - 1).to(aligned.device)


def measured(difference: Float[Tensor, "batch sample axis"], divisor: Tensor | None, sampled: Tensor | None) -> Tensor:
    """Differences in the unit of `measure_divisor`."""
    if divisor is None:
        return difference
    return difference / (take(divisor, sampled) if divisor.shape[1] > 1 else divisor)[..., None]


def mean_penalty(
    difference: Float[Tensor, "batch sample axis"],
    weights: Float[Tensor, "batch pixel"] | None,
    sampled: Tensor | None,
    settings: PointmapLossSettings,
) -> Float[Tensor, "batch"]:
    """Weighted mean over pixels of the penalty of each item, or its unbiased estimate from a sample of the pixels."""
    if weights is None and settings.penalty == "squared":
        # The norm has a backward of one pass, and gradient 0 where it is 0.
        return torch.linalg.vector_norm(difference.flatten(1), dim=1).square() / difference.shape[1]
    penalties = penalize(difference.square().sum(-1), settings)
    if weights is None:
        return penalties.mean(-1)
    # Divided by the mean weight of all pixels, not of the sample: a quotient of two estimates would have a bias.
    mean_weight = weights.mean(-1)
    return (take(weights, sampled) * penalties).mean(-1) / torch.where(mean_weight > 0, mean_weight, 1.0)


def leave_out_bad_cameras(
    pairs: AlignedPairs, cameras: Cameras
) -> tuple[AlignedPairs, Float[Tensor, "batch view 4 4"]]:
    """Poses in float64, and the pairs whose cameras are finite; the others get an identity."""
    poses = cameras.world_from_camera.double()
    bad = ~(poses.abs().amax((-2, -1)) <= LARGEST_POSE)
    groups = bad if pairs.left_out.shape[1] > 1 else bad.any(-1, keepdim=True)
    pairs = pairs.leave_out(groups, lambda item, group: "a camera has a NaN, infinite or immense pose")
    return pairs, torch.where(bad[..., None, None], torch.eye(4).to(poses), poses)


def view_depths(
    points: Float[Tensor, "batch pixel 3"], poses: Float[Tensor, "batch view 4 4"]
) -> Float[Tensor, "batch pixel"]:
    """z-depth of every pixel's point in the view of that pixel; `poses` are `world_from_camera`."""
    local = points.unflatten(1, (poses.shape[1], -1)) - poses[..., None, :3, 3]
    return (local @ poses[..., :3, 2, None])[..., 0].flatten(1)


def measure_divisor(
    pairs: AlignedPairs, aligned: Float[Tensor, "batch pixel 3"], poses: Tensor | None, settings: PointmapLossSettings
) -> tuple[AlignedPairs, Tensor | None]:
    """What distances are divided by, (batch, 1) or (batch, pixel), and the pairs that have such a number."""
    if settings.normalization == "none":
        return pairs, None
    if settings.normalization == "spread":
        divisor = _spread(pairs.centres.flatten(1, 2), pairs.flat_weights)[:, None]
    elif settings.normalization == "pointmap":
        pairs, divisor = _pointmap_scale(pairs, aligned)
    else:
        pairs, divisor = _depth_unit(pairs, aligned, poses)
    divisor = torch.where(pairs.excluded[:, None], torch.ones_like(divisor), divisor)
    return pairs, divisor.detach() if settings.detach_alignment else divisor


def _pointmap_scale(pairs: AlignedPairs, aligned: Tensor) -> tuple[AlignedPairs, Tensor]:
    with torch.no_grad():
        sizes = [_spread(c, pairs.weights) for c in (aligned.reshape(pairs.points.shape), pairs.centres)]
        correlation = sizes[0] / sizes[1]
    pairs = pairs.leave_out(
        ~(correlation > LEAST_CORRELATION) & ~pairs.left_out,
        lambda item, group: (
            f"pointmap and prediction have nothing in common (correlation {correlation[item, group]:.0e})"
        ),
    )
    scale = torch.where(pairs.left_out, 1.0, pairs.alignment.scale)
    return pairs, scale.repeat_interleave(pairs.centres.shape[2], dim=1)


def _depth_unit(pairs: AlignedPairs, aligned: Tensor, poses: Tensor) -> tuple[AlignedPairs, Tensor]:
    depth, weights = view_depths(aligned, poses), pairs.flat_weights
    mean = (depth.abs() * _shares(depth, weights)).sum(-1, keepdim=True)
    small = mean[:, 0] <= LEAST_DEPTH * _spread(pairs.centres.flatten(1, 2), weights)
    faulty = (small[:, None] & ~pairs.left_out).detach()
    pairs = pairs.leave_out(faulty, lambda item, group: "the aligned pointmap has no depth in its views to measure in")
    return pairs, torch.where(faulty.any(-1, keepdim=True), 1.0, torch.maximum(depth, LEAST_DEPTH_SHARE * mean))


def _spread(points: Tensor, weights: Tensor | None) -> Tensor:
    """Root mean square distance of points (..., pixel, 3) from their weighted mean, with gradient 0 where it is 0."""
    shares = _shares(points[..., 0], weights)
    centred = points - (shares[..., None] * points).sum(-2, keepdim=True)
    variance = (shares * centred.square().sum(-1)).sum(-1)
    return torch.where(variance > 0, torch.where(variance > 0, variance, 1.0).sqrt(), 0.0)


def _shares(like: Tensor, weights: Tensor | None) -> Tensor:
    """Share of each pixel in a weighted mean; zeros where nothing counts."""
    if weights is None:
        return torch.full_like(like, 1 / like.shape[-1])
    total = weights.sum(-1, keepdim=True)
    return weights / torch.where(total > 0, total, 1.0)
