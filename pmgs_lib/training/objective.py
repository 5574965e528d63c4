"""What training minimises: rendered targets, and optionally centres on a pointmap and depth on known depth."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pmgs_lib.errors import ParameterError
from pmgs_lib.losses import PointmapLoss, PointmapLossDetails, inverse_depth_l1, mean_squared_error
from pmgs_lib.models.base import Prediction
from pmgs_lib.pointmaps.base import PointmapSource
from pmgs_lib.rasterizers import render_with_settings
from pmgs_lib.rasterizers.base import Rendering
from pmgs_lib.training.config import ObjectiveConfig
from pmgs_lib.views import Example, Views


@dataclass(frozen=True)
class StepLoss:
    """Weighted terms of one batch, and the scenes that PM-Loss left out with its reasons."""

    terms: dict[str, Float[Tensor, ""]]
    excluded: tuple[tuple[str, str], ...] = ()

    @property
    def total(self) -> Float[Tensor, ""]:
        return torch.stack(list(self.terms.values())).sum()


class Objective:
    """The loss of a batch, in float32 whatever the model's precision.

    Intermediate predictions are supervised by their own rendering, each with `intermediate_decay` to the power of its
    distance from the final one (DepthSplat). PM-Loss acts on the final Gaussians only (PM-Loss, released code).
    """

    def __init__(self, config: ObjectiveConfig, pointmaps: PointmapSource | None = None) -> None:
        if config.pointmap_weight > 0 and pointmaps is None:
            raise ParameterError("training: pointmap_weight is positive but no pointmap source was given")
        self.config, self.pointmaps = config, pointmaps
        self.pointmap_loss = PointmapLoss(config.pointmap_loss)

    def __call__(self, prediction: Prediction, example: Example, step: int) -> StepLoss:
        """The terms at `step`, counted from 0."""
        terms = {"photometric": self._photometric(prediction, example)}
        excluded: tuple[tuple[str, str], ...] = ()
        if self.config.depth_weight > 0:
            terms["depth"] = self.config.depth_weight * self._depth(prediction, example)
        if self.config.pointmap_weight > 0:
            terms["pointmap"], excluded = self._pointmap(prediction, example, step)
        return StepLoss(terms, excluded)

    def _pointmap(
        self, prediction: Prediction, example: Example, step: int
    ) -> tuple[Float[Tensor, ""], tuple[tuple[str, str], ...]]:
        """The weighted term, and name and reason of each scene that it leaves out."""
        weight = self.config.pointmap_weight * self.config.pointmap_schedule.factor(step)
        if weight == 0:
            return prediction.gaussians.means.new_zeros(()), ()
        details = self.pointmap_details(prediction, example.context, example.key, step)
        return weight * details.loss.mean(), details.excluded_scenes

    def pointmap_details(
        self, prediction: Prediction, context: Views, keys: tuple[str, ...], step: int, *, per_pixel: bool = False
    ) -> PointmapLossDetails:
        """What PM-Loss sees in a batch, without its weight; the views bring what else its options need."""
        settings = self.pointmap_loss.settings
        pointmap = self.pointmaps.with_confidence(context, keys)
        return self.pointmap_loss.details(
            prediction.gaussians.means,
            pointmap.points,
            confidence=None if settings.confidence_rule == "none" else pointmap.confidence,
            cameras=context.cameras if settings.needs_cameras else None,
            step=step,
            keys=keys,
            per_pixel=per_pixel,
        )

    def _photometric(self, prediction: Prediction, example: Example) -> Float[Tensor, ""]:
        losses = [
            weight * mean_squared_error(self._render(stage, example).color, example.target.images)
            for weight, stage in self._stages(prediction)
        ]
        return self.config.photometric_weight * torch.stack(losses).sum()

    def _depth(self, prediction: Prediction, example: Example) -> Float[Tensor, ""]:
        if example.context.depth is None:
            raise ParameterError(f"training: depth_weight is positive but {example.key[0]} has no known depth")
        return inverse_depth_l1(prediction.depth, example.context.depth)

    def _stages(self, prediction: Prediction) -> Iterator[tuple[float, Prediction]]:
        for distance, stage in enumerate(reversed([*prediction.intermediates, prediction])):
            yield self.config.intermediate_decay**distance, stage

    def _render(self, prediction: Prediction, example: Example) -> Rendering:
        target = example.target
        return render_with_settings(
            prediction.gaussians,
            target.cameras,
            target.height,
            target.width,
            prediction.settings,
            near=target.near,
            backend=self.config.rasterizer,
        )
