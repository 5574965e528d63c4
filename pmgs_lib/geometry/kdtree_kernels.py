"""A k-d tree over 3D points, built and searched on all cores.

The tree is perfect and implicit: node `n` has the children `2n` and `2n + 1`, the root is 1, and the points of a node
are a range that follows from its level and place alone (`_range`), because each split halves by count. So there is no
stack to overflow and nothing to balance, however many points coincide. Boxes are tight around the points of a node; a
node whose points coincide is left unsorted.

Pruning is exact in the arithmetic of the points: subtraction, square and sum round monotonically, so the distance to
a box never exceeds, even in the last bit, the distance to a point in it.
"""

import numpy as np
from numba import get_num_threads, njit, prange, set_num_threads

LEAF_POINTS = 32
# Points and queries that are worth a further thread: below, waking it costs more than it does.
POINTS_PER_THREAD = 4096
# Levels of the tree are below 59 for any number of points that an index can count.
STACK_DEPTH = 64
# Queries a thread takes at a time: near ones share their way through the tree, and costs even out over the threads.
QUERY_CHUNK = 512
# Above this many points, a pivot from many samples saves more in the passes that follow than it costs.
SAMPLED_PIVOT_POINTS = 512
PIVOT_SAMPLES = 31


def find_nearest(queries: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Index of the reference point nearest to each query; both (count, 3), C-contiguous, finite, of one float dtype."""
    available = get_num_threads()
    threads = min(available, 1 + (len(queries) + len(reference)) // POINTS_PER_THREAD)
    indices = np.empty(len(queries), np.int64)
    set_num_threads(threads)
    try:
        _search(build_tree(reference, threads), reference, queries, indices, threads)
    finally:
        set_num_threads(available)
    return indices


def build_tree(reference: np.ndarray, threads: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Points in tree order, their indices before, a box (low x y z, high x y z) for each node, and the levels."""
    points = reference.copy()
    levels = max(0, int(np.ceil(np.log2(len(points) / LEAF_POINTS))))
    order = np.arange(len(points), dtype=np.int32 if len(points) < 2**31 else np.int64)
    boxes = np.empty((2 ** (levels + 1), 6), dtype=points.dtype)
    # Levels down to one subtree a thread. More would balance better, but each waits for the slowest thread.
    shared_levels = min(levels, (threads - 1).bit_length())
    if shared_levels > 0:
        _split(points, order, boxes, 0, 0, levels)
    _build(points, order, boxes, levels, shared_levels)
    return points, order, boxes, levels


@njit(cache=True, inline="always")
def _range(count, level, place):
    return (count * place) >> level, (count * (place + 1)) >> level


@njit(cache=True, fastmath={"nnan", "nsz"})
def _bound(points, first, end, box):
    # One pass with six independent running values: each would wait for itself alone.
    low_x, low_y, low_z = points[first, 0], points[first, 1], points[first, 2]
    high_x, high_y, high_z = low_x, low_y, low_z
    for i in range(first + 1, end):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        low_x, high_x = min(low_x, x), max(high_x, x)
        low_y, high_y = min(low_y, y), max(high_y, y)
        low_z, high_z = min(low_z, z), max(high_z, z)
    box[0], box[1], box[2], box[3], box[4], box[5] = low_x, low_y, low_z, high_x, high_y, high_z


@njit(cache=True, inline="always")
def _swap(points, order, i, j):
    for axis in range(3):
        points[i, axis], points[j, axis] = points[j, axis], points[i, axis]
    order[i], order[j] = order[j], order[i]


@njit(cache=True)
def _pivot(points, first, last, target, axis):
    """A value likely to end up near `target`: the one of that rank among regular samples, or the one in the middle."""
    count = last - first + 1
    if count < SAMPLED_PIVOT_POINTS:
        return points[(first + last) >> 1, axis]
    samples = np.empty(PIVOT_SAMPLES, points.dtype)
    for i in range(PIVOT_SAMPLES):
        value = points[first + count * i // PIVOT_SAMPLES, axis]
        j = i
        while j > 0 and samples[j - 1] > value:
            samples[j] = samples[j - 1]
            j -= 1
        samples[j] = value
    return samples[(target - first) * PIVOT_SAMPLES // count]


@njit(cache=True)
def _select(points, order, first, last, target, axis):
    """Reorder `first..last` until `target` holds what sorting along `axis` puts there, nothing larger before it."""
    while last > first:
        pivot = _pivot(points, first, last, target, axis)
        i, j = first, last
        while i <= j:
            while points[i, axis] < pivot:
                i += 1
            while points[j, axis] > pivot:
                j -= 1
            if i <= j:
                _swap(points, order, i, j)
                i += 1
                j -= 1
        if target <= j:
            last = j
        elif target >= i:
            first = i
        else:
            return


@njit(cache=True)
def _split(points, order, boxes, level, place, levels):
    """Bound one node and, unless it is a leaf or its points coincide, halve it across its widest extent."""
    first, end = _range(len(points), level, place)
    box = boxes[(1 << level) + place]
    _bound(points, first, end, box)
    axis = 0
    for other in range(1, 3):
        if box[other + 3] - box[other] > box[axis + 3] - box[axis]:
            axis = other
    if level < levels and box[axis + 3] > box[axis]:
        middle = _range(len(points), level + 1, 2 * place)[1]
        _select(points, order, first, end - 1, middle, axis)


@njit(cache=True, parallel=True)
def _build(points, order, boxes, levels, shared_levels):
    for level in range(1, shared_levels):
        for place in prange(1 << level):
            _split(points, order, boxes, level, place, levels)
    for subtree in prange(1 << shared_levels):
        for level in range(shared_levels, levels + 1):
            nodes = 1 << (level - shared_levels)
            for place in range(subtree * nodes, (subtree + 1) * nodes):
                _split(points, order, boxes, level, place, levels)


@njit(cache=True, inline="always")
def _outside(value, low, high):
    below, above = low - value, value - high
    outside = below if below > above else above
    # A literal zero would be float64 or int64 and lift the arithmetic out of the precision of the points.
    return outside if outside > 0 else outside - outside


@njit(cache=True, inline="always")
def _box_distance(boxes, node, x, y, z):
    dx = _outside(x, boxes[node, 0], boxes[node, 3])
    dy = _outside(y, boxes[node, 1], boxes[node, 4])
    dz = _outside(z, boxes[node, 2], boxes[node, 5])
    return dx * dx + dy * dy + dz * dz


@njit(cache=True, inline="always")
def _point_distance(points, i, x, y, z):
    dx, dy, dz = points[i, 0] - x, points[i, 1] - y, points[i, 2] - z
    return dx * dx + dy * dy + dz * dz


@njit(cache=True)
def _nearest(tree, query, best, best_at, stack):
    """Position in tree order of the point nearest to `query`, or `best_at` where none is nearer than `best`.

    `stack` is room for the nodes still to visit and the bounds of their distances.
    """
    (points, _, boxes, levels), (x, y, z), (nodes, bounds) = tree, query, stack
    first_leaf = 1 << levels
    nodes[0], bounds[0], top = 1, 0, 1
    while top > 0:
        top -= 1
        if bounds[top] >= best:
            continue
        node = nodes[top]
        while node < first_leaf:
            near, far = 2 * node, 2 * node + 1
            near_bound, far_bound = _box_distance(boxes, near, x, y, z), _box_distance(boxes, far, x, y, z)
            if far_bound < near_bound:
                near, far, near_bound, far_bound = far, near, far_bound, near_bound
            if far_bound < best:
                nodes[top], bounds[top] = far, far_bound
                top += 1
            if near_bound >= best:
                break
            node = near
        else:
            first, end = _range(len(points), levels, node - first_leaf)
            for i in range(first, end):
                distance = _point_distance(points, i, x, y, z)
                if distance < best:
                    best, best_at = distance, i
    return best_at


@njit(cache=True, parallel=True)
def _search(tree, reference, queries, indices, threads):
    points, order, _, _ = tree
    chunks = (len(queries) + QUERY_CHUNK - 1) // QUERY_CHUNK
    paired = len(queries) == len(reference)
    for thread in prange(threads):
        stack = np.empty(STACK_DEPTH, np.int64), np.empty(STACK_DEPTH, points.dtype)
        # The answer of the query before is a good guess when neighbours follow each other, as pixels do.
        at = 0
        for chunk in range(thread, chunks, threads):
            for i in range(chunk * QUERY_CHUNK, min(len(queries), (chunk + 1) * QUERY_CHUNK)):
                x, y, z = queries[i, 0], queries[i, 1], queries[i, 2]
                best = _point_distance(points, at, x, y, z)
                # Two clouds of the same pixels: the point of the same number is a second guess.
                own = _point_distance(reference, i, x, y, z) if paired else best
                found = _nearest(tree, (x, y, z), min(own, best), -1 if own < best else at, stack)
                indices[i] = i if found < 0 else order[found]
                at = found if found >= 0 else at
