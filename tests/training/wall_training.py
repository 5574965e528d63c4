"""The smallest training: textured walls two metres ahead, and a GS-LRM of one block."""

import torch
from torch import nn

from pmgs_lib import Cameras, Example, Views
from pmgs_lib.models import build_model
from pmgs_lib.training import TrainingConfig

HEIGHT, WIDTH = 16, 24


def wall(key: str = "wall", phase: float = 0.0) -> Example:
    """Two context views and one target of one scene, whose pictures depend on the phase; depth is known."""
    poses = torch.eye(4).repeat(3, 1, 1)
    poses[:, 0, 3] = torch.tensor([0.0, 0.2, 0.1])
    intrinsics = torch.tensor([[0.8, 0, 0.5], [0, 1.2, 0.5], [0, 0, 1.0]]).expand(3, 3, 3)
    cameras = Cameras(poses, intrinsics)
    depth = torch.full((3, HEIGHT, WIDTH), 2.0)
    points = cameras.unproject(depth)
    images = (torch.sin(points * torch.tensor([9.0, 7.0, 3.0]) + phase).movedim(-1, 1) + 1) / 2

    def views(chosen: list[int]) -> Views:
        return Views(images[chosen], cameras[chosen], torch.tensor(0.5), torch.tensor(20.0), depth[chosen])

    return Example(views([0, 1]), views([2]), key)


def walls(count: int, first: int = 0) -> Example:
    """A batch of different walls, named by their numbers."""
    return Example.collate([wall(f"wall {number}", 0.7 * number) for number in range(first, first + count)])


def tiny_model() -> nn.Module:
    torch.manual_seed(0)
    return build_model("gslrm-tiny", width=32, layers=1, head_width=16)


def config(steps: int, **changes) -> TrainingConfig:
    common = {"optimizer": {"learning_rate": 1e-2}, "schedule": {"kind": "constant", "warmup": 0}}
    return TrainingConfig.model_validate({"steps": steps, **common, **changes})


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())
