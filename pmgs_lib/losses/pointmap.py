"""PM-Loss: Gaussian centres are pulled onto a pointmap that another model drew of the same pixels."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pmgs_lib.cameras import Cameras
from pmgs_lib.errors import ParameterError
from pmgs_lib.losses.base import Loss
from pmgs_lib.losses.pointmap_distances import (
    depth_differences,
    differences_to_centres,
    differences_to_pointmap,
    leave_out_bad_cameras,
    mean_penalty,
    measure_divisor,
    measured,
    sample_pixels,
    take,
)
from pmgs_lib.losses.pointmap_pairs import AlignedPairs, align_pairs
from pmgs_lib.losses.pointmap_settings import PointmapLossSettings


@dataclass(frozen=True)
class PointmapPixels:
    """What PM-Loss saw at single pixels, without gradient.

    distances: from a centre to what it was compared with, before the penalty, in the units of `normalization` (scene
    units by default); of the pixels `sampled` (None: of all). aligned: the pointmap on the prediction, scene units.
    counts: pixels that took part; NaN stands elsewhere in `distances` and `aligned`.
    """

    distances: Float[Tensor, "batch sample"]
    aligned: Float[Tensor, "batch pixel 3"]
    counts: Bool[Tensor, "batch pixel"]
    sampled: Int[Tensor, "1 sample"] | None

    def quantiles(self, levels: Sequence[float] = (0.5, 0.9, 0.99)) -> Float[Tensor, "batch level"]:
        """Quantiles of each item's distances; NaN for an excluded item."""
        # By sorting: `torch.quantile` refuses more than 16 million numbers.
        ordered = self.distances.sort(dim=-1).values
        known = (~ordered.isnan()).sum(-1, keepdim=True)
        ranks = (torch.tensor(levels, dtype=torch.float64, device=ordered.device) * (known - 1)).round().long()
        return ordered.gather(-1, ranks.clamp_min(0))

    def share_above(self, distance: float) -> Float[Tensor, "batch"]:
        """Share of each item's distances that exceed `distance`; NaN for an excluded item."""
        known = (~self.distances.isnan()).sum(-1)
        return (self.distances > distance).sum(-1) / known


@dataclass(frozen=True)
class PointmapLossDetails:
    """What one call of PM-Loss saw in each item of the batch.

    loss: after the threshold rule, 0 where excluded, differentiable; its mean is the loss of the batch.
    chamfer: before the threshold rule, squared scene units by default. scale: of the pointmap onto the prediction
    (with `per_view` the mean over views that could be aligned). residual: root mean square distance between
    counterparts after the alignment, scene units. above_threshold: where the threshold rule took hold. excluded,
    reasons: items left out, and why (None for the others). used: share of the pixels that counted. keys: names of the
    items, when given. pixels: on request.
    """

    loss: Float[Tensor, "batch"]
    chamfer: Float[Tensor, "batch"]
    scale: Float[Tensor, "batch"]
    residual: Float[Tensor, "batch"]
    above_threshold: Bool[Tensor, "batch"]
    excluded: Bool[Tensor, "batch"]
    reasons: tuple[str | None, ...]
    used: Float[Tensor, "batch"]
    keys: tuple[str, ...] | None = None
    pixels: PointmapPixels | None = None

    @property
    def excluded_scenes(self) -> tuple[tuple[str, str], ...]:
        """Name (or place in the batch) and reason of each item left out."""
        names = self.keys or [f"item {item}" for item in range(len(self.reasons))]
        return tuple((name, reason) for name, reason in zip(names, self.reasons, strict=True) if reason)


class PointmapLoss(Loss):
    """One-directional squared distance from Gaussian centres to a pointmap aligned with them, mean over the batch.

    `loss(means, pointmap)` takes (batch, point, 3) or (batch, view, h, w, 3); point i of the pointmap and centre i show
    the same pixel. The pointmap may live in any frame and scale: for each item the least-squares similarity that maps
    it onto the centres is applied first, and the gradient passes through it. An item above `threshold` (squared scene
    units) counts times `above_threshold_factor`. Defaults are the released ones; the released weight of the term in
    training, 0.005, is left to the trainer. `PointmapLossSettings` says what may be changed; options are given as
    `settings` or by name. Some need more in the call: `confidence` (shape of the pointmap without the last axis),
    `cameras` (of the views, batch shape (batch, view)), `step` (of the training, from 0).

    Items without a meaningful alignment are excluded: NaN, infinite or immense numbers, all centres or all points of
    the pointmap coincident (or one point only), masks that leave no pixel, confidences that are no numbers from 0 up,
    cameras without a finite pose, a normalization whose unit vanishes. They add 0 to the sum, have gradient 0, stay in
    the count of the mean, and are named with the reason by `details`. Of pixels that a mask leaves out nothing is
    looked at, not even a NaN. With `per_view` a view that cannot be aligned is left out, the item only when no view is
    left. Mirrored, flat and straight clouds get the best proper rotation. Everything is computed in float64; the
    result has the dtype of the centres, at least float32.

    Source: Shi et al., "Revisiting Depth Representations for Feed-Forward 3D Gaussian Splatting" (PM-Loss), 2025.

    >>> centres = torch.rand(1, 50, 3, requires_grad=True)
    >>> PointmapLoss()(centres, 3 * centres.detach() + 1).item() < 1e-9
    True
    >>> PointmapLoss(penalty="huber", penalty_scale=0.1, two_sided=True).settings.two_sided
    True
    """

    # Names that `build_loss` accepts as options.
    options = tuple(field.name for field in fields(PointmapLossSettings))

    def __init__(self, settings: PointmapLossSettings | None = None, **options: Any) -> None:
        super().__init__()
        if not isinstance(settings, PointmapLossSettings | None):
            raise ParameterError(
                f"PointmapLoss: settings are {settings!r}, expected PointmapLossSettings, or options by name"
            )
        self.settings = (settings or PointmapLossSettings()).changed(options)

    @property
    def threshold(self) -> float:
        return self.settings.threshold

    @property
    def above_threshold_factor(self) -> float:
        return self.settings.above_threshold_factor

    @property
    def detach_alignment(self) -> bool:
        return self.settings.detach_alignment

    def value(
        self,
        prediction: Float[Tensor, "*shape"],
        target: Float[Tensor, "*shape"],
        *,
        confidence: Float[Tensor, "batch *_"] | None = None,
        cameras: Cameras | None = None,
        step: int | None = None,
    ) -> Float[Tensor, ""]:
        comparison = self._compare(prediction, target, _Evidence(confidence, cameras, step))
        return self._thresholded(comparison.chamfer).mean().to(_result_dtype(prediction))

    def details(
        self,
        means: Float[Tensor, "batch *point 3"],
        pointmap: Float[Tensor, "batch *pixel 3"],
        *,
        confidence: Float[Tensor, "batch *_"] | None = None,
        cameras: Cameras | None = None,
        step: int | None = None,
        keys: Sequence[str] | None = None,
        per_pixel: bool = False,
    ) -> PointmapLossDetails:
        """The loss of each item, with what it is made of; `details(...).loss.mean()` equals the loss itself.

        confidence, cameras, step: as in the call of the loss. keys: names of the items. per_pixel: fill `pixels` too.
        """
        comparison = self._compare(means, pointmap, _Evidence(confidence, cameras, step))
        pairs, dtype = comparison.pairs, _result_dtype(means)
        return PointmapLossDetails(
            loss=self._thresholded(comparison.chamfer).to(dtype),
            chamfer=comparison.chamfer.detach().to(dtype),
            scale=pairs.mean_scale().to(dtype),
            residual=pairs.residual(comparison.aligned.detach()).to(dtype),
            above_threshold=comparison.chamfer.detach() > self.settings.threshold,
            excluded=pairs.excluded,
            reasons=tuple(pairs.reason(item) for item in range(len(means))),
            used=pairs.counts().to(dtype).mean(-1),
            keys=None if keys is None else tuple(keys),
            pixels=_pixels(comparison, dtype) if per_pixel else None,
        )

    def _thresholded(self, chamfer: Tensor) -> Tensor:
        settings = self.settings
        return torch.where(chamfer > settings.threshold, chamfer * settings.above_threshold_factor, chamfer)

    def _compare(self, means: Tensor, pointmap: Tensor, evidence: "_Evidence") -> "_Comparison":
        settings = self.settings
        _check(means, pointmap)
        _check_evidence(settings, pointmap, evidence)
        with torch.autocast(means.device.type, enabled=False):
            pairs, poses = align_pairs(means, pointmap, evidence.confidence, settings), None
            if settings.needs_cameras:
                pairs, poses = leave_out_bad_cameras(pairs, evidence.cameras)
            aligned = pairs.alignment.apply(pairs.points).flatten(1, 2)
            pairs, divisor = measure_divisor(pairs, aligned, poses, settings)
            sampled = sample_pixels(aligned, settings, evidence.step)
            if settings.compare == "depth":
                difference = depth_differences(pairs, aligned, poses, sampled)
            else:
                difference = differences_to_pointmap(pairs, aligned, sampled, settings)
            chamfer = mean_penalty(measured(difference, divisor, sampled), pairs.flat_weights, sampled, settings)
            if settings.two_sided:
                reverse = measured(differences_to_centres(pairs, aligned, sampled, settings), divisor, sampled)
                chamfer = chamfer + mean_penalty(reverse, pairs.flat_weights, sampled, settings)
            chamfer = torch.where(pairs.excluded, torch.zeros_like(chamfer), chamfer)
        return _Comparison(pairs, aligned, chamfer, difference, divisor, sampled)


class _Evidence(NamedTuple):
    """What a call may bring beside the two clouds."""

    confidence: Tensor | None
    cameras: Cameras | None
    step: int | None


class _Comparison(NamedTuple):
    """Aligned pairs of a batch, the chamfer distance per item, and what it is the mean of."""

    pairs: AlignedPairs
    aligned: Tensor
    chamfer: Tensor
    difference: Tensor
    divisor: Tensor | None
    sampled: Tensor | None


def _result_dtype(means: Tensor) -> torch.dtype:
    return torch.promote_types(means.dtype, torch.float32)


@torch.no_grad()
def _pixels(comparison: _Comparison, dtype: torch.dtype) -> PointmapPixels:
    counts, sampled = comparison.pairs.counts(), comparison.sampled
    distances = torch.linalg.vector_norm(measured(comparison.difference, comparison.divisor, sampled), dim=-1)
    distances = torch.where(take(counts, sampled), distances, torch.nan)
    aligned = torch.where(counts[..., None], comparison.aligned, torch.nan)
    return PointmapPixels(distances.to(dtype), aligned.to(dtype), counts, sampled)


def _check(means: Tensor, pointmap: Tensor) -> None:
    if means.ndim not in (3, 5) or means.shape[-1] != 3 or means.numel() == 0 or not means.is_floating_point():
        raise ParameterError(
            f"PointmapLoss: means are {means.dtype} of shape {tuple(means.shape)}, "
            "expected floats of shape (batch, point, 3) or (batch, view, h, w, 3)"
        )
    if means.flatten(1, -2).shape != pointmap.flatten(1, -2).shape:
        raise ParameterError(
            f"PointmapLoss: means {tuple(means.shape)} and pointmap {tuple(pointmap.shape)}, "
            "expected one pointmap point for each Gaussian, in the order view, row, column"
        )


def _check_evidence(settings: PointmapLossSettings, pointmap: Tensor, evidence: _Evidence) -> None:
    if settings.needs_views and pointmap.ndim != 5:
        raise ParameterError(
            f"PointmapLoss: the pointmap has shape {tuple(pointmap.shape)}, expected (batch, view, h, w, 3), "
            "which per_view and everything in depth need"
        )
    shapes = (
        ("confidence", settings.confidence_rule != "none", _shape_of(evidence.confidence), pointmap.shape[:-1]),
        ("cameras", settings.needs_cameras, evidence.cameras and evidence.cameras.batch_shape, pointmap.shape[:2]),
    )
    for name, needed, given, expected in shapes:
        if (given is not None) != needed or (needed and given != expected):
            told = "none was given" if given is None else f"one of shape {tuple(given)} was given"
            wanted = f"expected one of shape {tuple(expected)}" if needed else "expected none: no option uses it"
            raise ParameterError(f"PointmapLoss: {name}: {told}, {wanted}")
    if settings.sampled_points is not None and evidence.step is None:
        raise ParameterError("PointmapLoss: sampled_points is set but the call has no step, expected step=0, 1, 2 …")


def _shape_of(tensor: Tensor | None) -> torch.Size | None:
    return None if tensor is None else tensor.shape
