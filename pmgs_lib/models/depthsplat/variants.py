"""Named configurations of DepthSplat: the released ones of both generations, and the small one that ships with us."""

from typing import Any

from pmgs_lib.models.backbones.dinov2 import VitConfig
from pmgs_lib.models.depthsplat.config import (
    AdapterConfig,
    ColorConfig,
    ConvRegressorConfig,
    DepthSplatConfig,
    DptConfig,
    ResizeConvConfig,
    UNetRegressorConfig,
)
from pmgs_lib.models.released_rendering import RELEASED_RENDERING

DPT_PROJECTIONS = {"vits": (48, 96, 192, 384), "vitb": (96, 192, 384, 768), "vitl": (128, 256, 512, 1024)}
DEPTH_FEATURES = {"vits": 32, "vitb": 48, "vitl": 64}
COLOR_FEATURES = {"vits": 64, "vitb": 96, "vitl": 128}


def released(vit: str, scales: int, upsample: int, *, depth_only: bool = False) -> DepthSplatConfig:
    """A model as released in March 2025, with everything its weights depend on."""
    color = ColorConfig(
        features=DptConfig(projections=DPT_PROJECTIONS[vit], features=COLOR_FEATURES[vit]),
        adapter=AdapterConfig(scale_map="softplus", scale_min=1e-10, scale_max=3.0, released_harmonics=True),
        metric_depth_input=True,
    )
    return DepthSplatConfig(
        vit=vit,
        scales=scales,
        upsample=upsample,
        dpt=DptConfig(projections=DPT_PROJECTIONS[vit], features=DEPTH_FEATURES[vit]),
        color=None if depth_only else color,
        scrambled_window_mask=True,
        reference_intrinsics=True,
        rendering=RELEASED_RENDERING,
    )


def october_2024(
    vit: str,
    scales: int,
    upsample: int,
    *,
    feature_channels: int = 128,
    regressor_channels: int = 32,
    wide_unet: bool = True,
    **adapter: Any,
) -> DepthSplatConfig:
    """A model of October 2024, which PM-Loss builds on, with everything its weights depend on.

    feature_channels, regressor_channels, wide_unet: the released `feature_upsampler_channels`,
    `gaussian_regressor_channels` and `color_large_unet`; other widths follow from them as in the released code.
    adapter: fields of `AdapterConfig` that differ from those of PM-Loss, for example `offset_mode="unconstrained"`.

    Two neighbours a view are what PM-Loss evaluates with (its count of 3 includes the view itself). It trains with
    `nearest_views=None`, all pairs, which up to three views are the same neighbours.
    """
    common = {"scale_map": "exp", "scale_min": 0.0, "scale_max": 0.3, "unit_rays": True, "released_harmonics": True}
    wide = wide_unet or regressor_channels == 16
    regressor = UNetRegressorConfig(
        channels=regressor_channels,
        multipliers=(1, 2, 4, 4, 4) if wide else (1,) * 5,
        head_width=32 if regressor_channels >= 32 else 16,
    )
    color = ColorConfig(
        features=ResizeConvConfig(features=feature_channels),
        regressor=regressor,
        head_expansion=2 if feature_channels == 128 else 1,
        adapter=AdapterConfig(**({"harmonics_degree": 4} | common | adapter)),
        metric_depth_input=True,
    )
    changed = {"color": color, "all_pairs_up_to": 2, "supervise_last_scale": True}
    return DepthSplatConfig.model_validate(dict(released(vit, scales, upsample)) | changed)


GS_SMALL_RE10K_256X256 = released("vits", scales=1, upsample=4)
GS_BASE_RE10K_256X256 = released("vitb", scales=2, upsample=2)
GS_LARGE_RE10K_256X256 = released("vitl", scales=2, upsample=2)
GS_BASE_RE10K_256X448 = released("vitb", scales=2, upsample=4)
GS_BASE_DL3DV_256X448 = released("vitb", scales=2, upsample=4)
GS_BASE_RE10KDL3DV_448X768 = released("vitb", scales=2, upsample=4)
GS_SMALL_RE10KDL3DV_448X768 = released("vits", scales=1, upsample=8)
DEPTH_SMALL_352X640 = released("vits", scales=1, upsample=8, depth_only=True)
DEPTH_BASE_352X640 = released("vitb", scales=2, upsample=4, depth_only=True)
PMLOSS_UNCONSTRAINED_256X448 = october_2024("vitb", scales=2, upsample=4, offset_mode="unconstrained")
PMLOSS_ORI_256X448 = october_2024("vitb", scales=2, upsample=4, offset_mode="ori")

# Trained from scratch on embedded scenes. Harmonics of degree 1 and scales tied to the pixel's footprint: with few
# steps of training the colours of the input images do most of the work, and depth is what has to be learnt.
TINY = DepthSplatConfig(
    vit=VitConfig(width=64, depth=4, heads=2, taps=(0, 1, 2, 3), position_grid=16),
    scales=1,
    upsample=4,
    cnn_channels=(32, 40, 48),
    transformer_width=64,
    transformer_blocks=4,
    feed_forward_factor=2,
    candidates=64,
    unet_channels=40,
    unet_head_width=40,
    dpt=DptConfig(projections=(24, 32, 32, 40), features=24),
    color=ColorConfig(
        features=DptConfig(projections=(24, 32, 32, 40), features=32),
        regressor=ConvRegressorConfig(channels=32),
        adapter=AdapterConfig(harmonics_degree=1, scale_map="pixel", scale_min=0.1, scale_max=5.0),
        initial_opacity=0.8,
    ),
)
