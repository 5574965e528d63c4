"""One Gaussian for each pixel of each view: what models that predict them so share, whatever their networks.

Source: pixelSplat (Charatan et al., 2024), whose parametrisation MVSplat and DepthSplat keep. What released weights
mean by their harmonics is converted in `world_gaussians`, once, at a model's exit.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from pmgs_lib.cameras import Cameras
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.geometry.harmonics import change_of_basis, harmonics_basis
from pmgs_lib.geometry.pose import matrix_to_quaternion, quaternion_multiply
from pmgs_lib.models.released_harmonics import RENDERED_DEGREE, library_from_released, released_turn


@dataclass(frozen=True)
class CameraGaussians:
    """Gaussians as a network states them: centres in the world, everything else along the axes of its own camera.

    quaternions are wxyz; harmonics are in the basis of the weights. Gaussians are ordered by row, then column.
    """

    means_world: Float[Tensor, "batch view gaussian 3"]
    scales: Float[Tensor, "batch view gaussian 3"]
    quaternions: Float[Tensor, "batch view gaussian 4"]
    opacities: Float[Tensor, "batch view gaussian"]
    harmonics: Float[Tensor, "batch view gaussian coefficient 3"]


def harmonics_mask(degree: int) -> Float[Tensor, "coefficient 1"]:
    """Factors of raw coefficients: view dependence starts small, the more so the higher the degree."""
    mask = torch.ones((degree + 1) ** 2, 1)
    for level in range(1, degree + 1):
        mask[level**2 : (level + 1) ** 2] = 0.1 * 0.25**level
    return mask


def pixel_footprint(
    cameras: Cameras, depth: Float[Tensor, "batch view gaussian"], height: int, width: int
) -> Float[Tensor, "batch view gaussian"]:
    """Size of one pixel at a depth, in world units: the mean of its width and its height."""
    focal = torch.diagonal(cameras.pixel_intrinsics(height, width), dim1=-2, dim2=-1)[..., :2]
    return depth * (1 / focal).mean(-1)[..., None]


def pixel_means(
    cameras: Cameras,
    depth: Float[Tensor, "batch view h w"],
    offset: Float[Tensor, "batch view gaussian 2"],
    unit_rays: bool = False,
) -> Float[Tensor, "batch view gaussian 3"]:
    """World points at z-depth along the rays through pixel centres moved by `offset` pixels.

    `unit_rays` takes depth for the length of the ray instead, as released MVSplat and DepthSplat of October 2024 do.
    """
    height, width = depth.shape[-2:]
    origins, directions = cameras.rays(height, width)
    columns = cameras.world_from_camera[..., :3, :3] @ torch.linalg.inv(cameras.pixel_intrinsics(height, width))
    directions = directions.flatten(2, 3) + offset @ columns[..., :2].mT
    if unit_rays:
        directions = functional.normalize(directions, dim=-1)
    return origins[..., None, :] + directions * depth.flatten(-2)[..., None]


def z_depth_from_ray_length(
    length: Float[Tensor, "batch view h w"], cameras: Cameras
) -> Float[Tensor, "batch view h w"]:
    """Depth along the optical axis of points that lie so far from the camera, on the rays through pixel centres."""
    _, directions = cameras.rays(*length.shape[-2:])
    return length / directions.norm(dim=-1)


def world_gaussians(local: CameraGaussians, cameras: Cameras, released_harmonics: bool) -> Gaussians:
    """Gaussians in the world, all views of a scene one after the other, in the library's conventions.

    `released_harmonics`: the coefficients are those of released weights (see `pmgs_lib.models.released_harmonics`), and
    those that their renderer never reads are left out; otherwise they are in the library's basis along the axes of the
    camera.
    """
    degree = int(local.harmonics.shape[-2] ** 0.5) - 1
    return turned_gaussians(local, cameras, world_turn(cameras, degree, released_harmonics))


def world_turn(
    cameras: Cameras, degree: int, released_harmonics: bool
) -> Float[Tensor, "batch view coefficient coefficient_in"]:
    """What harmonics of `degree` in each camera's axes are multiplied with to be the library's in the world.

    `released_harmonics` as in `world_gaussians`; what their renderer never reads has no column.
    """
    rotation = cameras.world_from_camera[..., :3, :3]
    if not released_harmonics:
        return change_of_basis(harmonics_basis, degree, rotation)
    degree = min(degree, RENDERED_DEGREE)
    return library_from_released(degree).to(rotation) @ released_turn(rotation, degree)


def turned_gaussians(
    local: CameraGaussians, cameras: Cameras, turn: Float[Tensor, "batch view coefficient coefficient_in"]
) -> Gaussians:
    """`world_gaussians` with the matrix for the harmonics given (see `world_turn`)."""
    turn = turn[:, :, None, :, :, None]
    # Term by term: a product of matrices would copy the matrix for each Gaussian.
    harmonics = turn[..., 0, :] * local.harmonics[..., :1, :]
    for number in range(1, turn.shape[-2]):
        harmonics = harmonics + turn[..., number, :] * local.harmonics[..., number : number + 1, :]
    rotation = cameras.world_from_camera[..., :3, :3]
    turned = quaternion_multiply(matrix_to_quaternion(rotation)[:, :, None], local.quaternions)
    parts = (local.means_world, local.scales, turned, local.opacities, harmonics)
    return Gaussians(*(part.flatten(1, 2) for part in parts))
