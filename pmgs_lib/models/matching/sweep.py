"""Launches the Triton kernels of the plane sweep, and differentiates through them."""

import importlib.util
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

BLOCK = 16  # pixels of one program
GROUP = 32  # candidates of one program
WARPS = 4


@dataclass(frozen=True)
class SweepGeometry:
    """Where the pixels of every frame land in its neighbours, by depth.

    neighbours: frame numbers. maps: for each neighbour the 3x3 matrix that is multiplied with (x, y, 1) and depth, row
    by row, then the vector that is added.
    """

    neighbours: Int[Tensor, "frame neighbour"]
    maps: Float[Tensor, "frame neighbour 12"]
    inverse_depth: Float[Tensor, "frame candidate #row #column"]


def fused_sweep_serves(features: Tensor) -> bool:
    """Whether the kernels can sweep these features: on a CUDA device, in at most single precision."""
    if not features.is_cuda or features.dtype == torch.float64:
        return False
    return importlib.util.find_spec("triton") is not None


def fused_sweep(
    features: Float[Tensor, "frame channel row column"], geometry: SweepGeometry
) -> Float[Tensor, "frame candidate row column"]:
    """Mean over neighbours of <feature, feature sampled where it lands> / sqrt(channels), in float32."""
    return _FusedSweep.apply(features, geometry)


class _FusedSweep(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, geometry: SweepGeometry) -> Tensor:
        from pmgs_lib.models.matching.sweep_kernels import plane_sweep  # only where it can serve

        pixel_major = features.movedim(1, -1).contiguous()
        frames, rows, columns, _ = pixel_major.shape
        candidates = geometry.inverse_depth.shape[1]
        cost = pixel_major.new_empty(frames, rows, columns, candidates, dtype=torch.float32)
        _launch(plane_sweep, pixel_major, geometry, cost)
        ctx.save_for_backward(pixel_major)
        ctx.geometry = geometry
        return cost.movedim(-1, 1)

    @staticmethod
    def backward(ctx: Any, grad_cost: Tensor) -> tuple[Tensor, None]:
        from pmgs_lib.models.matching.sweep_kernels import plane_sweep_gradient  # only where it can serve

        (pixel_major,) = ctx.saved_tensors
        grad_features = torch.zeros_like(pixel_major, dtype=torch.float32)
        grad_cost = grad_cost.float().movedim(1, -1).contiguous()
        _launch(plane_sweep_gradient, pixel_major, ctx.geometry, grad_cost, grad_features)
        return grad_features.to(pixel_major.dtype).movedim(-1, 1), None


def _launch(kernel: Any, features: Tensor, geometry: SweepGeometry, *buffers: Tensor) -> None:
    frames, rows, columns, channels = features.shape
    neighbours, inverse_depth = geometry.neighbours.contiguous(), geometry.inverse_depth
    count, candidates = neighbours.shape[1], inverse_depth.shape[1]
    one_for_all = inverse_depth.shape[2:] == (1, 1)
    if not one_for_all:
        inverse_depth = inverse_depth.expand(-1, -1, rows, columns).contiguous()
    grid = (-(-rows * columns // BLOCK), frames, -(-candidates // GROUP))
    kernel[grid](
        features,
        neighbours,
        geometry.maps.float().contiguous(),
        inverse_depth,
        *buffers,
        rows,
        columns,
        count,
        candidates,
        *inverse_depth.stride()[:2],
        0 if one_for_all else 1,
        1 / (channels**0.5 * count),
        CHANNELS=channels,
        WIDTH=1 << (channels - 1).bit_length(),
        BLOCK=BLOCK,
        GROUP=GROUP,
        num_warps=WARPS,
    )
