"""Compiled ray casting for the embedded scenes: where rays meet boxes, ellipsoids and cone frustums.

A ray is `origin + t * direction` with a direction of any length. Camera rays have z = 1 in the camera frame, so their
`t` is z-depth. Every primitive is described in its own frame: `rotation` takes world vectors there, `center` is its
origin. Primitives are found through a binary tree of axis-aligned boxes.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit, prange

BOX, ELLIPSOID, FRUSTUM = 0, 1, 2
DOME = -1  # "primitive" of a ray that meets nothing but the sky dome
DOME_RADIUS = 30.0
NOTHING = math.inf
STACK_DEPTH = 64
# Rays leave a surface from this far above it (metres); thinner than anything we build.
LIFT = 1e-4


class Geometry(NamedTuple):
    """Primitives and their tree; `size` holds half extents, radii, or (bottom radius, top radius, half height)."""

    kind: np.ndarray  # primitive, int64
    center: np.ndarray  # primitive 3
    rotation: np.ndarray  # primitive 3 3, local_from_world
    size: np.ndarray  # primitive 3
    node_box: np.ndarray  # node 6: lower corner, upper corner
    node_children: np.ndarray  # node 2, int64; a leaf has (-1 - primitive, -1)


class Stack(NamedTuple):
    """Nodes still to visit, and where the ray enters them; one for each thread."""

    nodes: np.ndarray  # int64
    enter: np.ndarray


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
def _first_positive(near, far):
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
    return _first_positive(near, far) if near <= far else NOTHING


@njit(cache=True, error_model="numpy", forceinline=True)
def _meet_ellipsoid(origin, direction, size):
    o = (origin[0] / size[0], origin[1] / size[1], origin[2] / size[2])
    d = (direction[0] / size[0], direction[1] / size[1], direction[2] / size[2])
    a, b = dot(d, d), dot(o, d)
    discriminant = b * b - a * (dot(o, o) - 1.0)
    if discriminant <= 0.0:
        return NOTHING
    root = math.sqrt(discriminant)
    return _first_positive((-b - root) / a, (-b + root) / a)


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
def _meet_primitive(geometry, primitive, origin, direction):
    o = to_local(geometry, primitive, add_scaled(origin, vector(geometry.center, primitive), -1.0))
    d, size = to_local(geometry, primitive, direction), vector(geometry.size, primitive)
    kind = geometry.kind[primitive]
    if kind == BOX:
        return _meet_box(o, d, size)
    if kind == ELLIPSOID:
        return _meet_ellipsoid(o, d, size)
    return _meet_frustum(o, d, size)


@njit(cache=True, error_model="numpy", forceinline=True)
def _meet_node(boxes, node, origin, inverse):
    """Where the ray enters a tree node (0 inside it), or NOTHING."""
    near, far = 0.0, NOTHING
    for axis in range(3):
        a = (boxes[node, axis] - origin[axis]) * inverse[axis]
        b = (boxes[node, axis + 3] - origin[axis]) * inverse[axis]
        near = max(near, min(a, b))
        far = min(far, max(a, b))
    return near if near <= far else NOTHING


@njit(cache=True, error_model="numpy", forceinline=True)
def _meet_dome(origin, direction):
    a, b = dot(direction, direction), dot(origin, direction)
    return (-b + math.sqrt(b * b - a * (dot(origin, origin) - DOME_RADIUS * DOME_RADIUS))) / a


@njit(cache=True, error_model="numpy", forceinline=True)
def nearest_hit(geometry, stack, origin, direction, guess):
    """(t, primitive) of the first surface on the ray from inside the dome; the dome itself closes every scene.

    `guess` is the primitive met by a neighbouring ray, or DOME: trying it first spares most of the tree.
    """
    best, found = _meet_dome(origin, direction), DOME
    if guess != DOME:
        t = _meet_primitive(geometry, guess, origin, direction)
        if t < best:
            best, found = t, guess
    inverse = (1.0 / direction[0], 1.0 / direction[1], 1.0 / direction[2])
    stack.nodes[0], stack.enter[0], depth = 0, 0.0, 1
    while depth > 0:
        depth -= 1
        node = stack.nodes[depth]
        if stack.enter[depth] >= best:
            continue
        left, right = geometry.node_children[node, 0], geometry.node_children[node, 1]
        if left < 0:
            t = _meet_primitive(geometry, -1 - left, origin, direction)
            if t < best:
                best, found = t, -1 - left
            continue
        enter_left = _meet_node(geometry.node_box, left, origin, inverse)
        enter_right = _meet_node(geometry.node_box, right, origin, inverse)
        if enter_left > enter_right:  # the nearer child is pushed last and visited first
            left, right, enter_left, enter_right = right, left, enter_right, enter_left
        if enter_right < best:
            stack.nodes[depth], stack.enter[depth] = right, enter_right
            depth += 1
        if enter_left < best:
            stack.nodes[depth], stack.enter[depth] = left, enter_left
            depth += 1
    return best, found


@njit(cache=True, error_model="numpy", forceinline=True)
def is_blocked(geometry, stack, origin, direction, limit):
    """Whether any primitive lies on the ray before `limit`: shadow rays need no more."""
    inverse = (1.0 / direction[0], 1.0 / direction[1], 1.0 / direction[2])
    stack.nodes[0], depth = 0, 1
    while depth > 0:
        depth -= 1
        node = stack.nodes[depth]
        for side in range(2):
            child = geometry.node_children[node, side]
            if _meet_node(geometry.node_box, child, origin, inverse) >= limit:
                continue
            leaf = -1 - geometry.node_children[child, 0]
            if leaf < 0:
                stack.nodes[depth] = child
                depth += 1
            elif _meet_primitive(geometry, leaf, origin, direction) < limit:
                return True
    return False


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


@njit(cache=True, error_model="numpy", forceinline=True)
def is_inside(geometry, stack, point):
    """Whether a point lies within any primitive."""
    stack.nodes[0], depth = 0, 1
    while depth > 0:
        depth -= 1
        node = stack.nodes[depth]
        outside, box = False, geometry.node_box
        for axis in range(3):
            outside |= point[axis] < box[node, axis] or point[axis] > box[node, axis + 3]
        if outside:
            continue
        left, right = geometry.node_children[node, 0], geometry.node_children[node, 1]
        if left < 0:
            if _contains(geometry, -1 - left, point):
                return True
            continue
        stack.nodes[depth], stack.nodes[depth + 1] = right, left
        depth += 2
    return False


@njit(cache=True, error_model="numpy", forceinline=True)
def _contains(geometry, primitive, point):
    p = to_local(geometry, primitive, add_scaled(point, vector(geometry.center, primitive), -1.0))
    size, kind = vector(geometry.size, primitive), geometry.kind[primitive]
    if kind == BOX:
        return abs(p[0]) <= size[0] and abs(p[1]) <= size[1] and abs(p[2]) <= size[2]
    if kind == ELLIPSOID:
        return (p[0] / size[0]) ** 2 + (p[1] / size[1]) ** 2 + (p[2] / size[2]) ** 2 <= 1.0
    radius = 0.5 * (size[0] + size[1]) + (size[1] - size[0]) / (2.0 * size[2]) * p[2]
    return abs(p[2]) <= size[2] and p[0] ** 2 + p[1] ** 2 <= radius * radius


@njit(cache=True, error_model="numpy", forceinline=True)
def image_ray(camera, x, y):
    """(origin, direction) through image position (x, y), both in [0, 1]; the direction has z = 1 in the camera frame.

    `camera` (3 4) holds the matrix from (x, y, 1) to world directions, and the centre in its last column.
    """
    direction = (
        camera[0, 0] * x + camera[0, 1] * y + camera[0, 2],
        camera[1, 0] * x + camera[1, 1] * y + camera[1, 2],
        camera[2, 0] * x + camera[2, 1] * y + camera[2, 2],
    )
    return (camera[0, 3], camera[1, 3], camera[2, 3]), direction


@njit(cache=True, error_model="numpy", parallel=True)
def trace_depth(geometry, camera, depth, primitives):
    """Fills z-depth and primitive index (both h w) at the pixel centres of a camera (see `image_ray`)."""
    height, width = depth.shape
    for index in prange(height):
        row = spread(index, height)
        stack, guess = Stack(np.empty(STACK_DEPTH, np.int64), np.empty(STACK_DEPTH)), DOME
        for column in range(width):
            eye, direction = image_ray(camera, (column + 0.5) / width, (row + 0.5) / height)
            depth[row, column], guess = nearest_hit(geometry, stack, eye, direction, guess)
            primitives[row, column] = guess


@njit(cache=True)
def spread(index, count):
    """A permutation of 0 to count - 1 in golden-ratio steps: each thread gets rows from all over the picture."""
    step = max(1, int(count * 0.6180339887498949))
    while math.gcd(step, count) > 1:
        step += 1
    return index * step % count
