"""Regressor of the colour branch of March 2025: two convolutions that see one view at a time."""

from jaxtyping import Float
from torch import Tensor, nn

from pmgs_lib.models.aligned import AlignedConv2d


class ConvRegressor(nn.Sequential):
    """Two convolutions with a GELU between them; takes the number of views of a scene and has no use for it."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__(
            AlignedConv2d(channels_in, channels, 3, padding=1), nn.GELU(), nn.Conv2d(channels, channels, 3, padding=1)
        )

    def forward(
        self, x: Float[Tensor, "frame channel row column"], views: int
    ) -> Float[Tensor, "frame channel_out row column"]:
        return super().forward(x)
