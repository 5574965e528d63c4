"""Small scenes for tests of pointmap sources."""

import torch

from pmgs_lib.cameras import Cameras
from pmgs_lib.geometry.pose import quaternion_to_matrix
from pmgs_lib.pointmaps.vggt.config import CameraConfig, DenseConfig, VggtConfig, VisionConfig
from pmgs_lib.views import Views

# All parts of VGGT at a size that runs in milliseconds.
TINY = VggtConfig(
    width=32,
    attention_heads=2,
    pairs=4,
    vision=VisionConfig(depth=2, heads=2, position_grid=4),
    dense=DenseConfig(stages=(0, 1, 2, 3), projections=(8, 8, 16, 16), features=16),
    camera=CameraConfig(depth=1, heads=2),
)


def random_views(*batch: int, rng: torch.Generator, views: int = 2, height: int = 30, width: int = 45) -> Views:
    """Views of random images (as decoded from eight bits), cameras and depth."""
    poses = torch.eye(4).repeat(*batch, views, 1, 1)
    poses[..., :3, :3] = quaternion_to_matrix(torch.randn(*batch, views, 4, generator=rng))
    poses[..., :3, 3] = torch.randn(*batch, views, 3, generator=rng)
    intrinsics = torch.tensor([[0.9, 0, 0.5], [0, 1.2, 0.5], [0, 0, 1]]).expand(*batch, views, 3, 3)
    bytes_ = torch.randint(0, 256, (*batch, views, 3, height, width), generator=rng)
    return Views(
        images=bytes_.float() / 255,
        cameras=Cameras(poses, intrinsics),
        near=torch.full(batch, 0.5),
        far=torch.full(batch, 40.0),
        depth=torch.rand(*batch, views, height, width, generator=rng) * 5 + 1,
    )
