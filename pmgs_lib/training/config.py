"""What a training run is: everything that decides its result, complete before the first step."""

from typing import Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from pmgs_lib.losses import PointmapLossSettings


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WeightSchedule(_Part):
    """By what the weight of a term is multiplied at each step, steps counted from 0.

    0 before step `start`, then growing linearly over `ramp` steps (0: at once) to 1, and 0 again from step `stop` on
    (None: never). A term of weight 0 is not computed.
    """

    start: NonNegativeInt = 0
    ramp: NonNegativeInt = 0
    stop: PositiveInt | None = None

    def factor(self, step: int) -> float:
        """The factor at a step."""
        if step < self.start or (self.stop is not None and step >= self.stop):
            return 0.0
        return min(1.0, (step - self.start + 1) / (self.ramp + 1))


class OptimizerConfig(_Part):
    """How gradients become steps; the defaults are those of DepthSplat's released training (CVPR 2025 version).

    kind: "adamw" (decay apart from the gradient) or "adam" (decay added to the gradient, as the unofficial GS-LRM has
    it). pretrained_learning_rate: of parameters whose name contains "pretrained" (the ViT); None: as the others.
    decayed: "all" parameters, or "matrices" only, those with two axes and more: no norms and biases (GS-LRM, paper).
    clip_norm: the gradient's norm is cut to it; None: never.
    """

    kind: Literal["adamw", "adam"] = "adamw"
    learning_rate: PositiveFloat = 2e-4
    pretrained_learning_rate: PositiveFloat | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: NonNegativeFloat = 0.01
    decayed: Literal["all", "matrices"] = "all"
    clip_norm: PositiveFloat | None = 0.5


class ScheduleConfig(_Part):
    """How the learning rate moves, a value a step.

    kind: "one-cycle" (cosine up from 1/25 of the peak, cosine down to 1/250,000 of it; DepthSplat, MVSplat),
    "warmup-cosine" (linear from 0, cosine down to 0; GS-LRM) or "constant" after the same warm-up.
    warmup: a number of steps, or a fraction of the whole below 1. length: of the whole schedule in steps, if a run is
    to take only the first part of it.
    """

    kind: Literal["one-cycle", "warmup-cosine", "constant"] = "one-cycle"
    warmup: NonNegativeInt | float = 0.01
    length: PositiveInt | None = None

    @model_validator(mode="after")
    def _warmup_is_a_part(self) -> "ScheduleConfig":
        if isinstance(self.warmup, float) and not 0 <= self.warmup < 1:
            raise ValueError(f"warmup {self.warmup}: expected a whole number of steps, or a fraction from 0 to below 1")
        return self


class ObjectiveConfig(_Part):
    """What is minimised: a sum of terms, each a mean over the scenes of a step times its weight.

    photometric_error: mean squared or absolute difference of colours. largest_squared_error: colours whose squared
    error reaches it are left out (0.2 in the released PM-Loss training, against things that move); None keeps all.

    perceptual: "lpips" (VGG-16; DepthSplat, MVSplat, unofficial GS-LRM) or "vgg19" (Chen and Koltun 2017; GS-LRM's
    paper). perceptual_precision: of its convolutions.

    pointmap_weight: of PM-Loss; 0.005 in its released training, from the first step on, with the default
    `pointmap_loss` and `pointmap_schedule`. It is relative to squared scene units: with a penalty or normalization that
    changes them, choose another.

    depth_weight, depth_gradient_weight: of the difference to known depth and of its differences between neighbouring
    pixels, in `depth_space` (20 and 20 in inverse depth in DepthSplat's depth training).

    intermediate_decay: earlier predictions of the model are rendered too and count this much less each (DepthSplat);
    None supervises the final prediction alone. rendering: "kept" keeps what rendering needs for its gradient,
    "deferred" renders again in the backward pass, one target at a time (GS-LRM): slower, in far less memory.
    """

    photometric_weight: NonNegativeFloat = 1.0
    photometric_error: Literal["mse", "l1"] = "mse"
    largest_squared_error: PositiveFloat | None = None
    perceptual: Literal["lpips", "vgg19"] = "lpips"
    perceptual_weight: NonNegativeFloat = 0.0
    perceptual_schedule: WeightSchedule = WeightSchedule()
    perceptual_precision: Literal["float32", "bfloat16"] = "float32"
    pointmap_weight: NonNegativeFloat = 0.0
    pointmap_loss: PointmapLossSettings = PointmapLossSettings()
    pointmap_schedule: WeightSchedule = WeightSchedule()
    depth_weight: NonNegativeFloat = 0.0
    depth_gradient_weight: NonNegativeFloat = 0.0
    depth_space: Literal["log", "inverse"] = "inverse"
    intermediate_decay: float | None = Field(default=0.9, gt=0, le=1)
    rendering: Literal["kept", "deferred"] = "kept"
    rasterizer: str = "auto"

    @model_validator(mode="after")
    def _asks_for_something(self) -> "ObjectiveConfig":
        if not any(getattr(self, f"{term}_weight") for term in ("photometric", "perceptual", "pointmap", "depth")):
            raise ValueError("all weights are 0: expected at least one term to be minimised")
        return self


class NonFinitePolicy(_Part):
    """What becomes of a step whose loss or gradient is not finite, always before the optimizer moves a weight.

    "stop" ends the training, naming scene, step and term. "skip" leaves the step out and counts it under its scenes;
    more than `most` in sequence end the training all the same. largest_norm: from the end of the warm-up on, a finite
    gradient with a larger norm is treated in the same way (GS-LRM's training skips such steps); None: never.
    """

    action: Literal["stop", "skip"] = "stop"
    most: PositiveInt = 10
    largest_norm: PositiveFloat | None = None


class TrainingConfig(_Part):
    """One stage of training.

    batch_size: scenes of one optimizer step, over all devices. accumulate: each device takes its share in so many
    parts, one after the other, in less memory and with the same scenes, so with the same result but for rounding.
    average_decay: keep a moving average of the weights with this decay a step, which is then what is validated and
    saved; None: no average. matmul_precision: "high" allows TF32 products on a GPU, as the released trainings do.
    compile, graphs: of the model's regions, see `pmgs_lib.models.acceleration.accelerate`: minutes at the first step,
    then faster ones, most of all where launching takes longer than computing; other rounding.
    """

    steps: PositiveInt
    batch_size: PositiveInt = 1
    accumulate: PositiveInt = 1
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    non_finite: NonFinitePolicy = NonFinitePolicy()
    average_decay: float | None = Field(default=None, gt=0, lt=1)
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    matmul_precision: Literal["highest", "high"] = "highest"
    compile: bool = False
    graphs: bool = False
    seed: int = 0

    @model_validator(mode="after")
    def _parts_are_whole(self) -> "TrainingConfig":
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size {self.batch_size} does not divide into accumulate {self.accumulate} parts")
        if self.graphs and not self.compile:
            raise ValueError("graphs without compile: expected compile=True, since compiled regions make graphs")
        return self
