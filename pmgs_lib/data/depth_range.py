"""A depth range for captures that come without one: match features between frames with known poses, triangulate.

Features are SIFT (Lowe, "Distinctive image features from scale-invariant keypoints", 2004), matched by the ratio test;
a match counts when the midpoint between its two rays reprojects onto both features (Hartley and Sturm,
"Triangulation", 1997). The percentiles and margins below make the result a hint, not a measurement.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from skimage.feature import SIFT, match_descriptors
from torch import Tensor

from pmgs_lib.cameras import Cameras

LONGER_SIDE = 320  # pixels; enough for some hundred features, and a tenth of a second a picture
MAX_PAIRS = 8
MAX_TURN = math.cos(math.radians(35.0))  # between optical axes; beyond it few features match
MIN_PARALLAX = math.cos(math.radians(0.5))  # between rays; below it depth is mostly noise
MAX_REPROJECTION = 1.5  # pixels at LONGER_SIDE
MIN_POINTS = 40
PERCENTILES = (0.02, 0.98)
MARGINS = (0.5, 3.0)  # nearest and farthest things are few or without texture, so matches miss them


@dataclass(frozen=True)
class DepthRange:
    """Suggested near and far z-depth in world units, and from how many triangulated points and pairs of frames."""

    near: float
    far: float
    points: int
    pairs: int


def estimate_depth_range(
    images: Mapping[int, UInt8[Tensor, "height width 3"]], cameras: Cameras, pairs: Sequence[tuple[int, int]]
) -> DepthRange | None:
    """The depth range that matches between the given pairs of frames show; None where too few matches agree.

    images: pictures by frame number, of the frames in `pairs` at least. cameras: batch shape (frame). Both cameras of a
    pair count: a match gives two depths.
    """
    features: dict[int, tuple[Tensor, np.ndarray]] = {}
    depths = []
    for pair in pairs:
        for frame in pair:
            if frame not in features:
                features[frame] = _features(images[frame])
        depths.append(_pair_depths(features, cameras, pair, _scaled_size(images[pair[0]])))
    found = torch.cat([d.flatten() for d in depths]) if depths else torch.empty(0)
    if len(found) < 2 * MIN_POINTS:
        return None
    near, far = (torch.quantile(found, q).item() for q in PERCENTILES)
    return DepthRange(near * MARGINS[0], far * MARGINS[1], len(found) // 2, len(pairs))


def matching_pairs(cameras: Cameras) -> list[tuple[int, int]]:
    """Up to MAX_PAIRS pairs of frames spread over a capture, with like directions and a good baseline between them."""
    centers, axes = cameras.centers.double(), cameras.world_from_camera[:, :3, 2].double()
    distance, turn = torch.cdist(centers, centers), axes @ axes.mT
    usable = (turn > MAX_TURN) & (distance > 0)
    if not usable.any():
        return []
    wanted = 4 * distance.masked_fill(~usable, math.inf).amin(dim=1)  # neighbours alone have little parallax
    cost = (distance - wanted[:, None]).abs().masked_fill(~usable, math.inf)
    candidates = usable.any(dim=1).nonzero().flatten()
    picked = candidates[torch.linspace(0, len(candidates) - 1, min(MAX_PAIRS, len(candidates))).round().long()]
    return sorted(
        {(min(i, j), max(i, j)) for i, j in zip(picked.tolist(), cost[picked].argmin(dim=1).tolist(), strict=True)}
    )


def _scaled_size(image: UInt8[Tensor, "height width 3"]) -> tuple[int, int]:
    height, width = image.shape[:2]
    factor = min(1.0, LONGER_SIDE / max(height, width))
    return round(height * factor), round(width * factor)


def _features(image: UInt8[Tensor, "height width 3"]) -> tuple[Float[Tensor, "feature 2"], np.ndarray]:
    """Pixel positions (x, y) and descriptors of the reduced picture; none in a picture without texture."""
    height, width = _scaled_size(image)
    gray = Image.fromarray(image.numpy()).convert("L").resize((width, height), Image.Resampling.LANCZOS)
    detector = SIFT()
    try:
        detector.detect_and_extract(np.asarray(gray, dtype=np.float64) / 255)
    except RuntimeError:  # what SIFT raises when it finds no feature
        return torch.empty(0, 2), np.empty((0, 128), dtype=np.uint8)
    return torch.from_numpy(detector.positions[:, ::-1].astype(np.float32)) + 0.5, detector.descriptors


def _pair_depths(
    features: dict[int, tuple[Tensor, np.ndarray]], cameras: Cameras, pair: tuple[int, int], size: tuple[int, int]
) -> Float[Tensor, "point 2"]:
    """z-depths, in both cameras of a pair, of the matches that pass."""
    (first, first_words), (second, second_words) = (features[frame] for frame in pair)
    if not (len(first) and len(second)):
        return torch.empty(0, 2)
    matches = torch.from_numpy(match_descriptors(first_words, second_words, max_ratio=0.8, cross_check=True))
    pixels = torch.stack([first[matches[:, 0]], second[matches[:, 1]]]).double()  # (camera, point, 2)
    both = cameras[list(pair)].to(torch.float64)
    points, cosine = _midpoints(both, pixels, size)
    projected, depth = both.project(points[None], *size)
    agrees = ((projected - pixels).norm(dim=-1) < MAX_REPROJECTION).all(dim=0)
    return depth.T[agrees & (depth > 0).all(dim=0) & (cosine < MIN_PARALLAX)].float()


def _midpoints(
    cameras: Cameras, pixels: Float[Tensor, "2 point 2"], size: tuple[int, int]
) -> tuple[Float[Tensor, "point 3"], Float[Tensor, " point"]]:
    """Points halfway between the two rays of each match where these are closest, and the cosine between the rays."""
    homogeneous = torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=-1)
    rays_camera = homogeneous @ torch.linalg.inv(cameras.pixel_intrinsics(*size)).mT
    first, second = torch.nn.functional.normalize(rays_camera @ cameras.world_from_camera[:, :3, :3].mT, dim=-1)
    cosine = (first * second).sum(dim=-1)
    between = cameras.centers[1] - cameras.centers[0]
    along_first, along_second = first @ between, second @ between
    scale = 1 / (1 - cosine.square()).clamp(min=1e-12)  # parallel rays end far away and fail the parallax test
    near_first = (along_first - cosine * along_second) * scale
    near_second = (cosine * along_first - along_second) * scale
    ends = cameras.centers[:, None] + torch.stack([first * near_first[:, None], second * near_second[:, None]])
    return ends.mean(dim=0), cosine
