"""The frame in which GS-LRM sees a scene: that of the mean camera, with a unit of length of its own.

Sources: GS-LRM (Zhang et al., ECCV 2024) for "unit_box": poses relative to the mean camera, positions in [-1, 1]. The
unofficial code's normalisation is here with its fault, since weights trained with it depend on that.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from pmgs_lib.cameras import Cameras
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.geometry.harmonics import change_of_basis, harmonics_basis
from pmgs_lib.geometry.pose import inverse_pose, matrix_to_quaternion, quaternion_multiply, transform_points

# Mean axes shorter than this have no direction: cameras look all around.
VANISHING = 1e-4
# The unofficial code adds it to the distance of two cameras.
UNOFFICIAL_MARGIN = 0.01


@dataclass(frozen=True)
class SceneFrame:
    """A frame for each scene: `world_from_frame` is rigid, and one unit of the world is `scale` units of the frame."""

    world_from_frame: Float[Tensor, "batch 4 4"]
    scale: Float[Tensor, " batch"]

    def cameras_inside(self, cameras: Cameras) -> Cameras:
        """The same cameras with poses in this frame."""
        poses = inverse_pose(self.world_from_frame)[:, None] @ cameras.world_from_camera
        positions = poses[..., :3, 3:] * self.scale[:, None, None, None]
        top = torch.cat([poses[..., :3, :3], positions], dim=-1)
        return Cameras(torch.cat([top, poses[..., 3:, :]], dim=-2), cameras.intrinsics)

    def gaussians_in_world(self, inside: Gaussians) -> Gaussians:
        """Gaussians of this frame in the world, view-dependent colour included."""
        rotation, scale = self.world_from_frame[:, :3, :3], self.scale[:, None, None]
        harmonics = inside.harmonics
        if inside.degree > 0:
            turn = change_of_basis(harmonics_basis, inside.degree, rotation)
            harmonics = torch.einsum("bij,bgjc->bgic", turn, harmonics)
        return Gaussians(
            means=transform_points(self.world_from_frame, inside.means / scale),
            scales=inside.scales / scale,
            quaternions=quaternion_multiply(matrix_to_quaternion(rotation)[:, None], inside.quaternions),
            opacities=inside.opacities,
            harmonics=harmonics,
        )


def unit_box_frame(cameras: Cameras) -> SceneFrame:
    """Frame of the mean of these cameras, shape (batch, view), in which the furthest coordinate of a centre is 1.

    The order of the cameras plays no part, but for the fallback of `mean_camera`. Centres must not all coincide.
    """
    mean = mean_camera(cameras.world_from_camera)
    centers = transform_points(inverse_pose(mean), cameras.centers)
    return SceneFrame(mean, 1 / centers.abs().amax((-2, -1)))


def unofficial_frame(cameras: Cameras) -> SceneFrame:
    """The unofficial code's frame: its scale *multiplies* by the distance of the first two cameras plus 0.01.

    Dividing was surely meant: a distance of d becomes d (d + 0.01) instead of nearly 1. There it is made of all cameras
    in use, targets too.
    """
    first, second = cameras.centers[:, 0], cameras.centers[:, 1]
    return SceneFrame(mean_camera(cameras.world_from_camera), (first - second).norm(dim=-1) + UNOFFICIAL_MARGIN)


def world_frame(cameras: Cameras) -> SceneFrame:
    """The world itself."""
    pose = cameras.world_from_camera[:, 0]
    identity = torch.eye(4, dtype=pose.dtype, device=pose.device).expand_as(pose)
    return SceneFrame(identity, torch.ones_like(pose[:, 0, 0]))


def mean_camera(world_from_camera: Float[Tensor, "batch view 4 4"]) -> Float[Tensor, "batch 4 4"]:
    """Pose at the mean position that looks along the mean z-axis, its y-axis as near to the mean one as it can be.

    Where these means vanish or are parallel (cameras that look all around), it has the first camera's orientation.
    """
    mean = world_from_camera.mean(1)
    z = functional.normalize(mean[:, :3, 2], dim=-1)
    sideways = torch.linalg.cross(mean[:, :3, 1], z)
    x = functional.normalize(sideways, dim=-1)
    rotation = torch.stack([x, torch.linalg.cross(z, x), z], dim=-1)
    shortest = torch.minimum(mean[:, :3, 2].norm(dim=-1), sideways.norm(dim=-1))
    usable = (shortest > VANISHING)[:, None, None]
    rotation = torch.where(usable, rotation, world_from_camera[:, 0, :3, :3])
    return torch.cat([torch.cat([rotation, mean[:, :3, 3:]], dim=-1), mean[:, 3:]], dim=-2)


FRAMES = {"unit_box": unit_box_frame, "unofficial": unofficial_frame, "none": world_frame}
