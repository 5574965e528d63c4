"""A small world with exact pictures and depth: a textured plane that cameras look at while they move past it."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pmgs_lib.cameras import Cameras
from pmgs_lib.data.chunks import ChunkScene, encode_jpeg

PLANE_Z = 4.0
TEXTURE_EXTENT = 12.0  # world units that the texture covers


def _texture(cells: int) -> Tensor:
    noise = torch.rand(1, 3, cells, cells, generator=torch.Generator().manual_seed(5))
    return torch.nn.functional.interpolate(noise, scale_factor=8, mode="bicubic", align_corners=False).clamp(0, 1)


TEXTURES = {cells: _texture(cells) for cells in (24, 120)}


def moving_cameras(frames: int, height: int, width: int, focal: float = 0.9) -> Cameras:
    """Cameras side by side along x, turning a little as they go."""
    poses = torch.eye(4).repeat(frames, 1, 1)
    for number, angle in enumerate(torch.linspace(-0.06, 0.06, frames).tolist()):
        cosine, sine = math.cos(angle), math.sin(angle)
        poses[number, :3, :3] = torch.tensor([[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]])
        poses[number, 0, 3] = 0.15 * number
    intrinsics = torch.tensor([[focal, 0, 0.5], [0, focal * width / height, 0.5], [0, 0, 1]]).repeat(frames, 1, 1)
    return Cameras(poses, intrinsics)


def photograph(cameras: Cameras, height: int, width: int, cells: int = 24) -> tuple[Tensor, Tensor]:
    """Pictures, uint8 (frame h w 3), and exact z-depth (frame h w) of the plane; more `cells`, finer texture."""
    origins, directions = cameras.rays(height, width)
    depth = (PLANE_Z - origins[:, None, None, 2]) / directions[..., 2]
    points = origins[:, None, None] + depth[..., None] * directions
    grid = points[..., :2] * 2 / TEXTURE_EXTENT
    texture = TEXTURES[cells].expand(len(grid), -1, -1, -1)
    colors = torch.nn.functional.grid_sample(
        texture, grid, mode="bicubic", padding_mode="reflection", align_corners=False
    )
    return (colors.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous(), depth


@pytest.fixture
def plane_scene() -> Callable[..., ChunkScene]:
    """A factory of scenes of the plane."""

    def make(key: str = "plane", frames: int = 10, height: int = 48, width: int = 64, depth: bool = True) -> ChunkScene:
        cameras = moving_cameras(frames, height, width)
        pictures, exact = photograph(cameras, height, width)
        encoded = [encode_jpeg(picture) for picture in pictures]
        return ChunkScene(key, cameras, encoded, torch.arange(frames) * 40, f"plane:{key}", exact if depth else None)

    return make


@pytest.fixture
def plane_world() -> tuple[Callable[..., Cameras], Callable[..., tuple[Tensor, Tensor]]]:
    """The functions `moving_cameras` and `photograph`."""
    return moving_cameras, photograph
