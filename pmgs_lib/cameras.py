"""Pinhole cameras in the library's one convention; everything else is converted at the door."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pmgs_lib.errors import DataError
from pmgs_lib.geometry.pose import (
    inverse_pose,
    normalized_intrinsics,
    opencv_from_opengl,
    pixel_intrinsics,
    rotate_vectors,
    transform_points,
)

# Poses from structure-from-motion carry about six digits; a looser pose is not a rotation any more.
ROTATION_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Cameras:
    """Cameras of any batch shape.

    Poses are camera-to-world with OpenCV axes (x right, y down, z forward), in world units. Intrinsics are normalised:
    first row divided by the image width, second by its height, so they hold for every resolution of one picture. Pixel
    centres lie at +0.5. Depth is z along the optical axis.

    >>> cameras = Cameras(torch.eye(4), torch.tensor([[0.9, 0, 0.5], [0, 1.2, 0.5], [0, 0, 1.0]]))
    >>> cameras.unproject(torch.ones(4, 6)).shape
    torch.Size([4, 6, 3])
    """

    world_from_camera: Float[Tensor, "*batch 4 4"]
    intrinsics: Float[Tensor, "*batch 3 3"]

    @classmethod
    def from_pixels(
        cls,
        world_from_camera: Float[Tensor, "*batch 4 4"],
        intrinsics: Float[Tensor, "*batch 3 3"],
        height: int,
        width: int,
    ) -> "Cameras":
        """Cameras from intrinsics in pixels of a `height` x `width` image."""
        return cls(world_from_camera, normalized_intrinsics(intrinsics, height, width))

    @classmethod
    def from_opengl(
        cls, world_from_camera: Float[Tensor, "*batch 4 4"], intrinsics: Float[Tensor, "*batch 3 3"]
    ) -> "Cameras":
        """Cameras from poses with OpenGL axes (y up, z backward) and normalised intrinsics."""
        return cls(opencv_from_opengl(world_from_camera), intrinsics)

    @property
    def batch_shape(self) -> torch.Size:
        return self.world_from_camera.shape[:-2]

    @property
    def camera_from_world(self) -> Float[Tensor, "*batch 4 4"]:
        return inverse_pose(self.world_from_camera)

    @property
    def centers(self) -> Float[Tensor, "*batch 3"]:
        """Positions of the cameras in the world."""
        return self.world_from_camera[..., :3, 3]

    def pixel_intrinsics(self, height: int, width: int) -> Float[Tensor, "*batch 3 3"]:
        """Intrinsics in pixels of a `height` x `width` image."""
        return pixel_intrinsics(self.intrinsics, height, width)

    def rays(self, height: int, width: int) -> tuple[Float[Tensor, "*batch 3"], Float[Tensor, "*batch h w 3"]]:
        """Origins and world directions through all pixel centres; direction times z-depth leads to the point."""
        options = {"dtype": self.intrinsics.dtype, "device": self.intrinsics.device}
        y = (torch.arange(height, **options) + 0.5) / height
        x = (torch.arange(width, **options) + 0.5) / width
        grid = torch.stack(torch.broadcast_tensors(x[None, :], y[:, None], torch.ones((), **options)), dim=-1)
        camera_from_pixel = torch.linalg.inv(self.intrinsics)
        directions_camera = grid.reshape(-1, 3) @ camera_from_pixel.mT
        directions_world = rotate_vectors(self.world_from_camera, directions_camera)
        return self.centers, directions_world.unflatten(-2, (height, width))

    def project(
        self, points_world: Float[Tensor, "*#batch point 3"], height: int, width: int
    ) -> tuple[Float[Tensor, "*_ point 2"], Float[Tensor, "*_ point"]]:
        """Pixel positions (x, y) and z-depths of world points; points behind a camera have negative depth."""
        points_camera = transform_points(self.camera_from_world, points_world)
        homogeneous = points_camera @ self.pixel_intrinsics(height, width).mT
        return homogeneous[..., :2] / homogeneous[..., 2:], points_camera[..., 2]

    def unproject(self, depth: Float[Tensor, "*batch h w"]) -> Float[Tensor, "*batch h w 3"]:
        """World points seen at every pixel centre at the given z-depth."""
        origins, directions = self.rays(*depth.shape[-2:])
        return origins[..., None, None, :] + directions * depth[..., None]

    def to(self, *args: Any, **kwargs: Any) -> "Cameras":
        """The same cameras on another device or in another dtype (arguments as `Tensor.to`)."""
        return type(self)(*(getattr(self, f.name).to(*args, **kwargs) for f in fields(self)))

    def __getitem__(self, index: Any) -> "Cameras":
        """Cameras selected on the batch axes."""
        return type(self)(self.world_from_camera[index], self.intrinsics[index])

    @classmethod
    def stack(cls, cameras: Sequence["Cameras"]) -> "Cameras":
        """Cameras of equal batch shape under one new leading axis."""
        return cls(*(torch.stack([getattr(c, f.name) for c in cameras]) for f in fields(cls)))

    def validate(self, name: str) -> "Cameras":
        """These cameras, or a `DataError` that names the first unusable one.

        A camera is usable when all numbers are finite, its rotation is orthonormal with determinant +1, and its focal
        lengths are positive. `name` says whose cameras these are, for the message.
        """
        poses, intrinsics = self.world_from_camera.reshape(-1, 4, 4).double(), self.intrinsics.reshape(-1, 3, 3)
        for number in _suspects(poses, intrinsics).nonzero().flatten().tolist():
            fault = _camera_fault(poses[number], intrinsics[number])
            if fault:
                raise DataError(f"{name}: camera {number} {fault}")
        return self


def _suspects(
    world_from_camera: Float[Tensor, "camera 4 4"], intrinsics: Float[Tensor, "camera 3 3"]
) -> Bool[Tensor, " camera"]:
    """Cameras that `_camera_fault` has to look at: all at once, since training opens thousands of scenes."""
    rotation = world_from_camera[:, :3, :3]
    identity = torch.eye(3, dtype=rotation.dtype, device=rotation.device)
    rigid = ((rotation @ rotation.mT - identity).abs() <= ROTATION_TOLERANCE).all(dim=(1, 2))
    numbers = torch.cat([world_from_camera.flatten(1), intrinsics.flatten(1).double()], dim=1)
    upright = torch.linalg.cross(rotation[:, 0], rotation[:, 1]).mul(rotation[:, 2]).sum(dim=1) > 0  # the determinant
    focal = (intrinsics[:, 0, 0] > 0) & (intrinsics[:, 1, 1] > 0)
    return ~(rigid & upright & focal & numbers.isfinite().all(dim=1))


def _camera_fault(world_from_camera: Tensor, intrinsics: Tensor) -> str | None:
    if not (world_from_camera.isfinite().all() and intrinsics.isfinite().all()):
        return "has a NaN or infinite pose or intrinsics (expected finite numbers): remove the frame or repair its pose"
    rotation = world_from_camera[:3, :3]
    determinant = torch.linalg.det(rotation).item()
    if abs(determinant + 1) < ROTATION_TOLERANCE:
        return (
            f"is mirrored (determinant {determinant:.3f}, expected +1): "
            "one axis is flipped; OpenGL poses must be read with Cameras.from_opengl"
        )
    deviation = (rotation @ rotation.mT - torch.eye(3, dtype=rotation.dtype, device=rotation.device)).abs().max().item()
    if deviation > ROTATION_TOLERANCE:
        return (
            f"has no rotation in its pose (determinant {determinant:.3f}, R Rᵀ is {deviation:.1e} off the identity, "
            f"allowed {ROTATION_TOLERANCE:.0e}): divide a scale out of the pose first"
        )
    if not (intrinsics[0, 0] > 0 and intrinsics[1, 1] > 0):
        return "has a focal length that is not positive: check the order fx, fy, cx, cy"
    return None
