"""Colour features of October 2024: the features of every matching scale, brought to image size by convolutions.

Source: the released code of PM-Loss, whose model is DepthSplat in its state of October 2024. Module names are those of
its checkpoints.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ResizeConvFeatures(nn.Module):
    """Convolutional, matching and monocular features of all scales, doubled up to the image, side by side.

    widths: channels of the concatenated features of each scale, coarse first. doublings: how often each of them is
    doubled. channels: of the result, shared equally by the scales.
    """

    def __init__(self, widths: tuple[int, ...], doublings: tuple[int, ...], channels: int) -> None:
        super().__init__()
        share = channels // len(widths)
        self.upsampler = nn.ModuleList(
            _doubled(width, count, share) for width, count in zip(widths, doublings, strict=True)
        )

    def forward(
        self, taps: tuple[Float[Tensor, "frame tap row column"], ...], features: dict[str, Tensor]
    ) -> Float[Tensor, "frame channel h w"]:
        """Takes what every kind of colour features takes; the taps of the image transformer play no part here."""
        maps = []
        for scale, upsampler in enumerate(self.upsampler):
            parts = [features[name] for name in scale_features(scale)]
            maps.append(upsampler(torch.cat([part.to(parts[0].dtype) for part in parts], dim=1)))
        return torch.cat(maps, dim=1)


def scale_features(scale: int) -> tuple[str, str, str]:
    """Names of the features of a matching scale (0: coarse, 1: fine) in the order of the weights."""
    return (("low", "mid")[scale], f"matching{scale}", f"monocular{scale}")


def _doubled(width: int, doublings: int, channels: int) -> nn.Sequential:
    """1x1 convolution, then twice the size and a convolution of half the width until both are reached."""
    hidden = channels * 2 * max(doublings - 1, 1)
    layers: list[nn.Module] = [nn.Conv2d(width, hidden, 1)]
    for step in range(doublings):
        narrower = max(hidden // 2, channels)
        layers += [nn.GELU()] if step else []
        layers += [nn.Upsample(scale_factor=2, mode="nearest")]
        layers += [nn.Conv2d(hidden, narrower, 3, padding=1, padding_mode="replicate")]
        hidden = narrower
    return nn.Sequential(*layers)
