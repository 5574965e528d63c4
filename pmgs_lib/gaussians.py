"""3D Gaussians in the world frame."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pmgs_lib.geometry.harmonics import degree_of, rotate_harmonics
from pmgs_lib.geometry.pose import matrix_to_quaternion, quaternion_multiply, quaternion_to_matrix, transform_points

# Every field ends in the Gaussian axis and then its own axes; this is how many of those it has.
TRAILING_AXES = {"means": 1, "scales": 1, "quaternions": 1, "opacities": 0, "harmonics": 2}


@dataclass(frozen=True)
class Gaussians:
    """Gaussians of one scene or of a batch of scenes.

    means: centres in world units. scales: standard deviations in world units. quaternions: wxyz, world from local axes,
    need not have unit length. opacities: in [0, 1]. harmonics: coefficients in the basis of the original renderer
    (see `pmgs_lib.geometry.harmonics`), degrees 0 to 4.
    """

    means: Float[Tensor, "*batch gaussian 3"]
    scales: Float[Tensor, "*batch gaussian 3"]
    quaternions: Float[Tensor, "*batch gaussian 4"]
    opacities: Float[Tensor, "*batch gaussian"]
    harmonics: Float[Tensor, "*batch gaussian coefficient 3"]

    @property
    def batch_shape(self) -> torch.Size:
        return self.means.shape[:-2]

    @property
    def count(self) -> int:
        """Number of Gaussians of each scene."""
        return self.means.shape[-2]

    @property
    def degree(self) -> int:
        """Degree of the harmonics."""
        return degree_of(self.harmonics)

    def covariances(self) -> Float[Tensor, "*batch gaussian 3 3"]:
        """World covariances R S Sᵀ Rᵀ."""
        root = quaternion_to_matrix(self.quaternions) * self.scales[..., None, :]
        return root @ root.mT

    def transformed(self, target_from_world: Float[Tensor, "4 4"]) -> "Gaussians":
        """The same scene after a rigid motion of the world, view-dependent colour included."""
        rotation = target_from_world[:3, :3]
        return type(self)(
            means=transform_points(target_from_world, self.means),
            scales=self.scales,
            quaternions=quaternion_multiply(matrix_to_quaternion(rotation), self.quaternions),
            opacities=self.opacities,
            harmonics=rotate_harmonics(self.harmonics, rotation),
        )

    def to(self, *args: Any, **kwargs: Any) -> "Gaussians":
        """The same Gaussians on another device or in another dtype (arguments as `Tensor.to`)."""
        return type(self)(*(getattr(self, f.name).to(*args, **kwargs) for f in fields(self)))

    def __getitem__(self, index: Any) -> "Gaussians":
        """Scenes selected on the batch axes."""
        return type(self)(*(getattr(self, f.name)[index] for f in fields(self)))

    def select(self, chosen: Bool[Tensor, " gaussian"] | Int[Tensor, " chosen"]) -> "Gaussians":
        """Some Gaussians of one unbatched scene, by mask or by index."""
        return type(self)(*(getattr(self, f.name)[chosen] for f in fields(self)))

    @classmethod
    def concatenate(cls, parts: Sequence["Gaussians"]) -> "Gaussians":
        """All Gaussians of several parts of the same scene (or batch of scenes)."""
        return cls(
            *(torch.cat([getattr(p, f.name) for p in parts], dim=-1 - TRAILING_AXES[f.name]) for f in fields(cls))
        )
