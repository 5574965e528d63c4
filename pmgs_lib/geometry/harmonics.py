"""Real spherical harmonics in the basis of the original 3D Gaussian splatting renderer and its `.ply` files.

Coefficients are ordered by degree, inside a degree by order m = -l ... l. A colour is `sum + 0.5`, clamped at zero
(Kerbl et al., "3D Gaussian Splatting for Real-Time Radiance Field Rendering", 2023).
"""

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from pmgs_lib.errors import ParameterError

MAX_DEGREE = 4
CONSTANT_HARMONIC = 0.28209479177387814  # Y00 = 1 / (2 sqrt(pi)): colour = Y00 * coefficient + 0.5
Basis = Callable[[Tensor, int], Tensor]


def degree_of(harmonics: Float[Tensor, "*batch coefficient 3"]) -> int:
    """Degree whose (degree + 1)^2 coefficients these are."""
    count = harmonics.shape[-2]
    degree = math.isqrt(count) - 1
    if (degree + 1) ** 2 != count or not 0 <= degree <= MAX_DEGREE:
        raise ParameterError(
            f"harmonics: {count} coefficients belong to no degree from 0 to {MAX_DEGREE} "
            "(expected 1, 4, 9, 16 or 25): check the axis before the colour axis"
        )
    return degree


def harmonics_basis(directions: Float[Tensor, "*batch 3"], degree: int) -> Float[Tensor, "*batch coefficient"]:
    """Values of the basis functions up to `degree` at unit `directions`."""
    x, y, z = directions.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    terms = [torch.full_like(x, 0.5 / math.sqrt(math.pi))]
    if degree >= 1:
        c = math.sqrt(3 / (4 * math.pi))
        terms += [-c * y, c * z, -c * x]
    if degree >= 2:
        c = math.sqrt(15 / (4 * math.pi))
        terms += [c * x * y, -c * y * z, c / math.sqrt(12) * (2 * zz - xx - yy), -c * x * z, c / 2 * (xx - yy)]
    if degree >= 3:
        terms += _degree_three(x, y, z, xx, yy, zz)
    if degree >= 4:
        terms += _degree_four(x, y, z, xx, yy, zz)
    return torch.stack(terms, dim=-1)


def _degree_three(x: Tensor, y: Tensor, z: Tensor, xx: Tensor, yy: Tensor, zz: Tensor) -> list[Tensor]:
    a, b, c = math.sqrt(35 / (32 * math.pi)), math.sqrt(105 / (4 * math.pi)), math.sqrt(21 / (32 * math.pi))
    return [
        -a * y * (3 * xx - yy),
        b * x * y * z,
        -c * y * (4 * zz - xx - yy),
        math.sqrt(7 / (16 * math.pi)) * z * (2 * zz - 3 * xx - 3 * yy),
        -c * x * (4 * zz - xx - yy),
        b / 2 * z * (xx - yy),
        -a * x * (xx - 3 * yy),
    ]


def _degree_four(x: Tensor, y: Tensor, z: Tensor, xx: Tensor, yy: Tensor, zz: Tensor) -> list[Tensor]:
    a, b = math.sqrt(35 / math.pi) * 3 / 4, math.sqrt(35 / (2 * math.pi)) * 3 / 4
    c, d = math.sqrt(5 / math.pi) * 3 / 4, math.sqrt(5 / (2 * math.pi)) * 3 / 4
    return [
        a * x * y * (xx - yy),
        -b * y * z * (3 * xx - yy),
        c * x * y * (7 * zz - 1),
        -d * y * z * (7 * zz - 3),
        3 / (16 * math.sqrt(math.pi)) * (zz * (35 * zz - 30) + 3),
        -d * x * z * (7 * zz - 3),
        c / 2 * (xx - yy) * (7 * zz - 1),
        -b * x * z * (xx - 3 * yy),
        a / 4 * (xx * (xx - 3 * yy) - yy * (3 * xx - yy)),
    ]


def evaluate_harmonics(
    harmonics: Float[Tensor, "*#batch coefficient 3"], directions: Float[Tensor, "*#batch 3"]
) -> Float[Tensor, "*_ 3"]:
    """Colours seen along unit `directions` (from the camera to the Gaussian, world axes)."""
    basis = harmonics_basis(directions, degree_of(harmonics))
    return ((basis[..., None] * harmonics).sum(-2) + 0.5).clamp_min(0)


def rotate_harmonics(
    harmonics: Float[Tensor, "*#batch coefficient 3"], rotation: Float[Tensor, "*#batch 3 3"]
) -> Float[Tensor, "*_ coefficient 3"]:
    """Coefficients of the same radiance after the world was turned: rotated(R d) = original(d)."""
    matrix = change_of_basis(harmonics_basis, degree_of(harmonics), rotation)
    return matrix @ harmonics


def change_of_basis(
    source: Basis, degree: int, rotation: Float[Tensor, "*batch 3 3"]
) -> Float[Tensor, "*batch coefficient coefficient"]:
    """Matrix M with `harmonics_basis(R d) @ M = source(d)` for every direction d, one block a degree.

    Any basis of the same functions, rotated or not, is a linear combination of ours inside each degree, so a
    least-squares fit on more directions than functions is exact up to rounding. With `source=harmonics_basis` it is the
    rotation of coefficients; with the identity it converts another convention's coefficients to ours.
    """
    precise = rotation.double()
    directions = _sample_directions().to(rotation.device)
    ours = harmonics_basis(directions @ precise.mT, degree)
    theirs = source(directions, degree)
    matrix = precise.new_zeros(*rotation.shape[:-2], (degree + 1) ** 2, (degree + 1) ** 2)
    for level in range(degree + 1):
        block = slice(level**2, (level + 1) ** 2)
        # Values at 64 directions have full column rank; the normal equations stay well conditioned.
        ours_level, theirs_level = ours[..., block], theirs[..., block]
        matrix[..., block, block] = torch.linalg.solve(ours_level.mT @ ours_level, ours_level.mT @ theirs_level)
    return matrix.to(rotation.dtype)


@lru_cache(maxsize=1)
def _sample_directions(count: int = 64) -> Float[Tensor, "direction 3"]:
    """Evenly spread unit vectors (Fibonacci sphere), deterministic."""
    index = torch.arange(count, dtype=torch.float64) + 0.5
    z = 1 - 2 * index / count
    angle = math.pi * (1 + math.sqrt(5)) * index
    radius = (1 - z * z).sqrt()
    return torch.stack([radius * angle.cos(), radius * angle.sin(), z], dim=-1)
