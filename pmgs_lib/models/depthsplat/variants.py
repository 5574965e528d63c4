"""Named configurations of DepthSplat: the released ones, exactly, and the small one that ships with the library."""

from pmgs_lib.models.backbones.dinov2 import VitConfig
from pmgs_lib.models.depthsplat.config import AdapterConfig, ColorConfig, DepthSplatConfig, DptConfig
from pmgs_lib.rasterizers.base import RenderingSettings

DPT_PROJECTIONS = {"vits": (48, 96, 192, 384), "vitb": (96, 192, 384, 768), "vitl": (128, 256, 512, 1024)}
DEPTH_FEATURES = {"vits": 32, "vitb": 48, "vitl": 64}
COLOR_FEATURES = {"vits": 64, "vitb": 96, "vitl": 128}

# The released renderer divides the world by near, culls at 0.2 after that, and ignores an off-centre principal point.
RELEASED_RENDERING = RenderingSettings(near_plane_factor=0.2, centered_principal_point=True, max_degree=3)


def released(vit: str, scales: int, upsample: int, *, depth_only: bool = False) -> DepthSplatConfig:
    """A model as released in March 2025, with everything its weights depend on."""
    color = ColorConfig(
        dpt=DptConfig(projections=DPT_PROJECTIONS[vit], features=COLOR_FEATURES[vit]),
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


GS_SMALL_RE10K_256X256 = released("vits", scales=1, upsample=4)
GS_BASE_RE10K_256X256 = released("vitb", scales=2, upsample=2)
GS_LARGE_RE10K_256X256 = released("vitl", scales=2, upsample=2)
GS_BASE_RE10K_256X448 = released("vitb", scales=2, upsample=4)
GS_BASE_DL3DV_256X448 = released("vitb", scales=2, upsample=4)
GS_BASE_RE10KDL3DV_448X768 = released("vitb", scales=2, upsample=4)
GS_SMALL_RE10KDL3DV_448X768 = released("vits", scales=1, upsample=8)
DEPTH_SMALL_352X640 = released("vits", scales=1, upsample=8, depth_only=True)
DEPTH_BASE_352X640 = released("vitb", scales=2, upsample=4, depth_only=True)

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
        dpt=DptConfig(projections=(24, 32, 32, 40), features=32),
        regressor_channels=32,
        adapter=AdapterConfig(harmonics_degree=1, scale_map="pixel", scale_min=0.1, scale_max=5.0),
        initial_opacity=0.8,
    ),
)
