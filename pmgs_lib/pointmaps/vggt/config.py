"""Sizes of VGGT: the published one, and a small one of the same code."""

from typing import Literal

from pydantic import Field, model_validator

from pmgs_lib.models.base import ModelConfig

Head = Literal["point", "depth", "camera"]


class VisionConfig(ModelConfig):
    """The vision transformer that reads single images (DINOv2 with registers)."""

    depth: int
    heads: int
    position_grid: int  # tokens a side that the position code was trained for
    registers: int = 4


class DenseConfig(ModelConfig):
    """A dense head: `stages` of the aggregator that it reads, their widths inside it, and the width of the fusion."""

    stages: tuple[int, int, int, int]
    projections: tuple[int, int, int, int]
    features: int
    frames_at_once: int = Field(default=16, gt=0)  # more frames go through in turns, for memory


class CameraConfig(ModelConfig):
    """The camera head: refinements of one estimate by the same few blocks."""

    depth: int
    heads: int
    refinements: int = 4


class VggtConfig(ModelConfig):
    """VGGT. width: of the tokens. pairs: blocks inside frames, each followed by one over all frames.

    heads: what is built beside the aggregator. A file may hold more; what is not built is skipped by name.
    """

    width: int
    attention_heads: int
    pairs: int
    vision: VisionConfig
    dense: DenseConfig
    camera: CameraConfig
    heads: tuple[Head, ...] = ("point",)
    registers: int = 4
    patch: int = 14

    @model_validator(mode="after")
    def _fits_together(self) -> "VggtConfig":
        if not self.heads or len(set(self.heads)) != len(self.heads):
            raise ValueError(f"heads {self.heads}; expected at least one of point, depth, camera, none twice")
        if max(self.dense.stages) >= self.pairs:
            raise ValueError(f"dense stages {self.dense.stages} of {self.pairs} pairs; expected numbers below that")
        if self.width % (4 * self.attention_heads):
            raise ValueError(f"width {self.width} for {self.attention_heads} heads; expected a multiple of 4 for each")
        return self


PUBLISHED = VggtConfig(
    width=1024,
    attention_heads=16,
    pairs=24,
    vision=VisionConfig(depth=24, heads=16, position_grid=37),
    dense=DenseConfig(stages=(4, 11, 17, 23), projections=(256, 512, 1024, 1024), features=256),
    camera=CameraConfig(depth=4, heads=16),
)

# 22 times fewer weights, every part present: what the recordings and the smoke suite use.
REDUCED = VggtConfig(
    width=384,
    attention_heads=6,
    pairs=4,
    vision=VisionConfig(depth=12, heads=6, position_grid=10),
    dense=DenseConfig(stages=(0, 1, 2, 3), projections=(48, 96, 192, 192), features=64),
    camera=CameraConfig(depth=2, heads=12),
)

SIZES = {"published": PUBLISHED, "reduced": REDUCED}
