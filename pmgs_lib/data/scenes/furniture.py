"""Furniture of the embedded rooms.

Each piece stands on z = 0 of the builder it is given, with its back along y = 0, its front towards +y and its middle at
x = 0. Lengths in metres. Pieces that give light return the world position of their bulb.
"""

import numpy as np

from pmgs_lib.data.scenes.geometry import Material, SceneBuilder, Vector
from pmgs_lib.data.scenes.textures import PHOTOS

WOODS = ("oak", "walnut", "pale_wood")
# Linear tints, all of them dull: saturated colours look like a toy.
CLOTHS = (
    (0.55, 0.50, 0.42),
    (0.30, 0.36, 0.42),
    (0.42, 0.33, 0.26),
    (0.36, 0.40, 0.33),
    (0.62, 0.60, 0.57),
    (0.45, 0.26, 0.21),
)
COVERS = (
    (0.36, 0.13, 0.10), (0.12, 0.20, 0.28), (0.16, 0.25, 0.17), (0.50, 0.42, 0.28), (0.60, 0.56, 0.48),
    (0.10, 0.11, 0.13), (0.42, 0.27, 0.16), (0.32, 0.38, 0.40), (0.55, 0.35, 0.14),
)  # fmt: skip
GLAZES = ((0.70, 0.68, 0.62), (0.22, 0.33, 0.40), (0.45, 0.24, 0.16), (0.20, 0.26, 0.20), (0.62, 0.50, 0.34))
BRASS = Material("metal", (0.50, 0.40, 0.24), 0.3)
IRON = Material("metal", (0.09, 0.09, 0.10), 0.3)
FOLIAGE = Material("leaves", (0.78, 0.80, 0.62), 0.6, rough=0.9)


def pick(rng: np.random.Generator, options: tuple) -> object:
    """One of the options, all equally likely."""
    return options[int(rng.integers(len(options)))]


def wood(rng: np.random.Generator) -> Material:
    """A wood whose fibres run along each piece."""
    return Material(pick(rng, WOODS), repeat=0.7, grain=True)


def cloth(rng: np.random.Generator) -> Material:
    return Material("fabric", pick(rng, CLOTHS), 0.45)


def ceramic(rng: np.random.Generator) -> Material:
    return Material("plaster", pick(rng, GLAZES), 0.25)


def table(b: SceneBuilder, length: float, depth: float, height: float) -> None:
    """A table of boards on four legs."""
    material, leg, top = wood(b.rng), 0.055, 0.04
    b.box((-length / 2, 0, height - top), (length / 2, depth, height), material)
    for x in (-length / 2 + 0.05, length / 2 - 0.05 - leg):
        for y in (0.05, depth - 0.05 - leg):
            b.box((x, y, 0), (x + leg, y + leg, height - top), material)
    for y in (0.06, depth - 0.08):
        b.box((-length / 2 + 0.1, y, height - 0.12), (length / 2 - 0.1, y + 0.02, height - top), material)


def round_table(b: SceneBuilder, radius: float, height: float) -> None:
    """A round table on one turned leg; its back touches y = 0."""
    material, c = wood(b.rng), b.at(0, radius)
    c.frustum((0, 0, height - 0.035), (0, 0, height), (radius * 0.97, radius), material)
    c.frustum((0, 0, 0.04), (0, 0, height - 0.035), (0.07, 0.04), material)
    c.frustum((0, 0, 0), (0, 0, 0.05), (0.45 * radius, 0.3 * radius), material)


def chair(b: SceneBuilder) -> None:
    """A chair with a slatted back; its back is at y = 0."""
    material, width, seat = wood(b.rng), 0.42, 0.45
    for x in (-width / 2, width / 2 - 0.035):
        b.box((x, 0, 0), (x + 0.035, 0.035, 0.92), material)
        b.box((x, width - 0.035, 0), (x + 0.035, width, seat), material)
    b.box((-width / 2, 0, seat - 0.03), (width / 2, width + 0.02, seat), material)
    b.box((-width / 2 + 0.02, 0.03, seat), (width / 2 - 0.02, width, seat + 0.045), cloth(b.rng))
    if b.rng.uniform() < 0.5:
        for z in (0.60, 0.72, 0.84):
            b.box((-width / 2 + 0.035, 0.006, z), (width / 2 - 0.035, 0.026, z + 0.065), material)
    else:
        b.box((-width / 2 + 0.03, 0.004, 0.86), (width / 2 - 0.03, 0.028, 0.92), material)
        for x in np.linspace(-width / 2 + 0.085, width / 2 - 0.085, 4):
            b.box((x - 0.011, 0.008, seat), (x + 0.011, 0.022, 0.87), material)


def stool(b: SceneBuilder) -> None:
    material = wood(b.rng)
    b.frustum((0, 0.2, 0.44), (0, 0.2, 0.48), (0.17, 0.18), material)
    for x, y in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        b.frustum((0.15 * x, 0.2 + 0.15 * y, 0), (0.09 * x, 0.2 + 0.09 * y, 0.45), (0.016, 0.02), material)


def sofa(b: SceneBuilder, width: float) -> None:
    """A sofa, or an armchair when it is narrow."""
    fabric, depth = cloth(b.rng), 0.85
    seats = max(1, round((width - 0.36) / 0.62))
    b.box((-width / 2, 0, 0.10), (width / 2, depth, 0.28), fabric)
    b.box((-width / 2, 0, 0.28), (width / 2, 0.2, 0.80), fabric)
    for x in (-width / 2, width / 2 - 0.16):
        b.box((x, 0.2, 0.28), (x + 0.16, depth, 0.58), fabric)
        for y in (0.05, depth - 0.1):
            b.frustum((x + 0.08, y + 0.02, 0), (x + 0.08, y + 0.02, 0.10), (0.018, 0.028), IRON)
    step = (width - 0.32) / seats
    for seat in range(seats):
        x = -width / 2 + 0.16 + seat * step
        b.box((x + 0.01, 0.2, 0.28), (x + step - 0.01, depth + 0.02, 0.42), fabric)
        b.box((x + 0.015, 0.2, 0.43), (x + step - 0.015, 0.34, 0.76), fabric)
        if b.rng.uniform() < 0.6:
            center = (x + step * b.rng.uniform(0.35, 0.65), 0.42, 0.57)
            b.at(*center, b.rng.uniform(-0.4, 0.4)).ellipsoid((0, 0, 0), (0.21, 0.08, 0.17), cloth(b.rng))


def books(b: SceneBuilder, left: float, right: float, room: float) -> None:
    """Upright books from `left` to `right`, with at most `room` above them."""
    x = left
    while x < right - 0.07:
        thick, tall = b.rng.uniform(0.025, 0.06), min(b.rng.uniform(0.19, 0.29), room)
        cover = Material("books", pick(b.rng, COVERS), 0.34, grain=True)
        b.box((x, 0.04, 0), (x + thick - 0.003, 0.04 + b.rng.uniform(0.15, 0.21), tall), cover)
        x += thick


def shelf(b: SceneBuilder, width: float, height: float) -> None:
    """An open bookshelf with books, vases and boxes."""
    material, depth, board = wood(b.rng), 0.30, 0.028
    floors = int(height / 0.36)
    for x in (-width / 2, width / 2 - board):
        b.box((x, 0, 0), (x + board, depth, height), material)
    b.box((-width / 2, 0, 0.05), (width / 2, 0.015, height), material)
    inner = (height - 0.06) / floors
    for floor in range(floors + 1):
        z = 0.06 + floor * inner - board
        b.box((-width / 2 + board, 0.015, z), (width / 2 - board, depth, z + board), material)
        if floor == floors:
            break
        level, left, right = b.at(0, 0, z + board), -width / 2 + 0.04, width / 2 - 0.04
        split = left + (right - left) * b.rng.uniform(0.35, 0.9)
        books(level, left, split, inner - board - 0.03)
        if right - split > 0.26:
            small_object(level.at((split + right) / 2, 0.16), min(0.1, inner / 4))


def small_object(b: SceneBuilder, scale: float) -> None:
    """A vase, ball, box or pile of books on a surface, about 2 `scale` wide; centred on the builder."""
    choice = int(b.rng.integers(4))
    if choice == 0:
        glaze = ceramic(b.rng)
        b.frustum((0, 0, 0), (0, 0, scale), (0.5 * scale, 0.95 * scale), glaze)
        b.frustum((0, 0, scale), (0, 0, 2.1 * scale), (0.95 * scale, 0.35 * scale), glaze)
    elif choice == 1:
        b.ellipsoid((0, 0, 0.9 * scale), (0.9 * scale,) * 3, ceramic(b.rng))
    elif choice == 2:
        b.at(0, 0, 0, b.rng.uniform(-0.5, 0.5)).box((-scale, -0.7 * scale, 0), (scale, 0.7 * scale, scale), wood(b.rng))
    else:
        for number in range(3):
            cover, pile = (
                Material("books", pick(b.rng, COVERS), 0.34),
                b.at(0, 0, 0.04 * number, b.rng.uniform(-0.4, 0.4)),
            )
            pile.box((-1.1 * scale, -0.8 * scale, 0), (1.1 * scale, 0.8 * scale, 0.038), cover)


def fruit_bowl(b: SceneBuilder) -> None:
    b.frustum((0, 0, 0), (0, 0, 0.07), (0.07, 0.16), ceramic(b.rng))
    for number in range(5):
        angle = 1.257 * number
        tint = pick(b.rng, ((0.55, 0.20, 0.10), (0.60, 0.42, 0.12), (0.36, 0.42, 0.14)))
        center = (0.08 * np.cos(angle), 0.08 * np.sin(angle), 0.09)
        b.ellipsoid(center, (0.045, 0.045, 0.042), Material("plaster", tint, 0.12))


def sideboard(b: SceneBuilder, width: float, height: float) -> None:
    """A cupboard with doors on short legs and things on top."""
    body, depth = wood(b.rng), 0.42
    doors = max(2, round(width / 0.48))
    front = Material("panel", pick(b.rng, ((0.75, 0.73, 0.68), (0.35, 0.42, 0.42), (0.55, 0.44, 0.32))), fit=True)
    b.box((-width / 2, 0.01, 0.12), (width / 2, depth, height), body)
    b.box((-width / 2 - 0.02, 0, height), (width / 2 + 0.02, depth + 0.03, height + 0.03), body)
    for number in range(doors):
        x = -width / 2 + number * width / doors
        b.box((x + 0.012, depth, 0.14), (x + width / doors - 0.012, depth + 0.018, height - 0.02), front)
        b.ellipsoid((x + width / doors * 0.85, depth + 0.035, 0.55 * height), (0.014, 0.02, 0.014), BRASS)
    for x in (-width / 2 + 0.08, width / 2 - 0.08):
        for y in (0.08, depth - 0.06):
            b.frustum((x, y, 0), (x, y, 0.12), (0.014, 0.024), body)
    for x in np.arange(-width / 2 + 0.22, width / 2 - 0.15, 0.42):
        if b.rng.uniform() < 0.75:
            small_object(b.at(x, 0.2, height + 0.03), b.rng.uniform(0.08, 0.13))


def picture(b: SceneBuilder, side: float) -> None:
    """A framed square photo that hangs with its middle on the builder's origin."""
    frame, bar = pick(b.rng, (wood(b.rng), IRON, BRASS)), 0.035
    half, outer = side / 2, side / 2 + bar
    mount = Material("plaster", (0.86, 0.84, 0.80), 0.4)
    photo = 0.80 * half if b.rng.uniform() < 0.5 else half
    b.box((-half, 0.002, -half), (half, 0.016, half), mount)
    b.box((-photo, 0.004, -photo), (photo, 0.020, photo), Material(pick(b.rng, PHOTOS), (0.80, 0.80, 0.80), fit=True))
    for end in (-outer, half):
        b.box((end, 0, -outer), (end + bar, 0.035, outer), frame)
        b.box((-half, 0, end), (half, 0.035, end + bar), frame)


def floor_lamp(b: SceneBuilder) -> np.ndarray:
    """A lamp on a thin pole; returns its bulb."""
    metal, c = pick(b.rng, (BRASS, IRON)), b.at(0, 0.25)
    c.frustum((0, 0, 0), (0, 0, 0.025), (0.15, 0.14), metal)
    c.frustum((0, 0, 0.025), (0, 0, 1.45), (0.012, 0.012), metal)
    c.frustum((0, 0, 1.42), (0, 0, 1.70), (0.21, 0.14), Material("fabric", (0.90, 0.80, 0.62), 0.3, emission=0.45))
    return c.world((0.05, 0.0, 1.38))


def table_lamp(b: SceneBuilder) -> np.ndarray:
    """A lamp on a round foot, centred on the builder; returns its bulb."""
    b.ellipsoid((0, 0, 0.09), (0.085, 0.085, 0.09), ceramic(b.rng))
    b.frustum((0, 0, 0.17), (0, 0, 0.27), (0.01, 0.01), BRASS)
    b.frustum((0, 0, 0.25), (0, 0, 0.44), (0.15, 0.10), Material("fabric", (0.90, 0.80, 0.62), 0.3, emission=0.45))
    return b.world((0.0, 0.03, 0.235))


def pendant(b: SceneBuilder, drop: float) -> np.ndarray:
    """A lamp that hangs `drop` below the builder's origin; returns its bulb."""
    b.frustum((0, 0, -drop), (0, 0, 0), (0.006, 0.006), IRON)
    shade = Material("metal", pick(b.rng, ((0.55, 0.53, 0.48), (0.16, 0.20, 0.20), (0.42, 0.30, 0.18))), 0.4)
    b.frustum((0, 0, -drop - 0.18), (0, 0, -drop), (0.24, 0.06), shade)
    b.ellipsoid((0, 0, -drop - 0.18), (0.06, 0.06, 0.06), Material("plaster", (1.0, 0.9, 0.75), 0.2, emission=0.8))
    return b.world((0, 0, -drop - 0.26))


def plant(b: SceneBuilder, height: float) -> None:
    """A pot with thin stems and a crown of leaves; its middle is 0.25 from the back."""
    c, pot = b.at(0, 0.28), 0.26 * min(1.0, height / 1.2) + 0.06
    c.frustum((0, 0, 0), (0, 0, pot), (0.10, 0.15), Material("rough_plaster", pick(b.rng, GLAZES), 0.4))
    c.frustum((0, 0, pot), (0, 0, pot + 0.005), (0.135, 0.135), Material("gravel", (0.25, 0.2, 0.16), 0.3))
    for _ in range(7):
        lean = b.rng.uniform(-0.22, 0.22, 2)
        tip = (lean[0], lean[1], b.rng.uniform(0.65, 1.0) * height)
        c.frustum((0.2 * lean[0], 0.2 * lean[1], pot), tip, (0.008, 0.006), Material("bark", (0.6, 0.75, 0.4), 0.3))
        leaf_cluster(c, tip, 0.14, 5)


def leaf_cluster(b: SceneBuilder, center: Vector, radius: float, count: int) -> None:
    """Overlapping leafy ellipsoids around a point."""
    tone = b.rng.uniform(0.8, 1.15) * np.array([b.rng.uniform(0.85, 1.15), 1.0, b.rng.uniform(0.8, 1.1)])
    for _ in range(count):
        spread = b.rng.uniform(-0.75, 0.75, 3) * radius
        radii = radius * b.rng.uniform(0.28, 0.62, 3)
        b.ellipsoid(np.asarray(center) + spread, radii, FOLIAGE.tinted(tone * b.rng.uniform(0.85, 1.1)))


def crates(b: SceneBuilder) -> None:
    """Two or three wooden crates, and a ball beside them."""
    z = 0.0
    for number in range(int(b.rng.integers(2, 4))):
        side, turn = b.rng.uniform(0.34, 0.46) - 0.06 * number, b.rng.uniform(-0.35, 0.35)
        crate = b.at(0, 0.32, z, turn)
        crate.box((-side / 2, -side / 2, 0), (side / 2, side / 2, side), Material("boards", (0.72, 0.58, 0.42), side))
        z += side
    b.ellipsoid((0.42, 0.3, 0.13), (0.13, 0.13, 0.13), Material("fabric", pick(b.rng, CLOTHS), 0.25))


def radiator(b: SceneBuilder, width: float) -> None:
    """A column radiator: thin upright ribs."""
    paint = Material("metal", (0.78, 0.77, 0.74), 0.3)
    for x in np.arange(-width / 2, width / 2, 0.075):
        b.box((x, 0.04, 0.10), (x + 0.045, 0.14, 0.66), paint)
    for z in (0.16, 0.58):
        b.box((-width / 2, 0.07, z), (width / 2, 0.11, z + 0.04), paint)


def curtain(b: SceneBuilder, width: float, height: float) -> None:
    """Cloth in folds hanging from `height` to the floor."""
    fabric = cloth(b.rng)
    for x in np.arange(-width / 2, width / 2, 0.07):
        b.frustum((x, 0.1, 0.02), (x + b.rng.uniform(-0.015, 0.015), 0.1, height), (0.05, 0.042), fabric)
