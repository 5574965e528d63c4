"""Configuration of MVSplat: every width and every behaviour that weights depend on."""

from typing import Literal

from pydantic import Field, model_validator

from pmgs_lib.models.base import ModelConfig
from pmgs_lib.rasterizers.base import RenderingSettings


class UNetConfig(ModelConfig):
    """A U-Net of one width whose lowest level attends across views."""

    channels: int = Field(multiple_of=8)
    levels: int = Field(ge=2)


class MvSplatConfig(ModelConfig):
    """One MVSplat (Chen et al., ECCV 2024).

    Matching happens at `1 / downscale` of the image, between all views of a scene. Depth is in inverse depth between
    1 / far and 1 / near of the input until the end. The bounds of the scales are in footprints of one pixel at the
    Gaussian's depth, as standard deviations.
    """

    kind: Literal["mvsplat"] = "mvsplat"
    downscale: Literal[4, 8] = 4
    cnn_channels: tuple[int, int, int] = (64, 96, 128)
    transformer_width: int = Field(128, multiple_of=4)
    transformer_blocks: int = Field(6, ge=1)
    feed_forward_factor: int = Field(4, ge=1)
    candidates: int = Field(128, ge=2)  # inverse depths that are tried
    cost_unet: UNetConfig = UNetConfig(channels=128, levels=3)
    refine_unet: UNetConfig = UNetConfig(channels=32, levels=5)  # at the size of the image
    unet_head_width: int = Field(32, ge=1)
    checkpoint_attention: bool = False  # recompute the U-Nets' attention in the backward pass instead of keeping it
    harmonics_degree: int = Field(3, ge=0, le=4)
    scale_min: float = Field(0.1, ge=0)
    scale_max: float = 3.0
    # Released (quirk A of the specification): the shift mask of the cross-view attention separates wrong pairs with two
    # or more neighbours.
    scrambled_window_mask: bool = False
    # Released (quirk B): the plane sweep projects with the intrinsics of the view it starts from.
    reference_intrinsics: bool = False
    # Released (quirk D): matched z-depth is taken for the length of the ray.
    unit_rays: bool = False
    # Released (quirk E): coefficients are rotated in another sign convention than the one they are rendered in.
    released_harmonics: bool = False
    rendering: RenderingSettings = RenderingSettings()

    @model_validator(mode="after")
    def _consistent(self) -> "MvSplatConfig":
        for name in ("cost_unet", "refine_unet"):
            width = getattr(self, name).channels
            if width % self.unet_head_width:
                raise ValueError(f"{name} of width {width} does not divide by unet_head_width {self.unet_head_width}")
        if not self.scale_min < self.scale_max:
            raise ValueError(f"scale_min {self.scale_min} and scale_max {self.scale_max}: expected min < max")
        return self

    @property
    def multiple(self) -> int:
        """Image sides must be multiples of this: the U-Nets halve them, and attention halves matched features once."""
        return max(self.downscale * 2 ** (self.cost_unet.levels - 1), 2 ** (self.refine_unet.levels - 1))
