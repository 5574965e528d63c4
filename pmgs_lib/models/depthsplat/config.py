"""Configuration of DepthSplat: every width and every behaviour that weights depend on."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from pmgs_lib.models.backbones.dinov2 import VIT_PRESETS, VitConfig
from pmgs_lib.models.base import ModelConfig
from pmgs_lib.rasterizers.base import RenderingSettings


def _vit_preset(value: Any) -> Any:
    if isinstance(value, str):
        if value not in VIT_PRESETS:
            raise ValueError(
                f"no transformer preset {value!r}: expected one of {', '.join(VIT_PRESETS)} or a VitConfig"
            )
        return VIT_PRESETS[value]
    return value


class DptConfig(ModelConfig):
    """Widths of a DPT head: of the four projected taps, and of the features it fuses them to."""

    kind: Literal["dpt"] = "dpt"
    projections: tuple[int, int, int, int]
    features: int


class ResizeConvConfig(ModelConfig):
    """Features of October 2024: those of each matching scale, doubled and convolved up to the image, side by side."""

    kind: Literal["resize_conv"] = "resize_conv"
    features: int = Field(ge=2)  # of all scales together, equally


class ConvRegressorConfig(ModelConfig):
    """Two convolutions: each view for itself."""

    kind: Literal["convolutions"] = "convolutions"
    channels: int = Field(64, ge=1)


class UNetRegressorConfig(ModelConfig):
    """Regressor of October 2024: a U-Net at image size in which the views of a scene see each other."""

    kind: Literal["unet"] = "unet"
    channels: int = Field(32, multiple_of=8)
    multipliers: tuple[int, ...] = (1, 2, 4, 4, 4)  # of `channels`, one for each level
    head_width: int = Field(32, ge=1)

    @model_validator(mode="after")
    def _heads_divide(self) -> "UNetRegressorConfig":
        if not self.multipliers or self.channels * self.multipliers[-1] % self.head_width:
            raise ValueError(
                f"multipliers {self.multipliers} of channels {self.channels}: the width of the lowest level does not "
                f"divide by head_width {self.head_width}"
            )
        return self


class AdapterConfig(ModelConfig):
    """From raw network outputs to Gaussians.

    scale_map "softplus" is the released one: world units, independent of depth. "exp" is that of October 2024. "pixel"
    gives the standard deviation in footprints of one pixel at the Gaussian's depth, between the bounds on a log scale,
    which puts untrained Gaussians at the size of what they depict; "pixel_linear" the same on a linear scale, as the
    files first released in March 2025 mean it.

    offset_mode, with raw output o, says how many pixels a Gaussian lies beside its own: "ori" sigmoid(o) - 0.5, "pixel"
    tanh(o) * offset_factor / 2, "unconstrained" o * offset_factor (PM-Loss calls them so).
    """

    harmonics_degree: int = Field(2, ge=0, le=4)
    scale_map: Literal["softplus", "exp", "pixel", "pixel_linear"] = "pixel"
    scale_min: float = 0.1
    scale_max: float = 5.0
    offset_mode: Literal["ori", "pixel", "unconstrained"] = "ori"
    offset_factor: float = Field(0.5, gt=0)
    # One channel more, which says how sure the network is of a Gaussian; nothing is rendered with it.
    confidence: Literal["softplus", "sigmoid"] | None = None
    # Released in October 2024 (quirk D): matched z-depth is taken for the length of the ray.
    unit_rays: bool = False
    # Released (quirk E of the specification): coefficients are rotated in another sign convention than the one they are
    # rendered in. False: they live in the camera's axes and are rotated consistently.
    released_harmonics: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> "AdapterConfig":
        lowest = 0 if self.scale_map == "pixel" else -1
        if not lowest < self.scale_min < self.scale_max:
            raise ValueError(f"scale_min {self.scale_min} and scale_max {self.scale_max}: expected 0 < min < max")
        return self


class ColorConfig(ModelConfig):
    """The branch that turns images, depths and features into Gaussians."""

    features: DptConfig | ResizeConvConfig = Field(discriminator="kind")
    regressor: ConvRegressorConfig | UNetRegressorConfig = Field(ConvRegressorConfig(), discriminator="kind")
    head_expansion: int = Field(1, ge=1)  # hidden width of the last head in units of its outputs
    adapter: AdapterConfig = AdapterConfig()
    # Released: the regressor sees depth in world units, up to 200. False: inverse depth scaled to [0, 1].
    metric_depth_input: bool = False
    initial_opacity: float = Field(0.5, gt=0, lt=1)

    @model_validator(mode="before")
    @classmethod
    def _first_spelling(cls, value: Any) -> Any:
        """Files written when there was one kind of features and of regressor say `dpt` and `regressor_channels`."""
        if isinstance(value, dict) and "dpt" in value:
            value = dict(value)
            dpt, channels = value.pop("dpt"), value.pop("regressor_channels", 64)
            dpt = dpt.model_dump() if isinstance(dpt, DptConfig) else dpt
            value |= {"features": {"kind": "dpt"} | dpt, "regressor": {"kind": "convolutions", "channels": channels}}
        return value


class DepthSplatConfig(ModelConfig):
    """One DepthSplat (Xu et al., CVPR 2025): the state of the code of March 2025, or of October 2024 (see `color`).

    `upsample` is the factor from the finest matching resolution to the image; each of the `scales` halves the size
    once more, so matching starts at 1 / lowest with lowest = upsample * 2 ** (scales - 1). The depth network works in
    inverse depth between 1 / far and 1 / near of its input.
    """

    kind: Literal["depthsplat"] = "depthsplat"
    vit: Annotated[VitConfig, BeforeValidator(_vit_preset)]
    scales: int
    upsample: int
    cnn_channels: tuple[int, int, int] = (64, 96, 128)
    transformer_width: int = Field(128, multiple_of=4)
    transformer_blocks: int = Field(6, ge=1)
    feed_forward_factor: int = 4
    # Matched with all other views up to `all_pairs_up_to` views, beyond with the `nearest_views` (None: always all).
    nearest_views: int | None = Field(2, ge=1)
    all_pairs_up_to: int = 3
    candidates: int = Field(128, ge=8)  # inverse depths at the coarse scale; the fine scale takes a quarter of them
    unet_channels: int = 128  # halved at the fine scale
    unet_levels: int = Field(3, ge=2)  # one more at the fine scale
    unet_head_width: int = 32
    checkpoint_attention: bool = False  # recompute the U-Net's attention in the backward pass instead of keeping it
    # In training the depth of the last matching scale, before the upsampler, counts as an intermediate prediction, too.
    supervise_last_scale: bool = False
    dpt: DptConfig
    color: ColorConfig | None  # None: a model that predicts depth only
    # Released (quirk A): the shift mask of the cross-view attention separates wrong pairs with two or more neighbours.
    scrambled_window_mask: bool = False
    # Released (quirk B): the plane sweep projects with the intrinsics of the view it starts from.
    reference_intrinsics: bool = False
    rendering: RenderingSettings = RenderingSettings()

    @model_validator(mode="after")
    def _consistent(self) -> "DepthSplatConfig":
        if (self.scales, self.upsample) not in SUPPORTED_RESOLUTIONS:
            raise ValueError(
                f"scales {self.scales} with upsample {self.upsample} is not supported: "
                f"expected (scales, upsample) in {sorted(SUPPORTED_RESOLUTIONS)}"
            )
        for width in (self.unet_channels >> scale for scale in range(self.scales)):
            if width % self.unet_head_width or width % 8:
                raise ValueError(
                    f"unet_channels {self.unet_channels}: a width of {width} at one of the scales does not divide by "
                    f"8 groups and by unet_head_width {self.unet_head_width}"
                )
        features = self.color.features if self.color is not None else None
        if isinstance(features, ResizeConvConfig) and features.features % self.scales:
            raise ValueError(f"{features.features} color features: expected a multiple of scales {self.scales}")
        return self

    @property
    def lowest(self) -> int:
        """Image pixels along a side of one pixel of the lowest feature resolution."""
        return self.upsample * 2 ** (self.scales - 1)

    @property
    def multiple(self) -> int:
        """Image sides must be multiples of this."""
        regressor = self.color.regressor if self.color is not None else None
        halvings = len(regressor.multipliers) - 1 if isinstance(regressor, UNetRegressorConfig) else 0
        return max(self.lowest * 2 ** (self.unet_levels - 1), 2**halvings, 16)


SUPPORTED_RESOLUTIONS = {(1, 4), (1, 8), (2, 2), (2, 4)}
