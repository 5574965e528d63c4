"""What a training run is: everything that decides its result, complete before the first step."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from pmgs_lib.losses import PointmapLossSettings


class WeightSchedule(BaseModel):
    """By what the weight of a term is multiplied at each step, steps counted from 0.

    0 before step `start`, then growing linearly over `ramp` steps (0: at once) to 1, and 0 again from step `stop` on
    (None: never). A term of weight 0 is not computed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: NonNegativeInt = 0
    ramp: NonNegativeInt = 0
    stop: PositiveInt | None = None

    def factor(self, step: int) -> float:
        """The factor at a step."""
        if step < self.start or (self.stop is not None and step >= self.stop):
            return 0.0
        return min(1.0, (step - self.start + 1) / (self.ramp + 1))


class TrainingConfig(BaseModel):
    """One stage of training.

    The defaults of optimiser, schedule and clipping are those of DepthSplat's released training (its code at the CVPR
    2025 version): AdamW, one-cycle cosine with 1 % warm-up, gradient norm clipped at 0.5. `pretrained_learning_rate`
    applies to parameters whose name contains "pretrained" (the ViT); None trains them at `learning_rate`.

    pointmap_weight: of PM-Loss; 0.005 in its released training, from the first step on, with the default
    `pointmap_loss` (`PointmapLossSettings`) and `pointmap_schedule`. It is relative to squared scene units: with a
    penalty or normalization that changes them, choose another.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: PositiveInt
    batch_size: PositiveInt = 1
    learning_rate: PositiveFloat = 2e-4
    pretrained_learning_rate: PositiveFloat | None = None
    weight_decay: NonNegativeFloat = 0.01
    warmup_fraction: float = Field(default=0.01, gt=0, lt=1)
    clip_norm: PositiveFloat = 0.5
    photometric_weight: NonNegativeFloat = 1.0
    pointmap_weight: NonNegativeFloat = 0.0
    pointmap_loss: PointmapLossSettings = PointmapLossSettings()
    pointmap_schedule: WeightSchedule = WeightSchedule()
    depth_weight: NonNegativeFloat = 0.0
    intermediate_decay: float = Field(default=0.9, gt=0, le=1)
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    matmul_precision: Literal["highest", "high"] = "highest"  # "high": TF32 products on a GPU, as the released training
    rasterizer: str = "auto"
    seed: int = 0
