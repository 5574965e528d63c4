"""A world in which everything is known: one textured plane, seen by cameras that move sideways."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch

from pmgs_lib.cameras import Cameras
from pmgs_lib.data.protocols import Protocol
from pmgs_lib.errors import DataError
from pmgs_lib.views import Example, Views

PLANE_Z = 4.0


def plane_views(positions: Sequence[float], height: int = 24, width: int = 32, key: str = "") -> Views:
    """Exact pictures and depth of the plane z = 4 from cameras at x = `positions`, turned a little to the middle."""
    poses = torch.eye(4).repeat(len(positions), 1, 1)
    angle = -0.1 * torch.tensor(positions)
    poses[:, 0, 0] = poses[:, 2, 2] = angle.cos()
    poses[:, 0, 2], poses[:, 2, 0] = angle.sin(), -angle.sin()
    poses[:, 0, 3] = torch.tensor(positions)
    cameras = Cameras(poses, torch.tensor([[0.8, 0, 0.5], [0, 1.07, 0.5], [0, 0, 1]]).repeat(len(positions), 1, 1))
    origins, directions = cameras.rays(height, width)
    depth = (PLANE_Z - origins[:, None, None, 2]) / directions[..., 2]
    points = cameras.unproject(depth)
    waves = torch.tensor([[1.1, 0.4], [-0.5, 1.3], [0.8, -0.9]])
    images = 0.5 + 0.4 * torch.sin(2 * points[..., :2] @ waves.T + sum(key.encode()) % 7).movedim(-1, 1)
    return Views(images, cameras, torch.tensor(1.0), torch.tensor(10.0), depth)


@dataclass(frozen=True)
class PlaneDataset:
    """Frame i of every scene stands at x = 0.1 i. `damaged` scenes raise; `blind` ones have no exact depth."""

    damaged: tuple[str, ...] = ()
    blind: tuple[str, ...] = ()
    root: str = "shelf/planes"

    def example(self, key, context_indices, target_indices, height, width) -> Example:
        if key in self.damaged:
            raise DataError(f"{self.root}/test/000000.torch: scene {key} is cut short; import it again")
        context, target = (
            plane_views([0.1 * i for i in f], height, width, key) for f in (context_indices, target_indices)
        )
        if key in self.blind:
            context, target = replace(context, depth=None), replace(target, depth=None)
        return Example(context, target, key)


def plane_protocol(*keys: str) -> Protocol:
    views = {"context": (0, 4), "inside": (1, 2), "outside": (6,)}
    expected = {"scenes": len(keys), "inside": 2 * len(keys), "outside": len(keys)}
    return Protocol(
        name="planes",
        description="",
        keys=keys,
        height=24,
        width=32,
        views=views,
        metrics={"limit_m": 20.0},
        expected=expected,
    )


@pytest.fixture
def views():
    return plane_views


@pytest.fixture
def dataset():
    return PlaneDataset


@pytest.fixture
def protocol():
    return plane_protocol
