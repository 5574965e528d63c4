"""PM-Loss: Gaussian centres are pulled onto a pointmap that another model drew of the same pixels."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pmgs_lib.errors import ParameterError
from pmgs_lib.geometry.nearest import nearest_indices
from pmgs_lib.geometry.similarity import Similarity, estimate_similarity, largest_coordinate
from pmgs_lib.losses.base import Loss


@dataclass(frozen=True)
class PointmapLossDetails:
    """What one call of PM-Loss saw in each item of the batch.

    loss: after the threshold rule, 0 where excluded, differentiable; its mean is the loss of the batch.
    chamfer: before the threshold rule, squared scene units. scale: of the pointmap onto the prediction.
    residual: root mean square distance between counterparts after the alignment, scene units.
    above_threshold: where the threshold rule took hold. excluded, reasons: items left out, and why (None for the
    others).
    """

    loss: Float[Tensor, "batch"]
    chamfer: Float[Tensor, "batch"]
    scale: Float[Tensor, "batch"]
    residual: Float[Tensor, "batch"]
    above_threshold: Bool[Tensor, "batch"]
    excluded: Bool[Tensor, "batch"]
    reasons: tuple[str | None, ...]


@dataclass(frozen=True)
class _Comparison:
    """Clouds of a batch in float64, the pointmap's alignment, and the chamfer distance per item."""

    means: Tensor
    pointmap: Tensor
    alignment: Similarity
    chamfer: Tensor


class PointmapLoss(Loss):
    """One-directional squared distance from Gaussian centres to a pointmap aligned with them, mean over the batch.

    `loss(means, pointmap)` takes (batch, point, 3) or (batch, view, h, w, 3); point i of the pointmap and centre i show
    the same pixel. The pointmap may live in any frame and scale: for each item the least-squares similarity that maps
    it onto the centres is applied first, and the gradient passes through it (`detach_alignment=True` stops it there).
    An item above `threshold` (squared scene units) counts times `above_threshold_factor`. Defaults are the released
    ones; the released weight 0.005 is left to the trainer.

    Items without a meaningful alignment are excluded: NaN, infinite or immense numbers, all centres or all points of
    the pointmap coincident (or one point only). They add 0 to the sum, have gradient 0, stay in the count of the
    mean, and are named with the reason by `details`. Everything is computed in float64; the result has the dtype of
    the centres, at least float32. `backend` is that of `nearest_neighbors`.

    Source: Shi et al., "Revisiting Depth Representations for Feed-Forward 3D Gaussian Splatting" (PM-Loss), 2025.

    >>> centres = torch.rand(1, 50, 3, requires_grad=True)
    >>> PointmapLoss()(centres, 3 * centres.detach() + 1).item() < 1e-9
    True
    """

    def __init__(
        self,
        threshold: float = 100.0,
        above_threshold_factor: float = 1e-5,
        detach_alignment: bool = False,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        if not threshold > 0 or not 0 <= above_threshold_factor <= 1:
            raise ParameterError(
                f"PointmapLoss: threshold is {threshold} and above_threshold_factor {above_threshold_factor}, "
                "expected a positive threshold and a factor from 0 to 1"
            )
        self.threshold, self.above_threshold_factor = threshold, above_threshold_factor
        self.detach_alignment, self.backend = detach_alignment, backend

    def value(self, prediction: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        comparison = self._compare(prediction, target)
        return self._thresholded(comparison.chamfer).mean().to(_result_dtype(prediction))

    def details(
        self, means: Float[Tensor, "batch *point 3"], pointmap: Float[Tensor, "batch *pixel 3"]
    ) -> PointmapLossDetails:
        """The loss of each item, with what it is made of; `details(...).loss.mean()` equals the loss itself."""
        comparison = self._compare(means, pointmap)
        alignment, dtype = comparison.alignment.detach(), _result_dtype(means)
        with torch.no_grad():
            counterparts = comparison.means - alignment.apply(comparison.pointmap)
            residual = torch.linalg.vector_norm(counterparts, dim=(-2, -1)) / counterparts.shape[-2] ** 0.5
        excluded = ~alignment.determined
        return PointmapLossDetails(
            loss=self._thresholded(comparison.chamfer).to(dtype),
            chamfer=comparison.chamfer.detach().to(dtype),
            scale=alignment.scale.to(dtype),
            residual=residual.to(dtype),
            above_threshold=comparison.chamfer.detach() > self.threshold,
            excluded=excluded,
            reasons=tuple(_reasons(excluded, means, pointmap)),
        )

    def _thresholded(self, chamfer: Tensor) -> Tensor:
        return torch.where(chamfer > self.threshold, chamfer * self.above_threshold_factor, chamfer)

    def _compare(self, means: Tensor, pointmap: Tensor) -> _Comparison:
        _check(means, pointmap)
        with torch.autocast(means.device.type, enabled=False):
            centres, points = means.flatten(1, -2).double(), pointmap.flatten(1, -2).double()
            alignment = estimate_similarity(points, centres, None, _result_dtype(means))
            if self.detach_alignment:
                alignment = alignment.detach()
            if not alignment.determined.all():
                centres, points = (_zero_where_excluded(cloud, alignment) for cloud in (centres, points))
            nearest = nearest_indices(centres, alignment.apply(points).detach(), backend=self.backend)
            # Picked in the pointmap's own frame and aligned afterwards: the gradient then meets the alignment in one
            # 3x3 product, and nothing is scattered back.
            neighbours = alignment.apply(points.gather(1, nearest[..., None].expand(-1, -1, 3)))
            difference = (centres - neighbours).flatten(1)
            chamfer = torch.linalg.vecdot(difference, difference) / nearest.shape[-1]
            chamfer = torch.where(alignment.determined, chamfer, torch.zeros_like(chamfer))
        return _Comparison(centres, points, alignment, chamfer)


def _zero_where_excluded(cloud: Tensor, alignment: Similarity) -> Tensor:
    # Before any arithmetic: the gradient of 0 times NaN would be NaN.
    return torch.where(alignment.determined[:, None, None], cloud, torch.zeros_like(cloud))


def _result_dtype(means: Tensor) -> torch.dtype:
    return torch.promote_types(means.dtype, torch.float32)


def _reasons(excluded: Tensor, means: Tensor, pointmap: Tensor) -> Iterator[str | None]:
    for item, left_out in enumerate(excluded.tolist()):
        yield _reason(means[item].detach(), pointmap[item].detach()) if left_out else None


def _reason(means: Tensor, pointmap: Tensor) -> str:
    for name, points in (("prediction", means), ("pointmap", pointmap)):
        broken = (~points.isfinite()).any(-1).sum().item()
        if broken:
            return f"{broken} of {points[..., 0].numel()} points of the {name} are NaN or infinite"
        if points.abs().max() > largest_coordinate(_result_dtype(means)) / points.numel() ** 0.5:
            return f"the {name} has coordinates up to {points.abs().max().item():.1e}: squares would overflow"
    spreads = [(cloud - cloud.mean(0)).norm() for cloud in (c.reshape(-1, 3).double() for c in (pointmap, means))]
    return f"all points of the {'pointmap' if spreads[0] <= spreads[1] else 'prediction'} coincide"


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
