"""Embedded streets: two rows of houses, pavements with trees and street furniture, gardens behind iron fences."""

import math

import numpy as np

from pmgs_lib.data.scenes import buildings
from pmgs_lib.data.scenes.furniture import leaf_cluster, pick
from pmgs_lib.data.scenes.geometry import Material, SceneBuilder
from pmgs_lib.data.scenes.layout import Layout, sun_direction

REACH = 24.0  # the street runs along y, this far to both sides
PROBE_CELL = 0.9
KERB = 0.12  # height of the pavements over the road
# What may stand on a pavement, and how far from the kerb.
PIECES = (
    (buildings.bollard, 0.35), (buildings.street_lamp, 0.5), (buildings.bin_and_boxes, 0.7), (buildings.planter, 0.7),
    (buildings.sign, 0.45), (buildings.poster_column, 0.95),
)  # fmt: skip


def make_street(rng: np.random.Generator) -> Layout:
    """A street with houses on both sides, 13 to 17 metres apart."""
    builder = SceneBuilder(rng)
    road = rng.uniform(2.2, 3.0)  # half widths
    front = road + rng.uniform(3.4, 4.6)
    targets: list[np.ndarray] = []
    _ground(builder, road, front)
    for side in (-1, 1):
        _houses(builder, side, front, targets)
        _pavement(builder, side, road, front, targets)
    _ends(builder, front)
    azimuth = rng.uniform(0, 2 * math.pi)
    return Layout(
        builder=builder,
        walk=(-front + 1.4, -7.0, front - 1.4, 7.0),
        targets=targets,
        sun_direction=sun_direction(azimuth, rng.uniform(0.62, 1.0)),
        sun=(2.1, 1.9, 1.62),
        lamps=[],
        probe_range=((-front - 0.3, -16.0, 0.1), (front + 0.3, 16.0, 7.5)),
        probe_cell=PROBE_CELL,
    )


def _ground(builder: SceneBuilder, road: float, front: float) -> None:
    rng = builder.rng
    surface = pick(
        rng, (Material("asphalt", repeat=2.2, anchored=True), Material("stone", (0.55, 0.55, 0.56), 1.1, anchored=True))
    )
    builder.box((-45, -45, -1.0), (45, 45, -0.03), Material("gravel", (0.8, 0.8, 0.78), 1.5, anchored=True))
    builder.box((-road, -REACH - 6, -0.5), (road, REACH + 6, 0.0), surface)
    slabs = Material("paving", repeat=pick(rng, (1.5, 1.9)), anchored=True)
    kerb = Material("concrete", (0.95, 0.95, 0.93), 0.9)
    for side in (-1, 1):
        low, high = sorted((side * (road + 0.16), side * front))
        builder.box((low, -REACH - 6, -0.5), (high, REACH + 6, KERB), slabs)
        for y in np.arange(-REACH, REACH, 1.0):
            a, b = sorted((side * road, side * (road + 0.158)))
            builder.box((a, y, -0.5), (b, y + 0.985, KERB + 0.015), kerb)
    if rng.uniform() < 0.6:
        for y in np.arange(-REACH, REACH, 2.4):
            builder.box((-0.07, y, -0.01), (0.07, y + 1.2, 0.006), Material("plaster", (0.80, 0.79, 0.75), 0.6))


def _houses(builder: SceneBuilder, side: int, front: float, targets: list[np.ndarray]) -> None:
    """Houses and gardens one after another along one side of the street."""
    rng = builder.rng
    # Facades run along the frame's x and face its +y: turned so that +y is the road.
    frame = builder.at(side * front, -side * REACH, KERB, side * math.pi / 2)
    x = rng.uniform(-2.0, 0.0)
    while x < 2 * REACH:
        if rng.uniform() < 0.22:
            length = rng.uniform(3.5, 5.0)
            _garden(frame.at(x, 0.0), length)
        else:
            length = rng.uniform(5.5, 9.0)
            buildings.building(frame.at(x, 0.0), length, int(rng.integers(2, 5)))
        for along in (0.25, 0.75):
            targets.append(frame.world((x + along * length, 0.0, rng.uniform(1.0, 2.6))))
        x += length + 0.02


def _garden(b: SceneBuilder, length: float) -> None:
    """A lawn with a tree and shrubs behind a fence, a wall at the back."""
    rng = b.rng
    b.box((0, -7, -0.2), (length, 0, 0.03), Material("grass", repeat=1.5, anchored=True))
    b.box((0, -7.3, 0), (length, -7, 2.6), Material("brick_red", (0.85, 0.85, 0.85), 1.25, anchored=True))
    b.box((0, -0.12, 0), (length, 0.12, 0.35), Material("stone", (0.9, 0.88, 0.84), 1.2, anchored=True))
    buildings.fence(b.at(0, 0, 0.35), length, 1.15)
    buildings.tree(b.at(length / 2 + rng.uniform(-0.6, 0.6), -3.0), rng.uniform(4.5, 6.5), rng.uniform(1.3, 1.8))
    for _ in range(4):
        leaf_cluster(b, (rng.uniform(0.5, length - 0.5), -rng.uniform(0.9, 5.5), 0.35), rng.uniform(0.5, 0.8), 7)


def _pavement(builder: SceneBuilder, side: int, road: float, front: float, targets: list[np.ndarray]) -> None:
    """Trees in a row near the kerb, street furniture between them, benches along the houses."""
    rng = builder.rng
    y = -REACH + rng.uniform(0, 3)
    while y < REACH:
        kerb = builder.at(side * road, y, KERB, -side * math.pi / 2)  # +y points away from the road
        if rng.uniform() < 0.55:
            trunk = kerb.at(0, 0.85)
            trunk.box((-0.55, -0.55, -0.2), (0.55, 0.55, 0.02), Material("gravel", (0.6, 0.52, 0.44), 0.8))
            buildings.tree(trunk, rng.uniform(4.2, 6.0), rng.uniform(1.0, 1.5))
            y += rng.uniform(1.6, 2.6)
        else:
            piece, away = pick(rng, PIECES)
            piece(kerb.at(0, away))
            y += rng.uniform(1.3, 2.4)
        targets.append(kerb.world((0, 0.8, rng.uniform(0.6, 1.8))))
        if rng.uniform() < 0.25:
            # Turned so that the bench has its back to the houses.
            buildings.bench(builder.at(side * (front - 0.45), y, KERB, side * math.pi / 2))


def _ends(builder: SceneBuilder, front: float) -> None:
    """A house or a group of trees closes each end of the street."""
    rng = builder.rng
    for end in (-1, 1):
        frame = builder.at(end * (front + 2), end * (REACH + 1.5), 0.0, math.pi if end > 0 else 0.0)
        if rng.uniform() < 0.5:
            buildings.building(frame, 2 * front + 4, 3)
            continue
        for _ in range(7):
            spot = frame.at(rng.uniform(0, 2 * front + 4), -rng.uniform(-1.5, 2.0))
            buildings.tree(spot, rng.uniform(5.0, 8.0), rng.uniform(1.8, 2.4))
