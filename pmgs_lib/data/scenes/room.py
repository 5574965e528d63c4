"""Embedded rooms: four walls, a window or two with the sun outside, furniture along the walls and in the middle."""

import math

import numpy as np

from pmgs_lib.data.scenes import furniture
from pmgs_lib.data.scenes.furniture import leaf_cluster, pick
from pmgs_lib.data.scenes.geometry import Material, SceneBuilder
from pmgs_lib.data.scenes.layout import Layout, sun_direction

THICK = 0.3  # walls at least one light probe thick, so that daylight does not leak through them
PROBE_CELL = 0.4
WALL_TINTS = (
    (0.80, 0.77, 0.70), (0.72, 0.75, 0.74), (0.66, 0.70, 0.62),
    (0.78, 0.70, 0.60), (0.62, 0.66, 0.72), (0.74, 0.66, 0.62),
)  # fmt: skip
WHITE = Material("plaster", (0.86, 0.85, 0.82), 1.3, anchored=True)
FLOORS = (("oak_floor", 2.0), ("gray_floor", 2.2), ("oak_floor", 1.6), ("checker", 2.0))


def make_room(rng: np.random.Generator) -> Layout:
    """A furnished room of 5.5 to 8 by 5 to 7 metres."""
    builder = SceneBuilder(rng)
    size = np.array([rng.uniform(5.5, 8.0), rng.uniform(5.0, 7.0), rng.uniform(2.6, 3.1)])
    walls = [_wall_frame(builder, side, size) for side in range(4)]
    _floor_and_ceiling(builder, size)
    sunny, bare = _window_sides(rng)
    plain = _wall_material(rng)
    accent = _wall_material(rng) if rng.uniform() < 0.6 else plain
    lamps, targets = [], []
    for side, (frame, length) in enumerate(walls):
        material = accent if side == bare else plain
        openings = _windows(rng, length) if side in sunny else []
        _wall(frame, length, size[2], openings, material)
        for opening in openings:
            _window(frame, opening, size[2])
        # Corners belong to two of the walls, so that furniture does not run into other furniture there.
        lamps += _furnish_wall(frame, length - 2.0 * (side % 2), openings, targets)
    lamps += _furnish_middle(builder, size, targets)
    _garden(builder, size)
    azimuth = _outward(sunny[0]) + rng.uniform(-0.7, 0.7)
    return Layout(
        builder=builder,
        walk=(0.6, 0.6, size[0] - 0.6, size[1] - 0.6),
        targets=targets,
        sun_direction=sun_direction(azimuth, rng.uniform(0.42, 0.75)),
        sun=(4.6, 4.15, 3.5),
        lamps=[(position, (0.32, 0.26, 0.18)) for position in lamps[-2:]],
        probe_range=((-0.1, -0.1, 0.07), (size[0] + 0.1, size[1] + 0.1, size[2])),
        probe_cell=PROBE_CELL,
        sky_level=0.9,
        fill=0.55,
    )


def _wall_frame(builder: SceneBuilder, side: int, size: np.ndarray) -> tuple[SceneBuilder, float]:
    """A builder whose x runs along a wall and whose y points into the room, and the length of the wall."""
    x, y, _ = size
    place = ((x / 2, 0.0), (x, y / 2), (x / 2, y), (0.0, y / 2))[side]
    return builder.at(*place, 0.0, side * math.pi / 2), float((x, y)[side % 2])


def _outward(side: int) -> float:
    """Azimuth of the direction out of the room through a wall."""
    return (side - 1) * math.pi / 2


def _window_sides(rng: np.random.Generator) -> tuple[list[int], int]:
    """Walls with windows, sunny one first, and the wall that may look different."""
    first = int(rng.integers(4))
    sunny = [first] if rng.uniform() < 0.5 else [first, (first + 1) % 4]
    return sunny, (first + 2) % 4


def _wall_material(rng: np.random.Generator) -> Material:
    kind = rng.uniform()
    if kind < 0.35:
        return Material("rough_plaster", pick(rng, WALL_TINTS), 1.6, anchored=True)
    if kind < 0.7:
        return Material("wallpaper", pick(rng, WALL_TINTS), 0.75, anchored=True)
    if kind < 0.85:
        return Material(pick(rng, ("brick_red", "brick_buff")), (0.9, 0.9, 0.9), 1.25, anchored=True)
    return Material("boards", (0.80, 0.80, 0.78), 0.9, anchored=True)


def _floor_and_ceiling(builder: SceneBuilder, size: np.ndarray) -> None:
    rng = builder.rng
    texture, repeat = pick(rng, FLOORS)
    builder.box(
        (-THICK, -THICK, -THICK), (size[0] + THICK, size[1] + THICK, 0), Material(texture, repeat=repeat, anchored=True)
    )
    builder.box((-THICK, -THICK, size[2]), (size[0] + THICK, size[1] + THICK, size[2] + THICK), WHITE)
    if rng.uniform() < 0.5:
        beam = Material(pick(rng, ("oak", "walnut", "pale_wood")), repeat=0.9, grain=True)
        for x in np.arange(rng.uniform(0.5, 1.0), size[0], 1.15):
            builder.box((x, 0, size[2] - 0.18), (x + 0.14, size[1], size[2]), beam)


def _windows(rng: np.random.Generator, length: float) -> list[tuple[float, float, float, float]]:
    """Openings in a wall as (left, right, sill, head)."""
    width, sill, head = rng.uniform(1.1, 1.7), rng.uniform(0.75, 0.95), rng.uniform(2.15, 2.35)
    if rng.uniform() < 0.5 or length < 4.6:
        center = rng.uniform(-0.2, 0.2) * length
        return [(center - width / 2, center + width / 2, sill, head)]
    return [(c * length - width / 2, c * length + width / 2, sill, head) for c in (-0.25, 0.25)]


def _wall(frame: SceneBuilder, length: float, height: float, openings: list, material: Material) -> None:
    """Wall pieces between, under and over the openings; a skirting board and a cornice."""
    x, end = -length / 2 - THICK, length / 2 + THICK
    for left, right, sill, head in openings:
        frame.box((x, -THICK, 0), (left, 0, height), material)
        frame.box((left, -THICK, 0), (right, 0, sill), material)
        frame.box((left, -THICK, head), (right, 0, height), material)
        x = right
    frame.box((x, -THICK, 0), (end, 0, height), material)
    frame.box((-length / 2, 0, 0), (length / 2, 0.018, 0.10), Material("boards", (0.75, 0.74, 0.70), 0.8))
    frame.box((-length / 2, 0, height - 0.07), (length / 2, 0.05, height), WHITE)


def _window(frame: SceneBuilder, opening: tuple[float, float, float, float], height: float) -> None:
    """Frame and glazing bars in an opening, a sill, and what hangs and stands by it."""
    left, right, sill, head = opening
    paint, bar, y = Material("boards", (0.82, 0.81, 0.78), 0.5), 0.05, -0.2
    for x in (left, (left + right - bar) / 2, right - bar):
        frame.box((x, y, sill), (x + bar, y + 0.06, head), paint)
    for z in (sill, sill + 0.68 * (head - sill), head - bar):
        frame.box((left, y, z), (right, y + 0.06, z + bar), paint)
    frame.box(
        (left - 0.06, -0.14, sill - 0.03), (right + 0.06, 0.1, sill), Material("concrete", (0.9, 0.88, 0.85), 0.5)
    )
    rng, middle = frame.rng, (left + right) / 2
    if rng.uniform() < 0.7:
        for x in (left - 0.18, right + 0.18):
            furniture.curtain(frame.at(x, 0.0), 0.34, min(head + 0.15, height - 0.08))
        rod = Material("metal", (0.2, 0.18, 0.15), 0.3)
        z = min(head + 0.17, height - 0.06)
        frame.frustum((left - 0.45, 0.1, z), (right + 0.45, 0.1, z), (0.012, 0.012), rod)
    if rng.uniform() < 0.7:
        furniture.radiator(frame.at(middle, 0.0), 0.8 * (right - left))


def _furnish_wall(frame: SceneBuilder, length: float, openings: list, targets: list) -> list[np.ndarray]:
    """Furniture and pictures side by side along a wall; returns the bulbs of its lamps."""
    rng, bulbs = frame.rng, []
    x = -length / 2 + rng.uniform(0.1, 0.5)
    while x < length / 2 - 0.6:
        room = length / 2 - 0.1 - x
        for left, right, _, _ in openings:
            if right + 0.1 > x:
                room = min(room, left - 0.4 - x)
        if room < 0.5:
            x = next((right + 0.45 for left, right, _, _ in openings if left - 0.9 < x < right + 0.45), length)
            continue
        width, bulb, top = _piece(frame, x, room)
        bulbs += bulb
        targets.append(frame.world((x + width / 2, 0.2, rng.uniform(0.7, 1.3))))
        if top < 1.3 and rng.uniform() < 0.85:
            side = rng.uniform(0.40, 0.75)
            furniture.picture(frame.at(x + width / 2, 0.0, max(top + 0.35 + side / 2, 1.45)), side)
        x += width + rng.uniform(0.12, 0.6)
    return bulbs


def _piece(frame: SceneBuilder, x: float, room: float) -> tuple[float, list[np.ndarray], float]:
    """One piece of furniture from `x` on, in at most `room` metres: its width, bulbs and height."""
    rng = frame.rng
    kinds = [k for k, least in (("shelf", 0.8), ("sofa", 1.7), ("sideboard", 1.0), ("desk", 1.2)) if room >= least]
    kind = pick(rng, (*kinds, *kinds, "plant", "lamp", "crates", "armchair" if room > 0.95 else "plant", "gap"))
    if kind == "shelf":
        width, height = min(room, rng.uniform(0.8, 1.5)), rng.uniform(1.5, 2.2)
        furniture.shelf(frame.at(x + width / 2, 0.03), width, height)
        return width, [], height
    if kind in ("sofa", "armchair"):
        width = 0.95 if kind == "armchair" else min(room, rng.uniform(1.7, 2.2))
        furniture.sofa(frame.at(x + width / 2, 0.06), width)
        return width, [], 0.8
    if kind == "sideboard":
        width, height = min(room, rng.uniform(1.0, 1.8)), rng.uniform(0.6, 0.9)
        furniture.sideboard(frame.at(x + width / 2, 0.03), width, height)
        return width, [], height + 0.25
    if kind == "desk":
        return _desk(frame, x, min(room, rng.uniform(1.2, 1.6)))
    if kind == "plant":
        furniture.plant(frame.at(x + 0.3, 0.08), rng.uniform(0.8, 1.6))
        return 0.6, [], 2.0
    if kind == "lamp":
        return 0.5, [furniture.floor_lamp(frame.at(x + 0.25, 0.05))], 2.0
    if kind == "crates":
        furniture.crates(frame.at(x + 0.3, 0.05))
        return 0.85, [], 1.0
    return min(room, 0.7), [], 0.8


def _desk(frame: SceneBuilder, x: float, width: float) -> tuple[float, list[np.ndarray], float]:
    """A desk with a lamp, books and a chair."""
    rng, center = frame.rng, x + width / 2
    furniture.table(frame.at(center, 0.04), width, 0.6, 0.74)
    furniture.chair(frame.at(center + rng.uniform(-0.2, 0.2), 1.1, 0.0, math.pi + rng.uniform(-0.4, 0.4)))
    bulb = furniture.table_lamp(frame.at(x + 0.25, 0.25, 0.74))
    furniture.books(frame.at(0, 0.0, 0.74), center + 0.05, x + width - 0.1, 0.3)
    furniture.small_object(frame.at(center - 0.1, 0.38, 0.74), 0.07)
    return width, [bulb], 1.1


def _furnish_middle(builder: SceneBuilder, size: np.ndarray, targets: list) -> list[np.ndarray]:
    """A table with chairs or stools on a rug, off the middle, under a hanging lamp."""
    rng = builder.rng
    x, y = size[0] * rng.uniform(0.36, 0.64), size[1] * rng.uniform(0.36, 0.64)
    c = builder.at(x, y, 0.0, pick(rng, (0.0, math.pi / 2)) + rng.uniform(-0.12, 0.12))
    c.box(
        (-1.35, -0.95, 0),
        (1.35, 0.95, 0.012),
        Material("rug", pick(rng, ((0.9, 0.9, 0.9), (0.7, 0.8, 0.85))), fit=True),
    )
    targets += [c.world((0, 0, 0.7)), c.world((0.6, 0.3, 0.5)), c.world((-0.5, -0.3, 0.8))]
    if rng.uniform() < 0.6:
        length = rng.uniform(1.2, 1.6)
        furniture.table(c.at(0, -0.42), length, 0.84, 0.75)
        seats = [
            (sx * length / 4, sy * rng.uniform(0.62, 0.85), 0.0 if sy < 0 else math.pi)
            for sx in (-1, 1)
            for sy in (-1, 1)
        ]
        top = 0.75
    else:
        furniture.round_table(c.at(0, -0.5), 0.5, 0.72)
        seats = [(0.85 * math.cos(a), 0.85 * math.sin(a), a + math.pi / 2) for a in (0.5, 2.6, 4.6)]
        top = 0.72
    for sx, sy, turn in seats[: int(rng.integers(2, 5))]:
        back = furniture.chair if rng.uniform() < 0.8 else furniture.stool
        back(c.at(sx, sy, 0.0, turn + rng.uniform(-0.3, 0.3)).at(0, -0.21))
    furniture.fruit_bowl(c.at(rng.uniform(-0.1, 0.1), 0, top))
    furniture.small_object(c.at(0.32, 0.08, top), 0.08)
    return [furniture.pendant(builder.at(x, y, size[2]), size[2] - rng.uniform(2.0, 2.15))]


def _garden(builder: SceneBuilder, size: np.ndarray) -> None:
    """Lawn, bushes and small trees that the windows look out on."""
    rng = builder.rng
    builder.box((-45, -45, -2.0), (45, 45, -0.5), Material("grass", repeat=1.6, anchored=True))
    for number in range(14):
        angle = 2 * math.pi * (number + rng.uniform(0, 0.8)) / 14
        far = rng.uniform(8.0, 15.0)
        x, y = size[0] / 2 + far * math.cos(angle), size[1] / 2 + far * math.sin(angle)
        tall = rng.uniform(0.4, 3.2)
        builder.frustum((x, y, -0.5), (x, y, tall), (0.12, 0.07), Material("bark", repeat=0.5))
        leaf_cluster(builder, (x, y, tall), rng.uniform(1.0, 1.6), 9)
