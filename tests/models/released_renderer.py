"""The released renderer, written out from its formulas: float64, no tiles, nothing of the library's own renderers.

Source: the specification of the released code (Gaussian adapter, basis of the harmonics, rendering): e3nn's Wigner
matrices turn coefficients into the world, the basis is that of 3DGS on permuted axes, the world is divided by near, the
frustum is symmetric, Gaussians are composited front to back in float32 order of depth.
"""

import itertools
from dataclasses import dataclass, fields

import numpy as np
import torch
from e3nn import o3
from scipy.spatial.transform import Rotation
from scipy.special import sph_harm_y
from torch import Tensor

from pmgs_lib import Cameras, Gaussians
from pmgs_lib.models.pixel_gaussians import CameraGaussians
from pmgs_lib.models.released_harmonics import library_from_released
from pmgs_lib.rasterizers.base import MAX_ALPHA

NEAREST = 0.2  # after the division by near
LOW_PASS = 0.3
FAINTEST = 1 / 255
LAST_LIGHT = 1e-4
WIDENED = 1.3
MOST_DEGREE = 3
TILE = 16
BLOCK = 16
REACH = 3.55  # standard deviations at which an opaque Gaussian has faded to half of FAINTEST
# Within these relative margins float32 may decide otherwise than float64.
ALPHA_MARGIN, DEPTH_MARGIN = 1e-5, 2e-7


@dataclass(frozen=True)
class Limits:
    """Largest alpha, and whether a Gaussian is left out of 16 x 16 tiles that its square of 3 sigma does not touch."""

    alpha: float
    boxes: bool


LIBRARY = Limits(MAX_ALPHA, boxes=False)
RELEASED = Limits(0.99, boxes=True)


@dataclass(frozen=True)
class Scene:
    """World Gaussians of one scene as the released encoder hands them to its renderer, in float64."""

    means: Tensor
    covariances: Tensor
    harmonics: Tensor
    opacities: Tensor

    @classmethod
    def of(cls, local: CameraGaussians, context: Cameras) -> "Scene":
        """The first scene of a batch of Gaussians of cameras."""
        rotation = context.world_from_camera[0, :, :3, :3].double()
        wxyz = local.quaternions[0].detach().double().numpy()
        own = Rotation.from_quat(wxyz.reshape(-1, 4), scalar_first=True).as_matrix().reshape(*wxyz.shape[:2], 3, 3)
        root = rotation[:, None] @ torch.from_numpy(own) * local.scales[0].double()[..., None, :]
        return cls(
            means=local.means_world[0].double().flatten(0, 1),
            covariances=(root @ root.mT).flatten(0, 1),
            harmonics=torch.cat([turned(h.double(), r) for h, r in zip(local.harmonics[0], rotation, strict=True)]),
            opacities=local.opacities[0].double().flatten(),
        )

    @classmethod
    def of_world(cls, gaussians: Gaussians) -> "Scene":
        """The library's Gaussians of one scene, in the conventions of the released renderer."""
        exact = gaussians.to(torch.float64)
        released_from_library = torch.linalg.inv(library_from_released(gaussians.degree))
        return cls(exact.means, exact.covariances(), released_from_library @ exact.harmonics, exact.opacities)


@dataclass(frozen=True)
class Picture:
    """What the formulas give, and for each pixel how much of it hangs on a cut-off that rounding may decide."""

    color: Tensor
    doubt: Tensor


@dataclass(frozen=True)
class Splats:
    centers: Tensor
    covariances: Tensor
    colors: Tensor
    opacities: Tensor
    depths: Tensor

    def reaching(self, pixels: Tensor) -> "Splats":
        """Those that may be seen in some of these pixels."""
        low, high = pixels.amin(0) + 0.5, pixels.amax(0) + 0.5
        away = torch.maximum(low - self.centers, self.centers - high)
        near = (away < REACH * torch.diagonal(self.covariances, dim1=1, dim2=2).sqrt()).all(-1)
        return Splats(*(getattr(self, f.name)[near] for f in fields(self)))


def turned(harmonics: Tensor, rotation: Tensor) -> Tensor:
    """Coefficients (gaussian, coefficient, 3) turned degree by degree by e3nn's Wigner matrices."""
    levels = int(harmonics.shape[1] ** 0.5)
    angles = o3.matrix_to_angles(rotation)
    blocks = [o3.wigner_D(level, *angles) @ harmonics[:, level**2 : (level + 1) ** 2] for level in range(levels)]
    return torch.cat(blocks, dim=1)


def basis(directions: Tensor, degree: int) -> Tensor:
    """3DGS's real harmonics (complex ones with the Condon-Shortley phase, times sqrt 2) on axes (z, x, y)."""
    z, x, y = directions[:, 1].numpy(), directions[:, 2].numpy(), directions[:, 0].numpy()
    polar, azimuth = np.arccos(np.clip(z, -1, 1)), np.arctan2(y, x)
    columns = []
    for level in range(degree + 1):
        for order in range(-level, level + 1):
            value = sph_harm_y(level, abs(order), polar, azimuth)
            part = value.imag if order < 0 else value.real
            columns.append(part * (1 if order == 0 else np.sqrt(2)))
    return torch.from_numpy(np.stack(columns, axis=-1))


def half_tangents(intrinsics: Tensor) -> Tensor:
    """Tangents of half the opening angles, from the rays through the middles of the picture's borders."""
    inverse = torch.linalg.inv(intrinsics)

    def angle(one: tuple[float, float], other: tuple[float, float]) -> Tensor:
        a, b = (inverse @ torch.tensor([*at, 1.0], dtype=torch.float64) for at in (one, other))
        return torch.arccos(torch.dot(a, b) / (a.norm() * b.norm()))

    angles = torch.stack([angle((0.0, 0.5), (1.0, 0.5)), angle((0.5, 0.0), (0.5, 1.0))])
    return (angles / 2).tan()


def projected(scene: Scene, target: Cameras, near: float, size: tuple[int, int]) -> Splats:
    """Splats in pixels (centres at +0.5), nearest first."""
    pose = target.world_from_camera.double().clone()
    pose[:3, 3] /= near
    means, covariances = scene.means / near, scene.covariances / near**2
    tangents, extent = half_tangents(target.intrinsics.double()), torch.tensor(size[::-1], dtype=torch.float64)
    focal = extent / (2 * tangents)
    camera_from_world = torch.linalg.inv(pose)
    t = means @ camera_from_world[:3, :3].mT + camera_from_world[:3, 3]
    kept = t[:, 2] > NEAREST
    t, means, covariances = t[kept], means[kept], covariances[kept]
    depth, slopes = t[:, 2], t[:, :2] / t[:, 2:]
    inside = torch.minimum(torch.maximum(slopes, -WIDENED * tangents), WIDENED * tangents)
    jacobian = torch.zeros(len(t), 2, 3, dtype=torch.float64)
    jacobian[:, 0, 0], jacobian[:, 1, 1] = focal[0] / depth, focal[1] / depth
    jacobian[:, :, 2] = -focal * inside / depth[:, None]
    linear = jacobian @ camera_from_world[:3, :3]
    flat = linear @ covariances @ linear.mT + LOW_PASS * torch.eye(2, dtype=torch.float64)
    colors = shown(scene.harmonics[kept], means - pose[:3, 3])
    order = torch.argsort(depth.float(), stable=True)
    parts = (slopes * focal + extent / 2, flat, colors, scene.opacities[kept], depth)
    return Splats(*(part[order] for part in parts))


def shown(harmonics: Tensor, offsets: Tensor) -> Tensor:
    """Colours seen along offsets from the camera; only the first 16 coefficients are read."""
    degree = min(int(harmonics.shape[1] ** 0.5) - 1, MOST_DEGREE)
    values = basis(offsets / offsets.norm(dim=-1, keepdim=True), degree)
    return ((values[..., None] * harmonics[:, : (degree + 1) ** 2]).sum(1) + 0.5).clamp_min(0)


def released_picture(
    scene: Scene, target: Cameras, near: float, size: tuple[int, int], limits: Limits = LIBRARY
) -> Picture:
    """Colour (3, h, w) of one scene in one camera, on black."""
    splats = projected(scene, target, near, size)
    color, doubt = torch.zeros(*size, 3, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
    # Block by block, since few Gaussians reach into one: this decides nothing.
    for top, left in itertools.product(range(0, size[0], BLOCK), range(0, size[1], BLOCK)):
        block = slice(top, min(top + BLOCK, size[0])), slice(left, min(left + BLOCK, size[1]))
        pixels = torch.cartesian_prod(*(torch.arange(span.start, span.stop) for span in block)).flip(-1)
        parts = composited(splats.reaching(pixels), pixels, limits)
        color[block], doubt[block] = (part.reshape(*color[block].shape[:2], *part.shape[1:]) for part in parts)
    return Picture(color.movedim(-1, 0), doubt)


def composited(splats: Splats, pixels: Tensor, limits: Limits) -> tuple[Tensor, Tensor]:
    """Colours (pixel, 3) and doubts (pixel) of pixels given by column and row."""
    bare = splats.opacities * _exponent(splats, pixels).exp()
    if limits.boxes:
        bare = torch.where(_touched(splats, pixels), bare, 0.0)
    seen = (bare > FAINTEST / 2).any(0)
    bare, colors, depths = bare[:, seen], splats.colors[seen], splats.depths[seen]
    alpha = torch.where(bare < FAINTEST, 0.0, bare.clamp(max=limits.alpha))
    after = torch.cumprod(1 - alpha, dim=1)
    before = after / (1 - alpha)
    drawn = torch.where(after < LAST_LIGHT, 0.0, alpha)
    brightest = colors.max() if len(colors) else 0.0
    return (drawn * before) @ colors, brightest * _doubt(depths, bare, alpha, before)


def _exponent(splats: Splats, pixels: Tensor) -> Tensor:
    x, y = (pixels[:, None] + 0.5 - splats.centers).unbind(-1)
    precision = torch.linalg.inv(splats.covariances)
    return -0.5 * (precision[:, 0, 0] * x * x + precision[:, 1, 1] * y * y) - precision[:, 0, 1] * x * y


def _touched(splats: Splats, pixels: Tensor) -> Tensor:
    """Which pixels lie in a tile that meets the square around a splat's centre, three standard deviations each way."""
    a, b, c = splats.covariances[:, 0, 0], splats.covariances[:, 0, 1], splats.covariances[:, 1, 1]
    middle = (a + c) / 2
    largest = middle + (middle**2 - (a * c - b * b)).clamp_min(0.1).sqrt()
    radius = (3 * largest.sqrt()).ceil()[:, None]
    corner = splats.centers - 0.5
    first, end = ((corner - radius) / TILE).trunc(), ((corner + radius + TILE - 1) / TILE).trunc()
    tile = (pixels // TILE)[:, None]
    return ((tile >= first) & (tile < end)).all(-1)


def _doubt(depths: Tensor, bare: Tensor, alpha: Tensor, before: Tensor) -> Tensor:
    """The most light that can change hands where an alpha is at a cut-off, or two Gaussians are at the same depth."""
    light = torch.where(before > LAST_LIGHT * (1 - ALPHA_MARGIN), before, 0.0)
    faint = ((bare / FAINTEST - 1).abs() < ALPHA_MARGIN) * light * FAINTEST
    # At the end of a pixel a Gaussian takes part of the light that is left or does not.
    after = before * (1 - alpha)
    ends = ((after / LAST_LIGHT - 1).abs() < ALPHA_MARGIN) * light * alpha
    tied = depths[1:] - depths[:-1] < DEPTH_MARGIN * depths[1:]
    swapped = tied * light[:, :-1] * alpha[:, :-1] * alpha[:, 1:]
    return faint.sum(1) + ends.sum(1) + swapped.sum(1)
