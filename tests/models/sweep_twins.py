"""One plane sweep by the kernels and by the plain version; as a program, on a CPU by Triton's interpreter."""

import sys

import torch

from pmgs_lib.cameras import Cameras
from pmgs_lib.models.matching.cost_volume import plain_cost, sweep_maps
from pmgs_lib.models.matching.sweep import SweepGeometry, fused_sweep


def example(rng: torch.Generator, channels: int, per_pixel: bool) -> tuple[torch.Tensor, Cameras, torch.Tensor]:
    """Features of 2 scenes of 3 views, cameras of unequal focal length, and candidates that also leave the images."""
    rows, columns, candidates = 3, 6, 5
    features = torch.randn(2, 3, channels, rows, columns, generator=rng)
    turns = torch.linalg.matrix_exp(0.2 * (lambda a: a - a.mT)(torch.randn(2, 3, 3, 3, generator=rng)))
    poses = torch.eye(4).repeat(2, 3, 1, 1)
    poses[..., :3, :3], poses[..., :3, 3] = turns, 0.5 * torch.randn(2, 3, 3, generator=rng)
    intrinsics = torch.diag_embed(torch.cat([0.8 + 0.4 * torch.rand(2, 3, 2, generator=rng), torch.ones(2, 3, 1)], -1))
    intrinsics[..., :2, 2] = 0.5
    size = (rows, columns) if per_pixel else (1, 1)
    inverse_depth = 0.02 + torch.rand(2, 3, candidates, *size, generator=rng)
    return features, Cameras(poses, intrinsics), inverse_depth


def relative_differences(rng: torch.Generator, channels: int, per_pixel: bool, device: str) -> tuple[float, float]:
    """Of costs and of the gradient of features, kernel against plain version in float64."""
    features, cameras, inverse_depth = example(rng, channels, per_pixel)
    neighbours = torch.tensor([[1, 2], [2, 0], [0, 1]]).expand(2, 3, 2)
    weights = torch.randn(2, 3, *inverse_depth.shape[2:3], *features.shape[-2:], generator=rng)
    maps = sweep_maps(cameras.to(torch.float64), neighbours, *features.shape[-2:], False)
    expected_input = features.double().requires_grad_()
    depth = (1 / inverse_depth.double()).expand(-1, -1, -1, *features.shape[-2:])
    expected = plain_cost(expected_input, neighbours, *maps, depth)
    (expected * weights).sum().backward()
    offset = 3 * torch.arange(2)[:, None, None]
    parts = (
        (neighbours + offset).flatten(0, 1),
        torch.cat([x.flatten(-2) for x in maps], -1).float().flatten(0, 1),
        inverse_depth.flatten(0, 1),
    )
    actual_input = features.flatten(0, 1).to(device).requires_grad_()
    actual = fused_sweep(actual_input, SweepGeometry(*(part.to(device) for part in parts)))
    (actual * weights.flatten(0, 1).to(device)).sum().backward()
    return (
        _relative(actual, expected.detach().flatten(0, 1)),
        _relative(actual_input.grad, expected_input.grad.flatten(0, 1)),
    )


def _relative(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return ((actual.detach().cpu() - expected).norm() / expected.norm()).item()


if __name__ == "__main__":
    for case in ((8, False), (12, True)):
        print(*relative_differences(torch.Generator().manual_seed(0), *case, sys.argv[1]))
