"""A small scene to look at."""

import pytest
import torch

from pmgs_lib.cameras import Cameras
from pmgs_lib.evaluation.methods import MethodOutput
from pmgs_lib.views import Example, Views


def small_views(count: int, *, depth: bool = True, height: int = 8, width: int = 12) -> Views:
    poses = torch.eye(4).repeat(count, 1, 1)
    poses[:, 0, 3] = 0.5 * torch.arange(count)
    cameras = Cameras(poses, torch.tensor([[1.0, 0, 0.5], [0, 1.5, 0.5], [0, 0, 1]]).repeat(count, 1, 1))
    images = torch.linspace(0, 1, count * 3 * height * width).reshape(count, 3, height, width)
    maps = torch.linspace(1, 16, count * height * width).reshape(count, height, width) if depth else None
    return Views(images, cameras, torch.tensor(0.5), torch.tensor(40.0), maps)


@pytest.fixture
def views():
    return small_views


@pytest.fixture
def example() -> Example:
    return Example(small_views(2), small_views(3), "room")


@pytest.fixture
def output(example) -> MethodOutput:
    return MethodOutput(example.target.images * 0.8, example.target.depth * 2)
