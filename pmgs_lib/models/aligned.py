"""Convolutions whose channel counts do not suit tensor cores."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

# Half precision convolutions run on tensor cores where channels come in multiples of this; elsewhere many times slower.
ALIGNMENT = 8
HALF_BYTES = 2


class AlignedConv2d(nn.Conv2d):
    """A convolution that fills its channels up with zeros in half precision, and is an ordinary one in any other.

    Same parameters and, up to rounding, same result.
    """

    def _conv_forward(
        self,
        input: Float[Tensor, "frame channel row column"],
        weight: Float[Tensor, "channel_out channel kernel_row kernel_column"],
        bias: Float[Tensor, " channel_out"] | None,
    ) -> Float[Tensor, "frame channel_out row_out column_out"]:
        missing_in, missing_out = -self.in_channels % ALIGNMENT, -self.out_channels % ALIGNMENT
        if input.element_size() != HALF_BYTES or not (missing_in or missing_out):
            return super()._conv_forward(input, weight, bias)
        filled = functional.pad(input, (0, 0, 0, 0, 0, missing_in))
        weight = functional.pad(weight, (0, 0, 0, 0, 0, missing_in, 0, missing_out))
        bias = None if bias is None else functional.pad(bias, (0, missing_out))
        return super()._conv_forward(filled, weight, bias)[:, : self.out_channels]
