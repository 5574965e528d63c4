"""What training minimises: drawn targets, and optionally centres on a pointmap and depth on known depth."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pmgs_lib.errors import ParameterError
from pmgs_lib.losses import DepthGradientLoss, DepthLoss, PhotometricLoss, PointmapLoss, PointmapLossDetails
from pmgs_lib.models.base import Prediction
from pmgs_lib.pointmaps.base import PointmapSource
from pmgs_lib.training.config import ObjectiveConfig
from pmgs_lib.training.drawing import draw_targets
from pmgs_lib.views import Example, Views

# A number a scene: the grammar of every term.
SceneValues = Float[Tensor, "batch"]


@dataclass(frozen=True)
class StepLoss:
    """Weighted terms of one batch, and the scenes that PM-Loss left out with its reasons.

    terms: means over the scenes. per_scene: the same before the mean, without a gradient, so that a term that is not
    finite can be traced to its scene.
    """

    terms: dict[str, Float[Tensor, ""]]
    excluded: tuple[tuple[str, str], ...] = ()
    per_scene: dict[str, SceneValues] = field(default_factory=dict)

    @property
    def total(self) -> Float[Tensor, ""]:
        return torch.stack(list(self.terms.values())).sum()


class Objective:
    """The loss of a batch, in float32 whatever the model's precision. Not a module: its networks are not trained.

    Every term is a number a scene, and then the mean over the scenes of the step, also where pixels are left out: so
    a batch in parts, or over several devices, gives what it gives as a whole.

    Intermediate predictions are supervised as the final one is, by pictures and by depth, each with
    `intermediate_decay` to the power of its distance from the final one (DepthSplat). PM-Loss acts on the final
    Gaussians only. The released PM-Loss training moreover adds the perceptual term of the last intermediate a second
    time, by a variable that is not reset; that is not repeated here.

    perceptual: maps drawn and true pictures (n 3 h w) in [0, 1] to a scalar. A `PerceptualLoss` (`build_perceptual`)
    also says the value of each picture; with another module all scenes get its mean. Raises `ParameterError` for what a
    weighted term lacks.
    """

    def __init__(
        self,
        config: ObjectiveConfig,
        pointmaps: PointmapSource | None = None,
        perceptual: nn.Module | None = None,
    ) -> None:
        if config.pointmap_weight > 0 and pointmaps is None:
            raise ParameterError("training: pointmap_weight is positive but no pointmap source was given")
        if config.perceptual_weight > 0 and perceptual is None:
            raise ParameterError(
                "training: perceptual_weight is positive but no perceptual network was given; make it by "
                "pmgs_lib.losses.build_perceptual"
            )
        self.config, self.pointmaps, self.perceptual = config, pointmaps, perceptual
        self.photometric_loss = PhotometricLoss(config.photometric_error, config.largest_squared_error)
        self.pointmap_loss = PointmapLoss(config.pointmap_loss)
        self.depth_losses = {
            "depth": DepthLoss(config.depth_space),
            "depth_gradient": DepthGradientLoss(config.depth_space),
        }

    def __call__(self, prediction: Prediction, example: Example, step: int) -> StepLoss:
        """The terms at `step`, counted from 0. A term of a schedule that rests at this step is 0 and not computed."""
        weights = self.weights(step)
        active = {name for name, weight in weights.items() if weight > 0}
        if not active:
            raise ParameterError(
                f"training: no term of the objective has a weight at step {step}; "
                "let the schedule of one of them start earlier or stop later"
            )
        values = self._on_pictures(prediction, example, active) | self._on_depth(prediction, example, active)
        excluded: tuple[tuple[str, str], ...] = ()
        if "pointmap" in active:
            values["pointmap"], excluded = self._pointmap(prediction, example, step)
        resting = example.target.images.new_zeros(example.target.batch_shape)
        scenes = {name: weight * values.get(name, resting) for name, weight in weights.items()}
        terms = {name: value.mean() for name, value in scenes.items()}
        return StepLoss(terms, excluded, {name: value.detach() for name, value in scenes.items()})

    def weights(self, step: int) -> dict[str, float]:
        """Weight at a step of every term that has one at some step."""
        config = self.config
        terms = {
            "photometric": (config.photometric_weight, 1.0),
            "perceptual": (config.perceptual_weight, config.perceptual_schedule.factor(step)),
            "pointmap": (config.pointmap_weight, config.pointmap_schedule.factor(step)),
            "depth": (config.depth_weight, 1.0),
            "depth_gradient": (config.depth_gradient_weight, 1.0),
        }
        return {name: weight * factor for name, (weight, factor) in terms.items() if weight > 0}

    def _on_pictures(self, prediction: Prediction, example: Example, active: set[str]) -> dict[str, SceneValues]:
        """Terms of drawn targets: each prediction is drawn once for all of them."""
        losses = {"photometric": self.photometric_loss.per_item, "perceptual": self._perceptual}
        losses = {name: loss for name, loss in losses.items() if name in active}
        if not losses:
            return {}
        values: dict[str, list[Tensor]] = {name: [] for name in losses}
        deferred, true = self.config.rendering == "deferred", example.target.images
        for share, stage in self._stages(prediction):
            drawn = draw_targets(stage, example.target, backend=self.config.rasterizer, deferred=deferred)
            for name, loss in losses.items():
                values[name].append(share * loss(drawn, true))
        return {name: torch.stack(parts).sum(0) for name, parts in values.items()}

    def _perceptual(
        self, drawn: Float[Tensor, "batch view 3 h w"], true: Float[Tensor, "batch view 3 h w"]
    ) -> SceneValues:
        network = self.perceptual.to(drawn.device)
        pictures = drawn.flatten(0, 1), true.flatten(0, 1)
        if hasattr(network, "per_item"):
            return network.per_item(*pictures).unflatten(0, drawn.shape[:2]).mean(1)
        return network(*pictures).expand(len(drawn))

    def _on_depth(self, prediction: Prediction, example: Example, active: set[str]) -> dict[str, SceneValues]:
        """Terms of the context views' depth, which has to be known."""
        losses = {name: loss.per_item for name, loss in self.depth_losses.items() if name in active}
        if not losses:
            return {}
        if example.context.depth is None:
            raise ParameterError(f"training: depth_weight is positive but {example.key[0]} has no known depth")
        if prediction.depth is None:
            raise ParameterError("training: depth_weight is positive but the model predicts no depth; set it to 0")
        stages = list(self._stages(prediction))
        return {
            name: torch.stack([share * loss(stage.depth, example.context.depth) for share, stage in stages]).sum(0)
            for name, loss in losses.items()
        }

    def _pointmap(
        self, prediction: Prediction, example: Example, step: int
    ) -> tuple[SceneValues, tuple[tuple[str, str], ...]]:
        """PM-Loss of each scene, and name and reason of each that it leaves out."""
        details = self.pointmap_details(prediction, example.context, example.key, step)
        # A pointmap that is not finite leaves its scene out, by name. A prediction that is not must stop the training.
        broken = ~prediction.gaussians.means.detach().isfinite().flatten(1).all(1)
        return torch.where(broken, torch.nan, details.loss), details.excluded_scenes

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

    def _stages(self, prediction: Prediction) -> Iterator[tuple[float, Prediction]]:
        """The predictions that count, the final one first, each with its share."""
        decay = self.config.intermediate_decay
        earlier = () if decay is None else reversed(prediction.intermediates)
        for distance, stage in enumerate([prediction, *earlier]):
            yield 1.0 if distance == 0 else decay**distance, stage
