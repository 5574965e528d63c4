"""What a training run is: everything that decides its result, complete before the first step."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt


class TrainingConfig(BaseModel):
    """One stage of training.

    The defaults of optimiser, schedule and clipping are those of DepthSplat's released training (its code at the CVPR
    2025 version): AdamW, one-cycle cosine with 1 % warm-up, gradient norm clipped at 0.5. `pretrained_learning_rate`
    applies to parameters whose name contains "pretrained" (the ViT); None trains them at `learning_rate`.
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
    depth_weight: NonNegativeFloat = 0.0
    intermediate_decay: float = Field(default=0.9, gt=0, le=1)
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    matmul_precision: Literal["highest", "high"] = "highest"  # "high": TF32 products on a GPU, as the released training
    rasterizer: str = "auto"
    seed: int = 0
