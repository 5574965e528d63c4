"""A small picture of Gaussians without cameras, compilers or graphics cards: what a rich view can afford to draw.

It is no rendering: Gaussians are round, at most 20,000 of them are drawn, and only harmonics of degree 0 count.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from pmgs_lib.errors import ParameterError
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.geometry.harmonics import CONSTANT_HARMONIC

MOST_DRAWN = 20_000
SIZE = (96, 240)  # pixels: height and width that the sketch fits into
SEEN_SHARE = (2.0, 98.0)  # percentiles of the centres that the picture holds; floaters do not shrink the rest
LARGEST_RADIUS = 3  # pixels a Gaussian reaches at most
SOFTENING = 0.5  # pixels; smallest standard deviation that is drawn
FAINTEST, DENSEST = 1 / 255, 0.99
STEEP = 0.3  # share of the world's y axis from which on a direction counts as up or down
RIGHT, DOWN, FORWARD = range(3)


@dataclass(frozen=True)
class Sketch:
    """Pixels of a sketch, how many Gaussians it shows, and how much of the world it spans from left to right."""

    pixels: UInt8[np.ndarray, "h w 3"]
    drawn: int
    width_m: float


def sketch_gaussians(gaussians: Gaussians) -> Sketch:
    """One scene in parallel projection along the direction in which its centres spread least, on white.

    The direction of most spread goes to the right; the world's y axis (down in OpenCV) does not point up on paper.
    Raises ParameterError for a batch and for Gaussians of which none can be drawn.
    """
    if gaussians.batch_shape:
        raise ParameterError(f"sketch: a batch of {tuple(gaussians.batch_shape)} scenes, expected one; choose one")
    means, sizes, alphas, colors = _drawable(gaussians)
    if not len(means):
        raise ParameterError(f"sketch: none of {gaussians.count} Gaussians can be seen, expected some; look at them")
    seen = means @ _view_axes(means).T
    low, high = np.percentile(seen, SEEN_SHARE, axis=0)
    extent = np.maximum(high - low, 1e-6 + 1e-3 * (high - low).max())
    scale = min(SIZE[0] / extent[DOWN], SIZE[1] / extent[RIGHT])  # pixels a metre
    width, height = (max(8, round(scale * extent[side])) for side in (RIGHT, DOWN))
    places = (seen[:, :FORWARD] - (low + high)[:FORWARD] / 2) * scale + np.array([width, height]) / 2
    order = np.argsort(seen[:, FORWARD], kind="stable")
    spread = np.maximum(scale * sizes, SOFTENING)
    pixels = _composite(places[order], spread[order], alphas[order], colors[order], (height, width))
    return Sketch(pixels, len(means), float(width / scale))


def _drawable(gaussians: Gaussians) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Centres, sizes, opacities and colours of those that are finite and not invisible; every n-th, enlarged."""
    step = max(1, -(-gaussians.count // MOST_DRAWN))
    means, scales, opacities, harmonics = (
        getattr(gaussians, name)[::step].detach().float().cpu().numpy()
        for name in ("means", "scales", "opacities", "harmonics")
    )
    colors = np.clip(0.5 + CONSTANT_HARMONIC * harmonics[:, 0], 0, 1)
    sizes = scales.mean(axis=-1) * step**0.5
    finite = np.isfinite(means).all(-1) & np.isfinite(sizes) & np.isfinite(colors).all(-1) & np.isfinite(opacities)
    shown = finite & (opacities >= FAINTEST)
    return means[shown].astype(np.float64), sizes[shown], opacities[shown], colors[shown]


def _view_axes(means: Float[np.ndarray, "point 3"]) -> Float[np.ndarray, "3 3"]:
    """Rows: right, down and forward of the picture in the world; forward is where the centres spread least, right where
    they spread most.
    """
    low, high = np.percentile(means, SEEN_SHARE, axis=0)
    core = means[((means >= low) & (means <= high)).all(-1)]
    core = core if len(core) > 3 else means
    directions = np.linalg.eigh((core - core.mean(0)).T @ (core - core.mean(0)))[1].T  # least spread first
    forward, right = (axis * np.sign(axis[np.abs(axis).argmax()]) for axis in (directions[0], directions[2]))
    down = np.cross(forward, right)
    turn = -1.0 if down[1] < -STEEP else 1.0  # half a turn of the paper
    return np.stack([turn * right, turn * down, forward])


def _composite(
    places: Float[np.ndarray, "point 2"],
    spread: Float[np.ndarray, " point"],
    alphas: Float[np.ndarray, " point"],
    colors: Float[np.ndarray, "point 3"],
    size: tuple[int, int],
) -> UInt8[np.ndarray, "h w 3"]:
    """Front-to-back compositing of round Gaussians, nearest first, over white."""
    pixel, point, alpha = _touched(places, spread, alphas, size)
    order = np.argsort(pixel * len(places) + point, kind="stable")
    pixel, point, alpha = pixel[order], point[order], alpha[order]
    passed = np.cumsum(np.log1p(-alpha))
    before = np.concatenate([[0.0], passed[:-1]]) if len(passed) else passed
    starts = np.flatnonzero(np.diff(pixel, prepend=-1))
    own = before - np.repeat(before[starts], np.diff(starts, append=len(pixel)))  # of the Gaussians of this pixel only
    weights = alpha * np.exp(own)
    count = size[0] * size[1]
    covered = np.bincount(pixel, weights, count)
    channels = [np.bincount(pixel, weights * colors[point, i], count) + 1 - covered for i in range(3)]
    return (255 * np.stack(channels, -1).clip(0, 1)).round().astype(np.uint8).reshape(*size, 3)


def _touched(
    places: Float[np.ndarray, "point 2"],
    spread: Float[np.ndarray, " point"],
    alphas: Float[np.ndarray, " point"],
    size: tuple[int, int],
) -> tuple[Int[np.ndarray, " touch"], Int[np.ndarray, " touch"], Float[np.ndarray, " touch"]]:
    """Pixel, Gaussian and opacity there, for every pixel that a Gaussian reaches."""
    near = np.floor(places).astype(np.int64)
    reach = np.minimum(np.ceil(2 * spread), LARGEST_RADIUS)
    inside = ((places > -LARGEST_RADIUS) & (places < np.array(size[::-1]) + LARGEST_RADIUS)).all(-1)
    found = []
    steps = range(-LARGEST_RADIUS, LARGEST_RADIUS + 1)
    for across, along in ((x, y) for y in steps for x in steps):
        point = np.flatnonzero(inside & (reach >= max(abs(across), abs(along))))
        column, row = near[point, 0] + across, near[point, 1] + along
        offset = np.hypot(column + 0.5 - places[point, 0], row + 0.5 - places[point, 1])
        alpha = np.minimum(alphas[point] * np.exp(-0.5 * (offset / spread[point]) ** 2), DENSEST)
        kept = (alpha >= FAINTEST) & (column >= 0) & (column < size[1]) & (row >= 0) & (row < size[0])
        found.append((row[kept] * size[1] + column[kept], point[kept], alpha[kept]))
    pixel, point, alpha = (np.concatenate(part) for part in zip(*found, strict=True))
    return pixel, point, alpha.astype(np.float64)
