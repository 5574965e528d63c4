"""A model and its accelerated form on the same views; as a program, compiled, away from the tests' shape checker."""

import sys

import torch

from pmgs_lib.cameras import Cameras
from pmgs_lib.models import load_checkpoint
from pmgs_lib.models.acceleration import accelerate
from pmgs_lib.models.base import Prediction
from pmgs_lib.views import Views


def context(views: int, height: int = 32, width: int = 48) -> Views:
    """A row of cameras before smooth pictures."""
    rng = torch.Generator().manual_seed(1)
    blobs = torch.rand(views, 3, height // 8, width // 8, generator=rng)
    images = torch.nn.functional.interpolate(blobs, size=(height, width), mode="bicubic").clamp(0, 1)
    poses = torch.eye(4).repeat(1, views, 1, 1)
    poses[0, :, 0, 3] = 0.3 * torch.arange(views)
    intrinsics = torch.tensor([[0.9, 0, 0.5], [0, 1.3, 0.5], [0, 0, 1]]).repeat(1, views, 1, 1)
    return Views(images[None], Cameras(poses, intrinsics), torch.tensor([0.5]), torch.tensor([40.0]))


def differences(actual: Prediction, expected: Prediction) -> dict[str, float]:
    """Median relative difference of depth, and of every part of the Gaussians that of its norm."""
    depth = ((actual.depth - expected.depth).abs() / expected.depth).median().item()
    parts = vars(expected.gaussians)
    return {"depth": depth} | {
        name: ((getattr(actual.gaussians, name) - part).norm() / part.norm()).item() for name, part in parts.items()
    }


if __name__ == "__main__":
    device = sys.argv[1]
    model, views = load_checkpoint("depthsplat-tiny", device=device), context(3).to(device)
    fast = accelerate(model, views_at_once=2)
    with torch.no_grad():
        print(max(differences(fast(views), model(views)).values()))
    fast.train()(views).gaussians.means.square().mean().backward()
    print(sum(parameter.grad is not None for parameter in model.parameters()) / len(list(model.parameters())))
