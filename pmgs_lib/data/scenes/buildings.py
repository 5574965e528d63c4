"""Facades of the embedded streets, and what stands in front of them.

Each piece stands on z = 0 of the builder it is given. A facade runs along x, its front is y = 0 and faces towards +y.
Lengths in metres.
"""

import math
from dataclasses import dataclass

import numpy as np

from pmgs_lib.data.scenes.furniture import COVERS, FOLIAGE, IRON, leaf_cluster, pick
from pmgs_lib.data.scenes.geometry import Material, SceneBuilder
from pmgs_lib.data.scenes.textures import PHOTOS

RECESS = 0.22  # depth of windows behind the facade
WALLS = (
    Material("brick_red", repeat=1.25, anchored=True),
    Material("brick_buff", repeat=1.25, anchored=True),
    Material("stone", (0.95, 0.93, 0.9), 1.8, anchored=True),
    *(
        Material("rough_plaster", tint, 2.4, anchored=True)
        for tint in ((0.80, 0.72, 0.58), (0.70, 0.70, 0.66), (0.72, 0.56, 0.46))
    ),
    Material("brick_red", (0.8, 0.85, 0.9), 1.25, anchored=True),
)
TRIM = Material("concrete", (1.0, 0.98, 0.94), 1.1)
WHITE_PAINT = Material("boards", (0.82, 0.82, 0.80), 0.5)
DOOR_TINTS = ((0.16, 0.24, 0.22), (0.30, 0.14, 0.11), (0.14, 0.17, 0.24), (0.36, 0.26, 0.16))


@dataclass(frozen=True)
class Grid:
    """Window openings of a facade: left edges and width, bottom edges and height."""

    lefts: np.ndarray
    width: float
    bottoms: np.ndarray
    height: float


def building(b: SceneBuilder, length: float, storeys: int) -> float:
    """A house with recessed windows, a door, sills, bands and a roof edge; returns its height."""
    rng, wall = b.rng, pick(b.rng, WALLS)
    storey, plinth = rng.uniform(2.9, 3.3), 0.5
    height, count = plinth + storeys * storey + 0.25, max(2, round(length / rng.uniform(1.9, 2.5)))
    width = rng.uniform(0.95, 1.2)
    pitch = length / count
    lefts = (np.arange(count) + 0.5) * pitch - width / 2
    grid = Grid(lefts, width, plinth + 0.55 + storey * np.arange(storeys), rng.uniform(1.45, 1.75))
    _wall_with_windows(b, grid, length, height, wall)
    b.box((0, -6, 0), (length, -RECESS - 0.001, height), wall)
    b.box((-0.03, -0.02, 0), (length + 0.03, 0.06, plinth), TRIM)
    b.box((-0.1, -0.3, height), (length + 0.1, 0.32, height + 0.22), TRIM)
    b.box((0, -0.1, height - 0.35), (length, 0.10, height - 0.22), TRIM)
    b.box((0, -6, height + 0.22), (length, -0.2, height + 0.9), Material("boards", (0.30, 0.20, 0.17), 0.9))
    door = int(rng.integers(count))
    for column, left in enumerate(grid.lefts):
        for row, bottom in enumerate(grid.bottoms):
            if row == 0 and column == door:
                _door(b.at(left + width / 2, 0.0), bottom + grid.height)
            else:
                _window(b.at(left, 0.0, bottom), width, grid.height)
    return height


def _wall_with_windows(b: SceneBuilder, grid: Grid, length: float, height: float, wall: Material) -> None:
    """Piers between the windows over the whole height, and the wall between windows above each other."""
    edges = [0.0]
    for left in grid.lefts:
        edges += [left, left + grid.width]
    edges.append(length)
    for low, high in zip(edges[::2], edges[1::2], strict=True):
        b.box((low, -RECESS, 0), (high, 0, height), wall)
    levels = [0.0]
    for bottom in grid.bottoms:
        levels += [bottom, bottom + grid.height]
    levels.append(height)
    for left in grid.lefts:
        for low, high in zip(levels[::2], levels[1::2], strict=True):
            b.box((left, -RECESS, low), (left + grid.width, 0, high), wall)


def _window(b: SceneBuilder, width: float, height: float) -> None:
    """Pane, frame with glazing bars, sill; often shutters or a flower box."""
    bar, y = 0.06, -0.17
    b.box((0, -RECESS, 0), (width, y, height), Material(pick(b.rng, ("glass_a", "glass_b")), fit=True))
    for x in (0.0, (width - bar) / 2, width - bar):
        b.box((x, y, 0), (x + bar, y + 0.06, height), WHITE_PAINT)
    for z in (0.0, 0.64 * height, height - bar):
        b.box((0, y, z), (width, y + 0.05, z + bar), WHITE_PAINT)
    b.box((-0.1, -0.05, -0.1), (width + 0.1, 0.14, 0), TRIM)
    chance = b.rng.uniform()
    if chance < 0.25:
        b.box((0.05, 0.02, 0), (width - 0.05, 0.2, 0.16), Material("boards", (0.45, 0.30, 0.22), 0.4))
        for x in np.linspace(0.15, width - 0.15, 5):
            b.ellipsoid((x, 0.11, 0.22), (0.13, 0.1, 0.12 + 0.05 * math.sin(9 * x)), FOLIAGE)


def _door(b: SceneBuilder, top: float) -> None:
    """A panelled door over two steps, with a canopy."""
    tint = pick(b.rng, DOOR_TINTS)
    b.box((-0.62, -0.02, 0), (0.62, 0.10, top + 0.12), TRIM)
    b.box((-0.48, 0.10, 0.3), (0.48, 0.14, top - 0.05), Material("panel", tint, fit=True))
    b.ellipsoid((0.38, 0.17, 1.25), (0.03, 0.04, 0.03), Material("metal", (0.5, 0.4, 0.24), 0.2))
    for step in range(2):
        b.box((-0.8 - 0.1 * step, 0, 0), (0.8 + 0.1 * step, 0.75 - 0.3 * step, 0.15 + 0.15 * step), TRIM)
    b.box((-0.85, 0, top + 0.2), (0.85, 0.7, top + 0.28), Material("metal", (0.35, 0.34, 0.33), 0.8))


def tree(b: SceneBuilder, height: float, crown: float) -> None:
    """A thin trunk with a few branches that end in leafy clusters; `crown` is the crown's radius."""
    rng, bark = b.rng, Material("bark", repeat=0.5)
    fork = 0.45 * height
    lean = rng.uniform(-0.15, 0.15, 2)
    top = (float(lean[0]), float(lean[1]), fork)
    b.frustum((0, 0, -0.1), top, (0.055 * height / 3 + 0.04, 0.03 * height / 3 + 0.03), bark)
    start = rng.uniform(0, 2 * math.pi)
    for branch in range(6):
        angle, out = start + 2.4 * branch, crown * (0.2 if branch == 0 else rng.uniform(0.5, 0.75))
        end = np.array(
            [top[0] + out * math.cos(angle), top[1] + out * math.sin(angle), rng.uniform(0.70, 0.88) * height]
        )
        if branch == 0:
            end[2] = height
        b.frustum(top, end, (0.035, 0.02), bark)
        leaf_cluster(b, end, 0.75 * crown, 9)


def fence(b: SceneBuilder, length: float, height: float) -> None:
    """Iron bars between two rails, with posts; runs along x."""
    for x in np.arange(0.08, length, 0.13):
        b.box((x, -0.01, 0.02), (x + 0.022, 0.012, height), IRON)
    for z in (0.12, height - 0.14):
        b.box((0, -0.018, z), (length, 0.018, z + 0.035), IRON)
    for x in np.linspace(0, length, max(2, round(length / 1.8))):
        b.box((x - 0.045, -0.045, 0), (x + 0.045, 0.045, height + 0.12), Material("concrete", (0.75, 0.73, 0.7), 0.5))


def bollard(b: SceneBuilder) -> None:
    b.frustum((0, 0, 0), (0, 0, 0.85), (0.085, 0.07), Material("metal", (0.20, 0.22, 0.21), 0.3))
    b.ellipsoid((0, 0, 0.88), (0.085, 0.085, 0.07), Material("metal", (0.55, 0.53, 0.48), 0.3))


def street_lamp(b: SceneBuilder) -> None:
    b.frustum((0, 0, 0), (0, 0, 0.7), (0.11, 0.08), IRON)
    b.frustum((0, 0, 0.7), (0, 0, 3.3), (0.05, 0.035), IRON)
    b.frustum((0, 0, 3.3), (0, 0, 3.75), (0.09, 0.18), Material("glass_a", (0.9, 0.88, 0.8), 0.6))
    b.frustum((0, 0, 3.75), (0, 0, 3.95), (0.22, 0.04), IRON)


def bench(b: SceneBuilder) -> None:
    """A slatted bench along x whose front faces +y."""
    slat = Material(pick(b.rng, ("oak", "walnut")), (0.9, 0.9, 0.9), 0.7, grain=True)
    for y in (0.0, 0.13, 0.26, 0.39):
        b.box((-0.85, y, 0.43), (0.85, y + 0.09, 0.47), slat)
    for z in (0.58, 0.72, 0.86):
        b.box((-0.85, -0.06, z), (0.85, -0.03, z + 0.09), slat)
    for x in (-0.7, 0.66):
        b.box((x, -0.03, 0), (x + 0.045, 0.02, 0.95), IRON)
        b.box((x, 0.40, 0), (x + 0.045, 0.45, 0.43), IRON)
        b.box((x, -0.03, 0.39), (x + 0.045, 0.45, 0.43), IRON)


def bin_and_boxes(b: SceneBuilder) -> None:
    """A litter bin and some crates beside it."""
    b.frustum((0, 0, 0), (0, 0, 0.8), (0.22, 0.27), Material("metal", (0.22, 0.28, 0.25), 0.5))
    b.frustum((0, 0, 0.8), (0, 0, 0.86), (0.29, 0.25), IRON)
    z = 0.0
    for number in range(int(b.rng.integers(1, 4))):
        side, crate = 0.5 - 0.07 * number, b.at(0.65, 0.05, z, b.rng.uniform(-0.4, 0.4))
        crate.box((-side / 2, -side / 2, 0), (side / 2, side / 2, side), Material("boards", (0.72, 0.58, 0.42), side))
        z += side


def planter(b: SceneBuilder) -> None:
    """A wooden tub with a round shrub."""
    tub = Material("boards", pick(b.rng, ((0.50, 0.36, 0.26), (0.52, 0.53, 0.50))), 0.45)
    b.box((-0.3, -0.3, 0), (0.3, 0.3, 0.5), tub)
    b.box((-0.33, -0.33, 0.42), (0.33, 0.33, 0.5), tub)
    leaf_cluster(b, (0, 0, 0.75), 0.40, 12)


def poster_column(b: SceneBuilder) -> None:
    """An advertising column with pictures around it."""
    b.frustum((0, 0, 0), (0, 0, 0.35), (0.62, 0.58), TRIM)
    b.frustum((0, 0, 0.35), (0, 0, 2.5), (0.55, 0.55), Material("stone", (0.8, 0.8, 0.75), 1.0))
    for number in range(6):
        turned = b.at(0, 0, 1.0 + 0.45 * (number % 2), 2 * math.pi * number / 6)
        turned.box((-0.27, 0.46, 0), (0.27, 0.566, 0.8), Material(pick(b.rng, PHOTOS), (0.85, 0.85, 0.85), fit=True))
    b.frustum((0, 0, 2.5), (0, 0, 2.62), (0.68, 0.68), IRON)
    b.ellipsoid((0, 0, 2.62), (0.55, 0.55, 0.3), Material("metal", (0.30, 0.36, 0.33), 0.6))


def sign(b: SceneBuilder) -> None:
    """A picture on a post."""
    b.frustum((0, 0, 0), (0, 0, 2.5), (0.03, 0.03), IRON)
    turned = b.at(0, 0, 1.75, b.rng.uniform(-0.5, 0.5))
    turned.box((-0.33, -0.02, 0), (0.33, 0.045, 0.66), Material("metal", pick(b.rng, COVERS), 0.5))
    turned.box((-0.3, -0.035, 0.03), (0.3, 0.06, 0.63), Material(pick(b.rng, PHOTOS), (0.85, 0.85, 0.85), fit=True))
