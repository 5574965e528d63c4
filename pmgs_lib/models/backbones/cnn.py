"""The residual encoder of the matching branch: three resolutions of features from one image.

Source: the encoder of GMFlow / UniMatch (Xu et al., "Unifying Flow, Stereo and Depth Estimation", 2023), in the form
that DepthSplat trains. Module names are those of the released checkpoints.
"""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

# Mean and standard deviation of colours that the networks expect to be taken out of images.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class CnnFeatures(NamedTuple):
    """Features of one image; `low` is at a quarter or an eighth of its size."""

    half: Float[Tensor, "frame half_channel half_row half_column"]
    mid: Float[Tensor, "frame mid_channel mid_row mid_column"]
    low: Float[Tensor, "frame low_channel row column"]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with instance norm and a shortcut that adapts where the width or the size changes."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm = nn.InstanceNorm2d(channels_out)
        self.relu = nn.ReLU()
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            shortcut = nn.Conv2d(channels_in, channels_out, 1, stride=stride)
            self.downsample = nn.Sequential(shortcut, nn.InstanceNorm2d(channels_out))

    def forward(
        self, x: Float[Tensor, "frame channel row column"]
    ) -> Float[Tensor, "frame channel_out row_out column_out"]:
        y = self.relu(self.norm(self.conv1(x)))
        y = self.relu(self.norm(self.conv2(y)))
        return self.relu(self.downsample(x) + y)


class ResidualPyramid(nn.Module):
    """Features at a half, an intermediate size and `1 / lowest` of the image (`lowest` 4 or 8).

    With `lowest` 4 only one of the last two stages halves the size: the last in DepthSplat, the one before in MVSplat
    (`early`).
    """

    regions = ("forward",)

    def __init__(self, channels: tuple[int, int, int], channels_out: int, lowest: int, early: bool = False) -> None:
        super().__init__()
        first, second, third = channels
        self.conv1 = nn.Conv2d(3, first, 7, stride=2, padding=3, bias=False)
        self.norm1 = nn.InstanceNorm2d(first)
        self.relu = nn.ReLU()
        self.layer1 = _stage(first, first, stride=1)
        self.layer2 = _stage(first, second, stride=2 if early else lowest // 4)
        self.layer3 = _stage(second, third, stride=lowest // 4 if early else 2)
        self.conv2 = nn.Conv2d(third, channels_out, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Float[Tensor, "frame 3 h w"]) -> CnnFeatures:
        half = self.layer1(self.relu(self.norm1(self.conv1(images))))
        mid = self.layer2(half)
        return CnnFeatures(half, mid, self.conv2(self.layer3(mid)))


def _stage(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        ResidualBlock(channels_in, channels_out, stride), ResidualBlock(channels_out, channels_out, stride=1)
    )
