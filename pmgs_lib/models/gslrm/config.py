"""Configuration of GS-LRM: every width and every behaviour that weights depend on."""

from typing import Literal

from pydantic import Field, model_validator

from pmgs_lib.models.base import ModelConfig
from pmgs_lib.rasterizers.base import RenderingSettings


class GslrmConfig(ModelConfig):
    """One GS-LRM (Zhang et al., ECCV 2024); the defaults are the paper's for scenes.

    Lengths (`nearest`, `farthest`, `scale_max` and what `scale_bias` stands for) are in units of the frame that
    `pose_normalisation` makes. The biases are added to raw channels before their activation.

    inputs: nine channels of a pixel, see `pmgs_lib.models.gslrm.rays`. pose_normalisation: see
    `pmgs_lib.models.gslrm.pose_normalisation`. distance_range: where the ends of the range on each ray come from:
    "fixed" (`nearest` and `farthest`), "baseline" (from the cameras' distance, as the unofficial code does), "views"
    (near and far of the input, taken for lengths of rays).
    """

    kind: Literal["gslrm"] = "gslrm"
    patch: int = Field(8, ge=1)  # pixels a side
    inputs: Literal["paper", "unofficial"] = "paper"
    width: int = Field(1024, ge=1)
    layers: int = Field(24, ge=1)
    head_width: int = Field(64, ge=1)
    feed_forward_factor: int = Field(4, ge=1)
    normalise_tokens: bool = False  # a layer norm before the first block (Long-LRM)
    normalise_queries: bool = False  # queries and keys are normalised in each head (LVSM): calmer at high rates
    checkpoint_blocks: bool = False  # recompute each block in the backward pass instead of keeping it
    pose_normalisation: Literal["unit_box", "unofficial", "none"] = "unit_box"
    distance_range: Literal["fixed", "baseline", "views"] = "fixed"
    nearest: float = Field(0.0, ge=0)
    farthest: float = 500.0
    distance_bias: float = 0.0
    scale_bias: float = -2.3
    scale_max: float = Field(0.3, gt=0)
    opacity_bias: float = -2.0
    harmonics_degree: int = Field(0, ge=0, le=4)
    rendering: RenderingSettings = RenderingSettings()

    @model_validator(mode="after")
    def _consistent(self) -> "GslrmConfig":
        if self.width % self.head_width:
            raise ValueError(f"width {self.width} does not divide by head_width {self.head_width}")
        if not self.nearest < self.farthest:
            raise ValueError(f"nearest {self.nearest} and farthest {self.farthest}: expected nearest < farthest")
        return self

    @property
    def multiple(self) -> int:
        """Image sides must be multiples of this."""
        return self.patch

    @property
    def heads(self) -> int:
        """Attention heads of a block."""
        return self.width // self.head_width

    @property
    def needs_baseline(self) -> bool:
        """Whether the unit of length comes from the distance between cameras: two of them at least, not at one place.

        Otherwise one view is enough, since nothing else in the network asks for a second.
        """
        return self.pose_normalisation != "none" or self.distance_range == "baseline"
