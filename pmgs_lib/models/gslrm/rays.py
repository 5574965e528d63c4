"""What GS-LRM is told about each pixel, how pixels become patches, and the range of distances on a ray."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from pmgs_lib.cameras import Cameras

INPUT_CHANNELS = 9
# The unofficial code's range of distances (pixelSplat's rule): between those at which the largest distance of two
# cameras spans three times the shorter side of the picture, and half a pixel.
NEAR_DISPARITY, FAR_DISPARITY = 3.0, 0.5
SMALLEST_BASELINE = 1e-6


def unit_rays(cameras: Cameras, height: int, width: int) -> tuple[Tensor, Float[Tensor, "batch view h w 3"]]:
    """Origins (batch, view, 3) and directions of unit length through all pixel centres."""
    origins, directions = cameras.rays(height, width)
    return origins, functional.normalize(directions, dim=-1)


def pixel_inputs(
    images: Float[Tensor, "batch view 3 h w"],
    origins: Float[Tensor, "batch view 3"],
    directions: Float[Tensor, "batch view h w 3"],
    inputs: str,
) -> Float[Tensor, "batch view h w 9"]:
    """Nine numbers a pixel. The moment of a ray is the cross product of its origin and its direction.

    "paper": colour, origin, moment, so that the direction itself is not told. "unofficial": colour from -1 to 1,
    moment, direction.
    """
    colors, origins = images.movedim(2, -1), origins[:, :, None, None].expand_as(directions)
    moments = torch.linalg.cross(origins, directions)
    parts = (colors, origins, moments) if inputs == "paper" else (2 * colors - 1, moments, directions)
    return torch.cat(parts, dim=-1)


def to_patches(
    pixels: Float[Tensor, "batch view h w channel"], side: int
) -> Float[Tensor, "batch token patch_channel"]:
    """Square patches ordered by view, row, column; in each, pixels by row and column, channels fastest."""
    grid = pixels.unflatten(3, (-1, side)).unflatten(2, (-1, side))
    return grid.transpose(3, 4).flatten(4).flatten(1, 3)


def from_patches(
    patches: Float[Tensor, "batch token patch_channel"], side: int, views: int, height: int, width: int
) -> Float[Tensor, "batch view h w channel"]:
    """The inverse of `to_patches`."""
    grid = patches.unflatten(1, (views, height // side, width // side)).unflatten(-1, (side, side, -1))
    return grid.transpose(3, 4).flatten(4, 5).flatten(2, 3)


def baseline_range(
    cameras: Cameras, height: int, width: int
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Nearest and farthest distance by the unofficial code's rule, from the largest distance of two cameras."""
    centers = cameras.centers
    between = (centers[:, :, None] - centers[:, None]).norm(dim=-1)
    baseline = between.amax((-2, -1)).clamp_min(SMALLEST_BASELINE)
    one_pixel = centers.new_tensor([1 / width, 1 / height])
    pixel = (torch.linalg.inv(cameras.intrinsics[..., :2, :2]) @ one_pixel).mean((-2, -1))
    return baseline / (NEAR_DISPARITY * min(height, width) * pixel), baseline / (FAR_DISPARITY * pixel)
