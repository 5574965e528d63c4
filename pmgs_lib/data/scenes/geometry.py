"""Building an embedded scene from primitives with materials, and the tree that makes its rays fast.

World frame of the embedded scenes: metres, z up, floor or road at z = 0, right-handed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pmgs_lib.data.scenes.ray_kernels import STACK_DEPTH
from pmgs_lib.data.scenes.shape_kernels import BOX, ELLIPSOID, FRUSTUM, Geometry
from pmgs_lib.data.scenes.surface_kernels import Surface
from pmgs_lib.data.scenes.textures import texture_atlas

Number = float | int
Vector = Sequence[Number] | np.ndarray


@dataclass(frozen=True)
class Material:
    """A texture and how it lies on a primitive.

    texture: a name in `scene_textures.TEXTURES`. tint: linear colour it is multiplied by. repeat: metres that one
    texture repeat covers. fit: the texture covers each face of a box exactly once, as a picture does. anchored: the
    texture is fixed in the world, so that it runs on over neighbouring primitives. grain: u runs along the longest side
    of a box. emission: light given off, relative to a fully lit white surface. rough: see `Surface.rough`.
    """

    texture: str
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    repeat: float = 1.0
    fit: bool = False
    anchored: bool = False
    grain: bool = False
    emission: float = 0.0
    rough: float = 0.0

    def tinted(self, tint: Vector) -> "Material":
        """This material multiplied by a colour."""
        return replace(self, tint=tuple(float(a * b) for a, b in zip(self.tint, tint, strict=True)))


class SceneBuilder:
    """Collects primitives in a frame of its own: an origin in the world and a turn about the vertical."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.origin, self.yaw = np.zeros(3), 0.0
        self._rows: list[dict] = []

    def at(self, x: Number, y: Number, z: Number = 0.0, yaw: Number = 0.0) -> "SceneBuilder":
        """A builder of the same scene with its origin here, turned by `yaw` (radians, counter-clockwise)."""
        child = SceneBuilder(self.rng)
        child.origin = self.origin + _turn(self.yaw) @ np.array([x, y, z])
        child.yaw = self.yaw + yaw
        child._rows = self._rows
        return child

    def world(self, point: Vector) -> np.ndarray:
        """World position of a point in this builder's frame."""
        return self.origin + _turn(self.yaw) @ np.asarray(point, dtype=float)

    def box(self, low: Vector, high: Vector, material: Material, yaw: Number = 0.0) -> None:
        """A box from its lowest to its highest corner, turned by `yaw` about its own middle."""
        low, high = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
        rotation = (_turn(self.yaw) @ _turn(yaw)).T
        self._add(BOX, (low + high) / 2, rotation, (high - low) / 2, material)

    def ellipsoid(self, center: Vector, radii: Vector, material: Material) -> None:
        """An ellipsoid with radii along this builder's axes."""
        self._add(ELLIPSOID, center, _turn(self.yaw).T, radii, material)

    def frustum(self, bottom: Vector, top: Vector, radii: tuple[float, float], material: Material) -> None:
        """A cone frustum (cylinder at equal radii) between the centres of its bottom and top faces."""
        bottom, top = np.asarray(bottom, dtype=float), np.asarray(top, dtype=float)
        length = float(np.linalg.norm(top - bottom))
        rotation = _aligned((top - bottom) / length) @ _turn(self.yaw).T
        self._add(FRUSTUM, (bottom + top) / 2, rotation, (*radii, length / 2), material)

    def _add(self, kind: int, center: Vector, rotation: np.ndarray, size: Vector, material: Material) -> None:
        size = np.asarray(size, dtype=float)
        world = self.world(center)
        grain = int(np.argmax(size)) if material.grain else 0
        if material.fit:
            anchor, across = np.zeros(3), _face_sides(size)
            mapping = (1 / across[0], 1 / across[1], 0.5, 0.5)
        else:
            anchor = rotation @ world if material.anchored else self.rng.uniform(0.0, 50.0, 3)
            mapping = (1 / material.repeat, 1 / material.repeat, 0.0, 0.0)
        if kind != BOX:  # a whole number of repeats around, so that there is no seam
            around = 2 * math.pi * (size[0] if kind == ELLIPSOID else max(size[0], size[1]))
            mapping = (max(1.0, round(around * mapping[0])) / around, *mapping[1:])
        self._rows.append(
            {
                "kind": kind, "center": world, "rotation": rotation, "size": size,
                "texture": material.texture, "tint": material.tint, "mapping": mapping,
                "anchor": anchor, "grain": grain, "emission": material.emission, "rough": material.rough,
            }
        )  # fmt: skip

    def build(self) -> tuple[Geometry, Surface]:
        """The arrays that the kernels read."""
        column = {name: np.array([row[name] for row in self._rows]) for name in self._rows[0]}
        textures, column["texture"] = np.unique(column["texture"], return_inverse=True)
        lower, upper = bounds(column["kind"], column["center"], column["rotation"], column["size"])
        node_box, node_children = build_tree(lower, upper)
        geometry = Geometry(*(np.ascontiguousarray(column[n]) for n in Geometry._fields[:4]), node_box, node_children)
        atlas = texture_atlas(tuple(str(name) for name in textures))
        return geometry, Surface(atlas, *(np.ascontiguousarray(column[n], dtype=t) for n, t in _SURFACE_TYPES))


_SURFACE_TYPES = (
    ("texture", np.int64), ("tint", np.float64), ("mapping", np.float64),
    ("anchor", np.float64), ("grain", np.int64), ("emission", np.float64), ("rough", np.float64),
)  # fmt: skip


def _turn(yaw: float) -> np.ndarray:
    c, s = math.cos(yaw), math.sin(yaw)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _aligned(axis: np.ndarray) -> np.ndarray:
    """A rotation that takes the unit vector `axis` to z."""
    helper = np.array([1.0, 0.0, 0.0]) if abs(axis[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    y = np.cross(axis, helper)
    y /= np.linalg.norm(y)
    return np.stack([np.cross(y, axis), y, axis])


def _face_sides(size: np.ndarray) -> tuple[float, float]:
    """Width and height (metres) of the largest face of a box of half extents `size`, for a fitted picture."""
    thin = int(np.argmin(size))
    across, down = ((1, 2), (0, 2), (0, 1))[thin]
    return 2 * size[across], 2 * size[down]


def bounds(
    kind: np.ndarray, center: np.ndarray, rotation: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corners of the axis-aligned boxes around primitives, each (primitive 3)."""
    extent = size.copy()
    frustum = kind == FRUSTUM
    radius = np.maximum(size[frustum, 0], size[frustum, 1])
    extent[frustum, 0] = extent[frustum, 1] = radius
    local = extent[:, :, None] * rotation
    reach = np.abs(local).sum(axis=1)
    round_reach = np.sqrt((local**2).sum(axis=1))
    reach[kind == ELLIPSOID] = round_reach[kind == ELLIPSOID]
    return center - reach, center + reach


def build_tree(lower: np.ndarray, upper: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A binary tree over boxes, split where the summed surface area is least (Goldsmith and Salmon 1987).

    Returns node boxes (node 6) and children (node 2); the root is node 0, leaves hold -1 - primitive.
    """
    boxes: list[np.ndarray] = []
    children: list[tuple[int, int]] = []

    def grow(members: np.ndarray) -> int:
        """Adds the node of some primitives and all below it; returns how deep that goes."""
        node, depth = len(boxes), 1
        boxes.append(np.concatenate([lower[members].min(axis=0), upper[members].max(axis=0)]))
        children.append((-1 - int(members[0]), -1))
        if len(members) > 1:
            left, right = _split(members, lower[members], upper[members])
            below = grow(left)
            children[node] = (node + 1, len(boxes))
            depth += max(below, grow(right))
        return depth

    depth = grow(np.arange(len(lower)))
    assert depth < STACK_DEPTH, f"tree of {len(lower)} primitives is {depth} deep, rays remember {STACK_DEPTH}"  # noqa: S101
    return np.array(boxes), np.array(children, dtype=np.int64)


def _split(members: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    best_cost, best = math.inf, (members[:1], members[1:])
    if len(members) == 2:
        return best
    count = np.arange(1, len(members))
    for axis in range(3):
        order = np.argsort(lower[:, axis] + upper[:, axis], kind="stable")
        left = _area(np.minimum.accumulate(lower[order]), np.maximum.accumulate(upper[order]))
        right = _area(np.minimum.accumulate(lower[order[::-1]]), np.maximum.accumulate(upper[order[::-1]]))[::-1]
        cost = left[:-1] * count + right[1:] * count[::-1]
        place = int(np.argmin(cost))
        if cost[place] < best_cost:
            best_cost, best = cost[place], (members[order[: place + 1]], members[order[place + 1 :]])
    return best


def _area(lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    x, y, z = (upper - lower).T
    return x * y + y * z + z * x
