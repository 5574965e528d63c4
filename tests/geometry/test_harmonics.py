"""Laws of spherical harmonics: orthonormal, rotation as an action, agreement with e3nn up to signs and axes."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from pmgs_lib.errors import ParameterError
from pmgs_lib.geometry import evaluate_harmonics, harmonics_basis, quaternion_to_matrix, rotate_harmonics
from pmgs_lib.geometry.harmonics import degree_of


def unit(*shape, rng):
    return torch.nn.functional.normalize(torch.randn(*shape, 3, dtype=torch.float64, generator=rng), dim=-1)


def rotation(*batch, rng):
    return quaternion_to_matrix(torch.randn(*batch, 4, dtype=torch.float64, generator=rng))


def test_basis_is_orthonormal_on_the_sphere():
    # Gauss-Legendre in z and even spacing in angle integrate degree 8 exactly.
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(12))
    angle = torch.arange(24, dtype=torch.float64) * (2 * math.pi / 24)
    z, angle = torch.meshgrid(nodes, angle, indexing="ij")
    radius = (1 - z * z).sqrt()
    directions = torch.stack([radius * angle.cos(), radius * angle.sin(), z], dim=-1)
    values = harmonics_basis(directions, 4).flatten(0, 1)
    area = (weights[:, None] * (2 * math.pi / 24)).expand(12, 24).flatten()
    assert_close(values.mT @ (area[:, None] * values), torch.eye(25, dtype=torch.float64), atol=1e-12, rtol=0)


def test_degrees_agree_with_e3nn_up_to_sign_and_axes(rng):
    from e3nn.o3 import spherical_harmonics

    directions = unit(50, rng=rng)
    # e3nn's polar axis is y: its (x, y, z) is our (y, z, x).
    theirs = spherical_harmonics(list(range(5)), directions[:, [1, 2, 0]], normalize=False, normalization="integral")
    ours = harmonics_basis(directions, 4)
    assert_close(ours.abs(), theirs.abs(), atol=1e-12, rtol=0)


@pytest.mark.parametrize("degree", range(5))
@pytest.mark.parametrize("batch", [(), (1,), (3, 1, 2)], ids=str)
def test_rotated_harmonics_show_the_same_colour_along_rotated_directions(degree, batch, rng):
    harmonics = 0.05 * torch.randn(*batch, (degree + 1) ** 2, 3, dtype=torch.float64, generator=rng)
    matrix, directions = rotation(*batch, rng=rng), unit(*batch, rng=rng)
    turned = (matrix @ directions[..., None])[..., 0]
    seen = evaluate_harmonics(harmonics, directions)
    assert_close(evaluate_harmonics(rotate_harmonics(harmonics, matrix), turned), seen)


def test_rotations_compose_and_invert(rng):
    harmonics = torch.randn(25, 3, dtype=torch.float64, generator=rng)
    first, second = rotation(rng=rng), rotation(rng=rng)
    assert_close(
        rotate_harmonics(rotate_harmonics(harmonics, first), second), rotate_harmonics(harmonics, second @ first)
    )
    assert_close(rotate_harmonics(rotate_harmonics(harmonics, first), first.mT), harmonics)


def test_colour_is_clamped_below_only():
    dark, bright = torch.tensor([[-9.0, 0, 9]]), torch.tensor([0.0, 0, 1])
    assert_close(evaluate_harmonics(dark, bright), torch.tensor([0, 0.5, 0.5 + 9 * 0.5 / math.sqrt(math.pi)]))


def test_a_wrong_number_of_coefficients_is_refused():
    with pytest.raises(ParameterError, match="5 coefficients belong to no degree"):
        degree_of(torch.zeros(5, 3))
