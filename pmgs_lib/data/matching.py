"""Features matched between two pictures, and the points where their rays meet.

Features are SIFT (Lowe, "Distinctive image features from scale-invariant keypoints", 2004), matched by the ratio test;
points are midpoints between two rays (Hartley and Sturm, "Triangulation", 1997).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from skimage.feature import SIFT, match_descriptors
from torch import Tensor

from pmgs_lib.cameras import Cameras

LONGER_SIDE = 320  # pixels; enough for some hundred features, and a tenth of a second a picture
MOST_RATIO = 0.8  # between the best and the second-best distance of descriptors
MAX_REPROJECTION = 1.5  # pixels at LONGER_SIDE


@dataclass(frozen=True)
class Features:
    """Pixel positions (x, y) in the reduced picture, pixel centres at +0.5, and their descriptors."""

    positions: Float[Tensor, "feature 2"]
    descriptors: np.ndarray
    height: int
    width: int

    def __len__(self) -> int:
        return len(self.positions)


class Triangulation(NamedTuple):
    """Where the two rays of each match come closest, as two cameras (leading axis) see it.

    points: in the world. cosine: between the two rays. depth: z in each camera. errors: pixels from each feature to the
    projection of the point.
    """

    points: Float[Tensor, "point 3"]
    cosine: Float[Tensor, " point"]
    depth: Float[Tensor, "2 point"]
    errors: Float[Tensor, "2 point"]

    @property
    def agrees(self) -> Bool[Tensor, " point"]:
        """Whether a match fits the cameras: before both, and seen by both where its features are."""
        return (self.errors < MAX_REPROJECTION).all(dim=0) & (self.depth > 0).all(dim=0)


def scaled_size(image: UInt8[Tensor, "height width 3"]) -> tuple[int, int]:
    """Height and width at which features are found."""
    height, width = image.shape[:2]
    factor = min(1.0, LONGER_SIDE / max(height, width))
    return round(height * factor), round(width * factor)


def find_features(image: UInt8[Tensor, "height width 3"]) -> Features:
    """Features of the reduced picture; none in a picture without texture."""
    height, width = scaled_size(image)
    gray = Image.fromarray(image.numpy()).convert("L").resize((width, height), Image.Resampling.LANCZOS)
    detector = SIFT()
    try:
        detector.detect_and_extract(np.asarray(gray, dtype=np.float64) / 255)
    except RuntimeError:  # what SIFT raises when it finds no feature
        return Features(torch.empty(0, 2), np.empty((0, 128), dtype=np.uint8), height, width)
    positions = torch.from_numpy(detector.positions[:, ::-1].astype(np.float32)) + 0.5
    return Features(positions, detector.descriptors, height, width)


def match_features(first: Features, second: Features) -> Float[Tensor, "2 point 2"]:
    """Pixel positions of the matches in both pictures."""
    if not (len(first) and len(second)):
        return torch.empty(2, 0, 2, dtype=torch.float64)
    matches = torch.from_numpy(
        match_descriptors(first.descriptors, second.descriptors, max_ratio=MOST_RATIO, cross_check=True)
    )
    return torch.stack([first.positions[matches[:, 0]], second.positions[matches[:, 1]]]).double()


def triangulate(cameras: Cameras, pixels: Float[Tensor, "2 point 2"], size: tuple[int, int]) -> Triangulation:
    """The points of matches between two cameras, at pictures of `size` (height, width); in float64."""
    both = cameras.to(torch.float64)
    homogeneous = torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=-1)
    rays_camera = homogeneous @ torch.linalg.inv(both.pixel_intrinsics(*size)).mT
    first, second = torch.nn.functional.normalize(rays_camera @ both.world_from_camera[:, :3, :3].mT, dim=-1)
    cosine = (first * second).sum(dim=-1)
    between = both.centers[1] - both.centers[0]
    along_first, along_second = first @ between, second @ between
    scale = 1 / (1 - cosine.square()).clamp(min=1e-12)  # parallel rays end far away and fail the parallax test
    near_first = (along_first - cosine * along_second) * scale
    near_second = (cosine * along_first - along_second) * scale
    ends = both.centers[:, None] + torch.stack([first * near_first[:, None], second * near_second[:, None]])
    points = ends.mean(dim=0)
    projected, depth = both.project(points[None], *size)
    return Triangulation(points, cosine, depth, (projected - pixels).norm(dim=-1))
