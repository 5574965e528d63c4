"""The obvious rasterizer in plain torch: slow, differentiable in everything, the oracle of the others."""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from pmgs_lib.cameras import Cameras
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.geometry.harmonics import evaluate_harmonics
from pmgs_lib.geometry.pose import transform_points
from pmgs_lib.rasterizers.base import (
    LOW_PASS,
    MAX_ALPHA,
    MIN_ALPHA,
    MIN_TRANSMITTANCE,
    VIEW_MARGIN,
    Rasterizer,
    Rendering,
    refuse_unusable,
)

# Standard deviations beyond which even an opaque Gaussian is fainter than MIN_ALPHA: sqrt(2 ln 255) = 3.329.
REACH = 3.33
TILE = 32


@dataclass(frozen=True)
class Splats:
    """Gaussians projected into one picture, nearest first. Pixels; precision is the inverse of the 2x2 covariance."""

    centers: Float[Tensor, "splat 2"]
    covariances: Float[Tensor, "splat 2 2"]
    opacities: Float[Tensor, " splat"]
    colors: Float[Tensor, "splat 3"]
    depths: Float[Tensor, " splat"]

    def select(self, chosen: Tensor) -> "Splats":
        return Splats(*(getattr(self, f.name)[chosen] for f in fields(self)))


class ReferenceRasterizer(Rasterizer):
    camera_gradients = frozenset({"world_from_camera", "intrinsics"})

    def obstacle(self, device: torch.device) -> str | None:
        return None

    def render(self, gaussians: Gaussians, cameras: Cameras, height: int, width: int, near_plane: float) -> Rendering:
        cameras = cameras.to(gaussians.means.dtype)
        scenes, views = cameras.batch_shape
        drawn = [
            draw(gaussians[s], cameras[s, v], height, width, near_plane) for s in range(scenes) for v in range(views)
        ]
        empty = gaussians.means.new_zeros(0, 5, height, width)
        images = (torch.stack(drawn) if drawn else empty).unflatten(0, (scenes, views))
        return Rendering(images[..., :3, :, :], images[..., 3, :, :], images[..., 4, :, :])


def draw(
    gaussians: Gaussians, camera: Cameras, height: int, width: int, near_plane: float
) -> Float[Tensor, "5 height width"]:
    """Colour, depth and alpha of one scene by one camera, tile by tile to bound the memory."""
    splats = project(gaussians, camera, height, width, near_plane)
    radii = REACH * torch.diagonal(splats.covariances, dim1=-2, dim2=-1).detach().sqrt()
    low, high = splats.centers.detach() - radii, splats.centers.detach() + radii
    rows = []
    for top in range(0, height, TILE):
        tiles = []
        for left in range(0, width, TILE):
            size = (min(TILE, height - top), min(TILE, width - left))
            touched = (
                (high > high.new_tensor([left, top])) & (low < low.new_tensor([left + size[1], top + size[0]]))
            ).all(-1)
            pixels = pixel_centers(*size).to(low) + low.new_tensor([left, top])
            tiles.append(blend(splats.select(touched), pixels).mT.unflatten(-1, size))
        rows.append(torch.cat(tiles, dim=-1))
    return torch.cat(rows, dim=-2)


def project(gaussians: Gaussians, camera: Cameras, height: int, width: int, near_plane: float) -> Splats:
    """Local affine approximation of the projection (Zwicker et al., "EWA splatting", 2002), clamped as in gsplat."""
    _check_finite(gaussians)
    camera_from_world, intrinsics = camera.camera_from_world, camera.pixel_intrinsics(height, width)
    means_camera = transform_points(camera_from_world, gaussians.means)
    kept = (means_camera[:, 2] >= near_plane) & (gaussians.opacities >= MIN_ALPHA)
    gaussians, means_camera = gaussians.select(kept), means_camera[kept]
    focal, principal = torch.diagonal(intrinsics)[:2], intrinsics[:2, 2]
    depths = means_camera[:, 2]
    slopes = means_camera[:, :2] / depths[:, None]
    jacobian = _jacobian(slopes, depths, focal, principal, (height, width))
    rotation = jacobian @ camera_from_world[:3, :3]
    covariances = rotation @ gaussians.covariances() @ rotation.mT
    covariances = covariances + LOW_PASS * torch.eye(2).to(covariances)
    directions = torch.nn.functional.normalize(gaussians.means - camera.centers, dim=-1)
    colors = evaluate_harmonics(gaussians.harmonics, directions)
    splats = Splats(slopes * focal + principal, covariances, gaussians.opacities, colors, depths)
    # gsplat sorts depths rounded to float32 and leaves equal ones in the order they came in; so do all our backends.
    return splats.select(torch.argsort(depths.detach().float(), stable=True))


def alphas(splats: Splats, pixels: Float[Tensor, "pixel 2"]) -> Float[Tensor, "pixel splat"]:
    """Opacity of every splat at every pixel before any cut-off."""
    offsets = pixels[:, None] - splats.centers
    (a, b), (c, d) = splats.covariances[:, 0].unbind(-1), splats.covariances[:, 1].unbind(-1)
    determinant = a * d - b * c
    x, y = offsets.unbind(-1)
    exponent = (d * x * x - (b + c) * x * y + a * y * y) / (2 * determinant)
    return splats.opacities * torch.exp(-exponent)


def blend(splats: Splats, pixels: Float[Tensor, "pixel 2"]) -> Float[Tensor, "pixel 5"]:
    """Front-to-back compositing: red, green, blue, depth and alpha of each pixel."""
    alpha = alphas(splats, pixels).clamp(max=MAX_ALPHA)
    alpha = torch.where(alpha < MIN_ALPHA, 0, alpha)
    reached = torch.cumprod(1 - alpha, dim=-1) > MIN_TRANSMITTANCE
    alpha = torch.where(reached, alpha, 0)
    behind = torch.cumprod(1 - alpha, dim=-1)
    before = torch.cat([torch.ones_like(behind[:, :1]), behind[:, :-1]], dim=-1)
    weights = alpha * before
    values = torch.cat([splats.colors, splats.depths[:, None], torch.ones_like(splats.depths[:, None])], dim=-1)
    return weights @ values


def pixel_centers(height: int, width: int) -> Float[Tensor, "pixel 2"]:
    """Positions (x, y) of the pixel centres of a picture, row by row."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2)


def _jacobian(
    slopes: Float[Tensor, "splat 2"],
    depths: Float[Tensor, " splat"],
    focal: Float[Tensor, "2"],
    principal: Float[Tensor, "2"],
    size: tuple[int, int],
) -> Float[Tensor, "splat 2 3"]:
    """Derivative of the pixel position by the camera position, at the nearest point of the widened field of view.

    Far outside of it the linearisation would blow a Gaussian up over the whole picture, so the slope is clamped.
    """
    extent = focal.new_tensor(size[::-1])
    margin = VIEW_MARGIN * 0.5 * extent / focal
    low, high = -principal / focal - margin, (extent - principal) / focal + margin
    clamped = torch.minimum(torch.maximum(slopes, low), high)
    diagonal = torch.diag_embed(focal / depths[:, None])
    return torch.cat([diagonal, (-focal * clamped / depths[:, None])[..., None]], dim=-1)


def _check_finite(gaussians: Gaussians) -> None:
    usable = gaussians.quaternions.detach().norm(dim=-1) > 0
    for field in fields(gaussians):
        finite = getattr(gaussians, field.name).detach().isfinite()
        usable &= finite if finite.ndim == 1 else finite.flatten(1).all(-1)
    refuse_unusable(int((~usable).sum()), gaussians.count)
