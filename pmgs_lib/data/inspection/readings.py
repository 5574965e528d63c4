"""Ways to read raw camera numbers, and how well each explains what matched features show.

Poses may map camera to world or world to camera, with OpenCV or OpenGL axes (or one of them flipped, where the
determinant says so); intrinsics may be shares of the picture, its pixels, or pixels of another size. A reading explains
a match when the two rays meet before both cameras where the features are: the sign of depth and the epipolar residual
in one (Hartley and Zisserman, "Multiple View Geometry", 2004, chapters 9 and 12).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import torch
from jaxtyping import Float64
from torch import Tensor

from pmgs_lib.cameras import Cameras
from pmgs_lib.data.inspection.numbers import unscaled
from pmgs_lib.data.matching import triangulate
from pmgs_lib.geometry.pose import inverse_pose, normalized_intrinsics

Direction = Literal["world-from-camera", "camera-from-world"]
Units = Literal["shares", "pixels", "pixels of another size"]

PROPER_AXES = {"OpenCV": (1.0, 1.0, 1.0), "OpenGL": (1.0, -1.0, -1.0)}
MIRRORED_AXES = {
    "OpenCV in a mirrored world": (1.0, 1.0, 1.0),
    "OpenCV with x flipped": (-1.0, 1.0, 1.0),
    "OpenCV with y flipped": (1.0, -1.0, 1.0),
    "OpenCV with z flipped": (1.0, 1.0, -1.0),
    "OpenGL with x flipped": (-1.0, -1.0, -1.0),
}
AXES = PROPER_AXES | MIRRORED_AXES
NARROWEST, WIDEST = 0.25, 10.0  # focal length in pictures: 127 to 6 degrees; beyond it a unit was misread
OTHER_SIZE = 0.05  # relative difference of size from which pixels are those of another one


@dataclass(frozen=True)
class MatchedPair:
    """Matched features of two frames, in pixels (x, y) of the reduced pictures."""

    first: int
    second: int
    pixels: Float64[Tensor, "2 point 2"]


@dataclass(frozen=True)
class Reading:
    """One way to read the numbers."""

    direction: Direction
    axes: str
    units: Units

    def cameras(
        self,
        poses: Float64[Tensor, "frame 4 4"],
        intrinsics: Float64[Tensor, "frame 3 3"],
        size: tuple[int, int],
    ) -> Cameras:
        """The cameras in the library's convention, if the numbers were meant like this. size: height, width."""
        rotation, _ = unscaled(poses)
        rigid = poses.clone()
        rigid[:, :3, :3] = rotation
        world_from_camera = inverse_pose(rigid) if self.direction == "camera-from-world" else rigid
        flip = poses.new_tensor([*AXES[self.axes], 1.0])
        return Cameras(world_from_camera * flip, _in_shares(intrinsics, self.units, size))

    def __str__(self) -> str:
        return f"{self.direction}, {self.axes} axes, intrinsics in {self.units}"


OURS = Reading("world-from-camera", "OpenCV", "shares")


def candidate_readings(
    poses: Float64[Tensor, "frame 4 4"], intrinsics: Float64[Tensor, "frame 3 3"], size: tuple[int, int]
) -> list[Reading]:
    """Readings that the numbers alone leave possible, the library's own first where it is one of them."""
    mirrored = bool(torch.linalg.det(poses[:, :3, :3]).median() < 0)
    units = [unit for unit in ("shares", "pixels", "pixels of another size") if _plausible(intrinsics, unit, size)]
    axes = MIRRORED_AXES if mirrored else PROPER_AXES
    directions: tuple[Direction, ...] = ("world-from-camera", "camera-from-world")
    return [Reading(*parts) for parts in product(directions, axes, units)]


def explained(cameras: Cameras, pairs: Sequence[MatchedPair], size: tuple[int, int]) -> float:
    """Share of the matches that these cameras explain. size: of the pictures in which they were matched."""
    agrees = [triangulate(cameras[[pair.first, pair.second]], pair.pixels, size).agrees for pair in pairs]
    return torch.cat(agrees).double().mean().item() if agrees else 0.0


def _in_shares(k: Float64[Tensor, "frame 3 3"], units: Units, size: tuple[int, int]) -> Float64[Tensor, "frame 3 3"]:
    if units == "shares":
        return k
    if units == "pixels":
        return normalized_intrinsics(k, *size)
    # The picture of the other size has its middle at the principal point, as nearly all have.
    width, height = (2 * k[:, axis, 2].median().item() for axis in (0, 1))
    return k / k.new_tensor([width, height, 1.0])[:, None]


def _plausible(k: Float64[Tensor, "frame 3 3"], units: Units, size: tuple[int, int]) -> bool:
    if units == "pixels of another size":
        middle = 2 * k[:, :2, 2].median(dim=0).values
        factors = middle / middle.new_tensor([size[1], size[0]])
        differs = bool(((factors - 1).abs() > OTHER_SIZE).all())
        if not differs or not bool((middle > 16).all()) or abs(factors[0] / factors[1] - 1) > OTHER_SIZE:
            return False
    shares = _in_shares(k, units, size)
    focal, center = torch.diagonal(shares, dim1=-2, dim2=-1)[:, :2].abs(), shares[:, :2, 2]
    sensible = (focal > NARROWEST) & (focal < WIDEST) & (center > 0) & (center < 1)
    return bool(sensible.all(dim=1).double().mean() > 0.5)
