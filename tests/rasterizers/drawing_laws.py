"""Scenes on which rasterizers are compared, which pixels they can be compared on, and how."""

from dataclasses import fields

import torch
from torch import Tensor

from pmgs_lib import Cameras, Gaussians
from pmgs_lib.rasterizers import Rendering, rasterize
from pmgs_lib.rasterizers.base import MAX_ALPHA, MIN_ALPHA, MIN_TRANSMITTANCE
from pmgs_lib.rasterizers.reference import alphas, pixel_centers, project

FIELDS = [f.name for f in fields(Gaussians)]
MARGIN = 1e-5  # a pixel is left out when some alpha is this near to a cut-off
MAX_EXCLUDED = 1e-3  # share of pixels
NEAR = 0.2


def camera(dtype: torch.dtype = torch.float64) -> Cameras:
    """A camera that is turned, off the origin, and has its principal point off the middle."""
    angle = torch.tensor(0.2, dtype=torch.float64)
    pose = torch.eye(4, dtype=torch.float64)
    pose[0, 0] = pose[2, 2] = angle.cos()
    pose[0, 2], pose[2, 0] = angle.sin(), -angle.sin()
    pose[:3, 3] = torch.tensor([-0.6, 0.1, -0.3])
    return Cameras(pose, torch.tensor([[0.9, 0, 0.47], [0, 1.4, 0.54], [0, 0, 1]], dtype=torch.float64)).to(dtype)


def random_gaussians(rng: torch.Generator, count: int = 300, degree: int = 1) -> Gaussians:
    """Gaussians of many shapes in front of the camera."""
    normal = {"generator": rng, "dtype": torch.float64}
    means = torch.randn(count, 3, **normal) * torch.tensor([1.0, 0.8, 1.2]) + torch.tensor([0.0, 0.0, 4.0])
    return Gaussians(
        means=means,
        scales=0.01 + 0.12 * torch.rand(count, 3, **normal),
        quaternions=torch.randn(count, 4, **normal),
        opacities=0.002 + 0.99 * torch.rand(count, **normal),
        harmonics=0.5 * torch.randn(count, (degree + 1) ** 2, 3, **normal),
    )


def _at_near_plane(rng: torch.Generator) -> Gaussians:
    scene = random_gaussians(rng)
    scene.means[:, 2] = -0.3 + torch.rand(len(scene.means), generator=rng, dtype=torch.float64)
    return scene


def _behind(rng: torch.Generator) -> Gaussians:
    scene = random_gaussians(rng)
    scene.means[:, 2] -= 5.0
    return scene


def _huge(rng: torch.Generator) -> Gaussians:
    scene = random_gaussians(rng, count=40)
    scene.scales.mul_(torch.tensor([60.0, 8.0, 20.0]))
    return scene


def _tiny(rng: torch.Generator) -> Gaussians:
    scene = random_gaussians(rng)
    scene.scales.mul_(1e-4)
    return scene


def _needles(rng: torch.Generator) -> Gaussians:
    scene = random_gaussians(rng)
    scene.scales.mul_(torch.tensor([30.0, 1e-3, 1e-3]))
    return scene


def _opaque(rng: torch.Generator) -> Gaussians:
    scene = random_gaussians(rng)
    scene.opacities.fill_(1.0)
    return scene


def _empty(rng: torch.Generator) -> Gaussians:
    return random_gaussians(rng, count=0)


SCENES = {
    "random": random_gaussians,
    "near plane": _at_near_plane,
    "behind": _behind,
    "huge": _huge,
    "tiny": _tiny,
    "needles": _needles,
    "opaque": _opaque,
    "empty": _empty,
}


def safe_pixels(
    scene: Gaussians, view: Cameras, height: int, width: int, *, near_plane: float = NEAR, margin: float = MARGIN
) -> Tensor:
    """Pixels (height, width) at which no alpha in reach is so near to a cut-off that rounding may decide.

    The margin is relative to the two cut-offs of alpha. At the end of a pixel it is that of the alpha which would take
    the transmittance to its limit.
    """
    splats = project(scene.to(torch.float64), view.to(torch.float64), height, width, near_plane)
    safe = []
    for pixels in pixel_centers(height, width).double().split(4096):
        alpha = alphas(splats, pixels)
        doubtful = ((alpha / MIN_ALPHA - 1).abs() < margin) | ((alpha / MAX_ALPHA - 1).abs() < margin)
        alpha = torch.where(alpha < MIN_ALPHA, 0, alpha.clamp(max=MAX_ALPHA))
        after = torch.cumprod(1 - alpha, dim=-1)
        before = after / (1 - alpha)
        doubtful |= ((after - MIN_TRANSMITTANCE).abs() < margin * before) & (alpha > 0)
        reached = before > MIN_TRANSMITTANCE * (1 - margin)
        safe.append(~(doubtful & reached).any(-1))
    return torch.cat(safe).reshape(height, width)


def draw(
    scene: Gaussians, view: Cameras, safe: Tensor, backend: str, near_plane: float = NEAR
) -> tuple[Rendering, Gaussians]:
    """A rendering, and the gradients of a random function of its safe pixels."""
    leaves = Gaussians(*(getattr(scene, name).clone().requires_grad_() for name in FIELDS))
    rendering = rasterize(leaves, view, *safe.shape, near_plane=near_plane, backend=backend)
    rng = torch.Generator().manual_seed(7)
    images = [rendering.color, rendering.depth, rendering.alpha]
    upstream = [torch.randn(image.shape, generator=rng).to(image) * safe.to(image) for image in images]
    gradients = torch.autograd.grad(images, [getattr(leaves, name) for name in FIELDS], upstream)
    return Rendering(*(image.detach() for image in images)), Gaussians(*gradients)


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """L2 norm of the difference by that of the expected; zero where both are zero."""
    actual, expected = actual.double(), expected.double()
    return float((actual - expected).norm() / expected.norm().clamp_min(1e-300))


def cosine_and_bias(actual: Tensor, expected: Tensor) -> tuple[float, float]:
    """Cosine between two gradients, and their mean signed difference by the mean magnitude."""
    actual, expected = actual.double().flatten(), expected.double().flatten()
    if not expected.any() and not actual.any():
        return 1.0, 0.0
    cosine = torch.dot(actual, expected) / (actual.norm() * expected.norm())
    return float(cosine), float((actual - expected).sum() / expected.abs().sum())
