"""Which splats touch which tile of the picture, nearest first.

An entry is one splat in one tile, 64 bits: the splat's depth as float32 in the upper half (the bits of positive floats
sort like the numbers), the index of its Gaussian in the lower. So equal depths keep the order of the Gaussians, as in
gsplat.
"""

from typing import NamedTuple

import numpy as np
from numba import njit, prange

from pmgs_lib.rasterizers.cpu_project_kernels import span_of

DIGIT = 8
BUCKETS = 1 << DIGIT
SHORT = 48  # lists up to this length are sorted by insertion


class Tiles(NamedTuple):
    """starts: first entry of each tile, and the total. entries: tile after tile, nearest first once sorted."""

    starts: np.ndarray
    entries: np.ndarray


@njit(cache=True, inline="always", error_model="numpy")
def gaussian_of(entry):
    """Index of the Gaussian of an entry."""
    return np.int64(entry & np.uint64(0xFFFFFFFF))


@njit(cache=True, error_model="numpy")
def _count_entries(boxes, span, columns, counts):
    for g in range(span[0], span[1]):
        for row in range(boxes[g, 1], boxes[g, 1] + boxes[g, 3]):
            for column in range(boxes[g, 0], boxes[g, 0] + boxes[g, 2]):
                counts[row * columns + column] += 1


@njit(cache=True, error_model="numpy")
def _write_entries(splats, span, columns, cursors, tiles):
    boxes, depth = splats.boxes, np.empty(1, np.float32)
    bits = depth.view(np.uint32)
    for g in range(span[0], span[1]):
        depth[0] = splats.paints[g, 3]
        entry = np.uint64(bits[0]) << np.uint64(32) | np.uint64(g)
        for row in range(boxes[g, 1], boxes[g, 1] + boxes[g, 3]):
            for column in range(boxes[g, 0], boxes[g, 0] + boxes[g, 2]):
                tile = row * columns + column
                tiles.entries[cursors[tile]] = entry
                cursors[tile] += 1


@njit(cache=True, parallel=True, error_model="numpy")
def list_entries(splats, columns, tiles, chunks):
    """Fill `tiles`, every tile in the order of the Gaussians; the number of chunks changes nothing in the result."""
    count, starts = len(splats.boxes), tiles.starts
    cursors = np.zeros((chunks, len(starts) - 1), np.int64)
    for chunk in prange(chunks):
        span = span_of(chunk, chunks, count)
        _count_entries(splats.boxes, span, columns, cursors[chunk])
    position = 0
    for tile in range(len(starts) - 1):
        starts[tile] = position
        for chunk in range(chunks):
            length = cursors[chunk, tile]
            cursors[chunk, tile] = position
            position += length
    starts[-1] = position
    for chunk in prange(chunks):
        span = span_of(chunk, chunks, count)
        _write_entries(splats, span, columns, cursors[chunk], tiles)


@njit(cache=True, error_model="numpy")
def sort_entries(entries, spare):
    """Sort one tile's entries by depth, equal depths by number; `spare` is at least as long."""
    count = len(entries)
    if count <= SHORT:
        for i in range(1, count):
            entry, j = entries[i], i
            while j > 0 and entries[j - 1] > entry:
                entries[j] = entries[j - 1]
                j -= 1
            entries[j] = entry
        return
    source, target = entries, spare[:count]
    ends = np.empty(BUCKETS, np.int64)
    for shift in range(32, 64, DIGIT):
        if _sort_digit(source, target, np.uint64(shift), ends):
            source, target = target, source
    # Which of the two buffers holds the result depends on how many digits differed.
    for i in range(count):
        entries[i] = source[i]


@njit(cache=True, error_model="numpy")
def _sort_digit(source, target, shift, starts):
    """One stable counting pass; False, with nothing written, where all entries agree in this digit."""
    mask = np.uint64(BUCKETS - 1)
    starts[:] = 0
    for entry in source:
        starts[np.int64((entry >> shift) & mask)] += 1
    if starts[np.int64((source[0] >> shift) & mask)] == len(source):
        return False
    position = 0
    for digit in range(BUCKETS):
        length = starts[digit]
        starts[digit] = position
        position += length
    for entry in source:
        digit = np.int64((entry >> shift) & mask)
        target[starts[digit]] = entry
        starts[digit] += 1
    return True
