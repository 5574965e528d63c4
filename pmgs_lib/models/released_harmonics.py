"""What the harmonics of released weights mean: the convention of pixelSplat's code, which DepthSplat and MVSplat share.

The released encoders rotate coefficients from camera to world by e3nn's Wigner matrices; the released renderer then
evaluates them in another sign convention on permuted axes. Both steps are reproduced here, and the result is turned
into the library's own basis by one fixed matrix a degree.
"""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from pmgs_lib.geometry.harmonics import change_of_basis, harmonics_basis

# Released harmonics use e3nn's axes: the released renderer evaluates them at directions (z, x, y). On the CPU even
# where this module is first imported to build a model without weights, on torch's "meta" device.
RELEASED_AXES = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], device="cpu")

# The released renderer reads 16 coefficients: those of degree 4 are trained to nothing.
RENDERED_DEGREE = 3


def released_basis(directions: Float[Tensor, "*batch 3"], degree: int) -> Float[Tensor, "*batch coefficient"]:
    """Basis that the released renderer multiplies the weights' harmonics with: ours on permuted axes."""
    return harmonics_basis(directions @ RELEASED_AXES.to(directions).mT, degree)


@lru_cache(maxsize=8)
def library_from_released(degree: int) -> Float[Tensor, "coefficient coefficient"]:
    """Fixed matrix that turns world harmonics of released weights into the library's."""
    return change_of_basis(released_basis, degree, torch.eye(3, dtype=torch.float64))


def released_harmonics_world(
    harmonics: Float[Tensor, "batch view gaussian coefficient 3"], rotation: Float[Tensor, "batch view 3 3"]
) -> Float[Tensor, "batch view gaussian coefficient 3"]:
    """Camera to world rotation as released; the result is what the released code hands to its renderer.

    `rotation` is world from camera.
    """
    degree = int(harmonics.shape[-2] ** 0.5) - 1
    return released_turn(rotation, degree)[:, :, None] @ harmonics


def released_turn(
    rotation: Float[Tensor, "batch view 3 3"], degree: int
) -> Float[Tensor, "batch view coefficient coefficient"]:
    """Matrix of `released_harmonics_world`: in e3nn's basis, whose signs differ from ours for odd orders."""
    axes = RELEASED_AXES.to(rotation)
    turn = change_of_basis(harmonics_basis, degree, axes @ rotation @ axes.mT)
    # No power of -1: torch.compile (torch 2.12) traces `(-1.0) ** tensor` as a negated power, -1 everywhere.
    signs = torch.cat([1 - 2 * (torch.arange(-level, level + 1) % 2) for level in range(degree + 1)]).to(rotation)
    return signs[:, None] * turn * signs
