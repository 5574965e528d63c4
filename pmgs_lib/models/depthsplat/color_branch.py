"""The variable parts of the colour branch by configuration, and what the branch is told about each view."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from pmgs_lib.models.depthsplat.config import DepthSplatConfig, DptConfig, UNetRegressorConfig
from pmgs_lib.models.depthsplat.conv_regressor import ConvRegressor
from pmgs_lib.models.depthsplat.depth_network import feature_channels
from pmgs_lib.models.depthsplat.resize_conv import ResizeConvFeatures, scale_features
from pmgs_lib.models.depthsplat.upsampler import FUSION, FusedDpt
from pmgs_lib.models.matching.unet import UNetRegressor


@dataclass(frozen=True)
class ColorFrames:
    """What the colour branch sees of some frames, that is of all views of all scenes one after the other.

    depth: as the regressor takes it (see `ColorConfig.metric_depth_input`). match_probability: of the likeliest
    candidate. taps, features: as in `DepthEstimate`. An index selects frames.
    """

    images: Float[Tensor, "frame 3 h w"]
    depth: Float[Tensor, "frame 1 h w"]
    match_probability: Float[Tensor, "frame 1 h w"]
    taps: tuple[Float[Tensor, "frame tap tap_row tap_column"], ...]
    features: dict[str, Tensor]

    def __getitem__(self, index: slice | Tensor) -> "ColorFrames":
        return ColorFrames(
            self.images[index],
            self.depth[index],
            self.match_probability[index],
            tuple(tap[index] for tap in self.taps),
            {name: feature[index] for name, feature in self.features.items()},
        )


def build_features(config: DepthSplatConfig) -> nn.Module:
    """Network of `config.color.features`: called with taps and named features, gives features at image size."""
    kind, channels = config.color.features, feature_channels(config)
    if isinstance(kind, DptConfig):
        fusion = FUSION[config.scales, config.upsample]
        order = tuple(tuple(name for name in names if name != "inverse_depth") for names in fusion)
        return FusedDpt(kind, config.vit.width, order, channels, output=False)
    widths = tuple(sum(channels[name] for name in scale_features(scale)) for scale in range(config.scales))
    # The coarse scale is at 1 / lowest of the image, each further one at twice that.
    doublings = tuple((config.lowest >> scale).bit_length() - 1 for scale in range(config.scales))
    return ResizeConvFeatures(widths, doublings, kind.features)


def build_regressor(config: DepthSplatConfig) -> nn.Module:
    """Network of `config.color.regressor`: called with image, depth, match probability and features, and views."""
    kind, width_in = config.color.regressor, 3 + 1 + 1 + config.color.features.features
    if isinstance(kind, UNetRegressorConfig):
        return UNetRegressor(width_in, kind.channels, kind.multipliers, kind.head_width, config.checkpoint_attention)
    return ConvRegressor(width_in, kind.channels)
