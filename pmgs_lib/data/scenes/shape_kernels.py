"""Compiled mathematics of the primitives that embedded scenes are made of: boxes, ellipsoids and cone frustums.

A ray is `origin + t * direction` with a direction of any length. Every primitive is described in its own frame:
`rotation` takes world vectors there, `center` is its origin.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

BOX, ELLIPSOID, FRUSTUM = 0, 1, 2
NOTHING = math.inf  # where a ray meets what it misses


class Geometry(NamedTuple):
    """Primitives and their tree; `size` holds half extents, radii, or (bottom radius, top radius, half height)."""

    kind: np.ndarray  # primitive, int64
    center: np.ndarray  # primitive 3
    rotation: np.ndarray  # primitive 3 3, local_from_world
    size: np.ndarray  # primitive 3
    node_box: np.ndarray  # node 6: lower corner, upper corner
    node_children: np.ndarray  # node 2, int64; a leaf has (-1 - primitive, -1)


@njit(cache=True, error_model="numpy", forceinline=True)
def add_scaled(a, b, factor):
    return (a[0] + b[0] * factor, a[1] + b[1] * factor, a[2] + b[2] * factor)


@njit(cache=True, error_model="numpy", forceinline=True)
def dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@njit(cache=True, error_model="numpy", forceinline=True)
def vector(array, row):
    """A row of an array (n 3) as a tuple; slices of arrays are counted references and cost more than all arithmetic."""
    return (array[row, 0], array[row, 1], array[row, 2])


@njit(cache=True, error_model="numpy", forceinline=True)
def to_local(geometry, primitive, v):
    """A world vector in the frame of a primitive."""
    r = geometry.rotation
    return (
        r[primitive, 0, 0] * v[0] + r[primitive, 0, 1] * v[1] + r[primitive, 0, 2] * v[2],
        r[primitive, 1, 0] * v[0] + r[primitive, 1, 1] * v[1] + r[primitive, 1, 2] * v[2],
        r[primitive, 2, 0] * v[0] + r[primitive, 2, 1] * v[1] + r[primitive, 2, 2] * v[2],
    )


@njit(cache=True, error_model="numpy", forceinline=True)
def to_world(geometry, primitive, v):
    """A vector of a primitive's frame in the world."""
    r = geometry.rotation
    return (
        r[primitive, 0, 0] * v[0] + r[primitive, 1, 0] * v[1] + r[primitive, 2, 0] * v[2],
        r[primitive, 0, 1] * v[0] + r[primitive, 1, 1] * v[1] + r[primitive, 2, 1] * v[2],
        r[primitive, 0, 2] * v[0] + r[primitive, 1, 2] * v[1] + r[primitive, 2, 2] * v[2],
    )


@njit(cache=True, error_model="numpy", forceinline=True)
def first_positive(near, far):
    if near > 0.0:
        return near
    return far if far > 0.0 else NOTHING


@njit(cache=True, error_model="numpy", forceinline=True)
def _meet_box(origin, direction, size):
    near, far = -NOTHING, NOTHING
    for axis in range(3):
        inverse = 1.0 / direction[axis]
        a = (-size[axis] - origin[axis]) * inverse
        b = (size[axis] - origin[axis]) * inverse
        near = max(near, min(a, b))
        far = min(far, max(a, b))
    return first_positive(near, far) if near <= far else NOTHING


@njit(cache=True, error_model="numpy", forceinline=True)
def _meet_ellipsoid(origin, direction, size):
    o = (origin[0] / size[0], origin[1] / size[1], origin[2] / size[2])
    d = (direction[0] / size[0], direction[1] / size[1], direction[2] / size[2])
    a, b = dot(d, d), dot(o, d)
    discriminant = b * b - a * (dot(o, o) - 1.0)
    if discriminant <= 0.0:
        return NOTHING
    root = math.sqrt(discriminant)
    return first_positive((-b - root) / a, (-b + root) / a)


@njit(cache=True, error_model="numpy", forceinline=True)
def _meet_frustum(origin, direction, size):
    """Side: x² + y² = (middle + slope z)², |z| <= half height; and the two caps."""
    half = size[2]
    slope = (size[1] - size[0]) / (2.0 * half)
    radius = 0.5 * (size[0] + size[1]) + slope * origin[2]
    change = slope * direction[2]
    a = direction[0] * direction[0] + direction[1] * direction[1] - change * change
    b = origin[0] * direction[0] + origin[1] * direction[1] - radius * change
    c = origin[0] * origin[0] + origin[1] * origin[1] - radius * radius
    best = NOTHING
    discriminant = b * b - a * c
    if discriminant > 0.0:
        root = math.sqrt(discriminant)
        for t in ((-b - root) / a, (-b + root) / a):
            if 0.0 < t < best and abs(origin[2] + t * direction[2]) <= half and radius + t * change >= 0.0:
                best = t
    for end in range(2):
        t = ((2 * end - 1) * half - origin[2]) / direction[2]
        if 0.0 < t < best:
            x, y = origin[0] + t * direction[0], origin[1] + t * direction[1]
            if x * x + y * y <= size[end] * size[end]:
                best = t
    return best


@njit(cache=True, error_model="numpy", forceinline=True)
def meet_primitive(geometry, primitive, origin, direction):
    o = to_local(geometry, primitive, add_scaled(origin, vector(geometry.center, primitive), -1.0))
    d, size = to_local(geometry, primitive, direction), vector(geometry.size, primitive)
    kind = geometry.kind[primitive]
    if kind == BOX:
        return _meet_box(o, d, size)
    if kind == ELLIPSOID:
        return _meet_ellipsoid(o, d, size)
    return _meet_frustum(o, d, size)


@njit(cache=True, error_model="numpy", forceinline=True)
def contains(geometry, primitive, point):
    p = to_local(geometry, primitive, add_scaled(point, vector(geometry.center, primitive), -1.0))
    size, kind = vector(geometry.size, primitive), geometry.kind[primitive]
    if kind == BOX:
        return abs(p[0]) <= size[0] and abs(p[1]) <= size[1] and abs(p[2]) <= size[2]
    if kind == ELLIPSOID:
        return (p[0] / size[0]) ** 2 + (p[1] / size[1]) ** 2 + (p[2] / size[2]) ** 2 <= 1.0
    radius = 0.5 * (size[0] + size[1]) + (size[1] - size[0]) / (2.0 * size[2]) * p[2]
    return abs(p[2]) <= size[2] and p[0] ** 2 + p[1] ** 2 <= radius * radius


@njit(cache=True, error_model="numpy", forceinline=True)
def surface_normal(kind, size, local):
    """Outward unit normal of a primitive at a point on it, both in the primitive's frame."""
    if kind == BOX:
        x, y, z = local[0] / size[0], local[1] / size[1], local[2] / size[2]
        if abs(x) >= abs(y) and abs(x) >= abs(z):
            return (math.copysign(1.0, x), 0.0, 0.0)
        if abs(y) >= abs(z):
            return (0.0, math.copysign(1.0, y), 0.0)
        return (0.0, 0.0, math.copysign(1.0, z))
    if kind == ELLIPSOID:
        n = (local[0] / size[0] ** 2, local[1] / size[1] ** 2, local[2] / size[2] ** 2)
        return add_scaled((0.0, 0.0, 0.0), n, 1.0 / math.sqrt(dot(n, n)))
    if size[2] - abs(local[2]) < 1e-9 * (1.0 + size[2]):
        return (0.0, 0.0, math.copysign(1.0, local[2]))
    slope = (size[1] - size[0]) / (2.0 * size[2])
    radial = math.sqrt(local[0] * local[0] + local[1] * local[1])
    scale = 1.0 / math.sqrt(1.0 + slope * slope)
    return (local[0] / radial * scale, local[1] / radial * scale, -slope * scale)
