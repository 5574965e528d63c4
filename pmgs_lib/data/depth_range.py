"""A depth range for captures that come without one: match features between frames with known poses, triangulate.

A match counts when the midpoint between its two rays reprojects onto both features (`pmgs_lib.data.matching`). The
percentiles and margins below make the result a hint, not a measurement.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pmgs_lib.cameras import Cameras
from pmgs_lib.data.matching import Features, find_features, match_features, triangulate

MAX_PAIRS = 8
MAX_TURN = math.cos(math.radians(35.0))  # between optical axes; beyond it few features match
MIN_PARALLAX = math.cos(math.radians(0.5))  # between rays; below it depth is mostly noise
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

    @property
    def seen(self) -> tuple[float, float]:
        """The range without its margins: 96 % of the points lie in it."""
        return self.near / MARGINS[0], self.far / MARGINS[1]

    def __str__(self) -> str:
        low, high = self.seen
        return (
            f"96 % of {self.points} matched points from {self.pairs} pairs of frames lie between {low:.3g} and "
            f"{high:.3g}; factors of {MARGINS[0]:g} and {MARGINS[1]:g} leave room for what has no texture"
        )


def estimate_depth_range(
    images: Mapping[int, UInt8[Tensor, "height width 3"]], cameras: Cameras, pairs: Sequence[tuple[int, int]]
) -> DepthRange | None:
    """The depth range that matches between the given pairs of frames show; None where too few matches agree.

    images: pictures by frame number, of the frames in `pairs` at least. cameras: batch shape (frame). Both cameras of a
    pair count: a match gives two depths.
    """
    features: dict[int, Features] = {}
    depths = []
    for pair in pairs:
        for frame in pair:
            if frame not in features:
                features[frame] = find_features(images[frame])
        first, second = (features[frame] for frame in pair)
        pixels = match_features(first, second)
        depths.append(matched_depths(cameras[list(pair)], pixels, (first.height, first.width)).flatten())
    return depth_range_of(torch.cat(depths), len(pairs)) if depths else None


def depth_range_of(depths: Float[Tensor, " depth"], pairs: int) -> DepthRange | None:
    """The range of depths, two for each matched point, with its margins; None for too few."""
    if len(depths) < 2 * MIN_POINTS:
        return None
    near, far = (torch.quantile(depths, q).item() for q in PERCENTILES)
    return DepthRange(near * MARGINS[0], far * MARGINS[1], len(depths) // 2, pairs)


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


def matched_depths(
    cameras: Cameras, pixels: Float[Tensor, "2 point 2"], size: tuple[int, int]
) -> Float[Tensor, "fitting 2"]:
    """z-depths, in both cameras of a pair, of the matches (in pictures of `size`) that fit them with some parallax."""
    found = triangulate(cameras, pixels, size)
    return found.depth.T[found.agrees & (found.cosine < MIN_PARALLAX)].float()
