"""Compiled ray casting for the embedded scenes: primitives are found through a binary tree of axis-aligned boxes.

A ray is `origin + t * direction` with a direction of any length. Camera rays have z = 1 in the camera frame, so their
`t` is z-depth.

The small functions of the scenes' kernels are inlined by force: passing arrays between compiled functions counts
references, which costs more than their arithmetic.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit, prange

from pmgs_lib.data.scenes.shape_kernels import NOTHING, contains, dot, meet_primitive, vector

DOME = -1  # "primitive" of a ray that meets nothing but the sky dome
DOME_RADIUS = 30.0
STACK_DEPTH = 64
# Rays leave a surface from this far above it (metres); thinner than anything we build.
LIFT = 1e-4


class Stack(NamedTuple):
    """Nodes still to visit, and where the ray enters them; one for each thread."""

    nodes: np.ndarray  # int64
    enter: np.ndarray


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
        t = meet_primitive(geometry, guess, origin, direction)
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
            t = meet_primitive(geometry, -1 - left, origin, direction)
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
            elif meet_primitive(geometry, leaf, origin, direction) < limit:
                return True
    return False


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
            if contains(geometry, -1 - left, point):
                return True
            continue
        stack.nodes[depth], stack.nodes[depth + 1] = right, left
        depth += 2
    return False


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


@njit(cache=True, error_model="numpy", parallel=True)
def find_free(geometry, points, free):
    """Fills `free` (point) with 1 for points (point 3) outside all primitives, 0 for those inside one."""
    for index in prange(len(points)):
        stack = Stack(np.empty(STACK_DEPTH, np.int64), np.empty(STACK_DEPTH))
        free[index] = 0.0 if is_inside(geometry, stack, vector(points, index)) else 1.0


@njit(cache=True)
def spread(index, count):
    """A permutation of 0 to count - 1 in golden-ratio steps: each thread gets rows from all over the picture."""
    step = max(1, int(count * 0.6180339887498949))
    while math.gcd(step, count) > 1:
        step += 1
    return index * step % count
