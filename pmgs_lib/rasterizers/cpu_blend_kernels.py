"""Front-to-back compositing of one tile after the other.

For each splat only the rows and columns around its ellipse are walked, eight pixels at a time. A pixel's transmittance
is kept with a sign: negative once the pixel is finished, so that its magnitude still says how much background shows.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit, prange

from pmgs_lib.rasterizers.base import MAX_ALPHA, MIN_ALPHA, MIN_TRANSMITTANCE
from pmgs_lib.rasterizers.cpu_lanes_kernels import (
    LANES,
    absolute,
    any_positive,
    exp2,
    load,
    prefetch,
    splat,
    steps,
    store,
    where_less,
)
from pmgs_lib.rasterizers.cpu_project_kernels import ACROSS, DOWN, PEAK, REACH, RISE, SHAPE, SKEW, X, Y
from pmgs_lib.rasterizers.cpu_tile_kernels import gaussian_of, sort_entries

LARGEST_TILE = 32
# The state of a tile: for each row of pixels six planes of numbers, padded because eight pixels may start in the last
# column. Planes: transmittance, then red, green, blue, depth (forward) or remainder and four gradients (backward).
PLANE = LARGEST_TILE + LANES
ROW = 6 * PLANE
STATE = LARGEST_TILE * ROW
AHEAD = 8  # entries between asking for a splat's numbers and using them
PATIENCE = 32  # entries between two looks whether all pixels of a tile are finished


class Images(NamedTuple):
    """color (3, h, w), depth (h, w) and alpha (h, w) of one picture, or the gradients by them."""

    color: np.ndarray
    depth: np.ndarray
    alpha: np.ndarray


@njit(cache=True, inline="always", error_model="numpy")
def window_of(tile, canvas):
    """Top, left, height and width of a tile in pixels."""
    columns = (canvas.width + canvas.edge - 1) // canvas.edge
    top, left = tile // columns * canvas.edge, tile % columns * canvas.edge
    return top, left, min(canvas.edge, canvas.height - top), min(canvas.edge, canvas.width - left)


@njit(cache=True, inline="always", error_model="numpy")
def ask_for(splats, g):
    """Start to fetch what compositing needs of a splat: in depth order each one lies somewhere else in memory."""
    prefetch(splats.shapes, g * SHAPE)
    prefetch(splats.shapes, g * SHAPE + SHAPE - 1)
    prefetch(splats.paints, g * 4)


@njit(cache=True, inline="always", error_model="numpy")
def rows_of(shapes, g, window):
    """First and one past the last row of a tile whose pixel centres the splat can reach."""
    center, size = shapes[g, Y] - window[0], np.float64(window[2])
    first = math.ceil(min(max(center - shapes[g, RISE] - 0.5, 0.0), size))
    end = math.floor(min(max(center + shapes[g, RISE] + 0.5, 0.0), size))
    return np.int64(first), np.int64(end)


@njit(cache=True, inline="always", error_model="numpy")
def row_of(shapes, g, window, row):
    """Of one row: v, centre of the ellipse in columns, and first and end column.

    The range is as wide as the widest row, so that its length does not change from row to row: foreseeable for the
    processor, and no square root a row.
    """
    down = window[0] + row + 0.5 - shapes[g, Y]
    center = shapes[g, X] - window[1] + shapes[g, SKEW] * down
    width, reach = np.float64(window[3]), shapes[g, REACH]
    first = math.ceil(min(max(center - reach - 0.5, 0.0), width))
    end = min(first + math.ceil(2 * reach), width)
    return shapes[g, DOWN] * down, center, np.int64(first), np.int64(end)


@njit(cache=True, error_model="numpy")
def alpha_of(power):
    """2^power before any cut-off; far outside of a splat it is merely small."""
    floor = splat(-100.0, power)
    return exp2(where_less(floor, power, power, floor))


@njit(cache=True, error_model="numpy")
def cut_off(alpha):
    """At most MAX_ALPHA, zero where it is too faint to count."""
    highest = splat(MAX_ALPHA, alpha)
    alpha = where_less(highest, alpha, highest, alpha)
    return where_less(alpha, splat(MIN_ALPHA, alpha), splat(0.0, alpha), alpha)


@njit(cache=True, error_model="numpy")
def unfinished(state, window):
    """Whether some pixel of the tile still lets light through."""
    for row in range(window[2]):
        for column in range(0, window[3], LANES):
            if any_positive(load(state, row * ROW + column)):
                return True
    return False


@njit(cache=True, error_model="numpy")
def open_tile(state, window):
    """Full transmittance inside of the picture, finished pixels around it, zero in all other planes."""
    state[:] = 0
    for row in range(LARGEST_TILE):
        for column in range(PLANE):
            state[row * ROW + column] = 1 if row < window[2] and column < window[3] else -1


@njit(cache=True, inline="always", error_model="numpy")
def _add_splat(splats, g, window, state):
    shapes, paints = splats.shapes, splats.paints
    red, green = splat(paints[g, 0], state), splat(paints[g, 1], state)
    blue, depth = splat(paints[g, 2], state), splat(paints[g, 3], state)
    nothing, one, limit = splat(0.0, state), splat(1.0, state), splat(MIN_TRANSMITTANCE, state)
    across = shapes[g, ACROSS]
    ramp = splat(across, state) * steps(state)
    first_row, end_row = rows_of(shapes, g, window)
    for row in range(first_row, end_row):
        v, center, first, end = row_of(shapes, g, window, row)
        power = splat(shapes[g, PEAK] - v * v, state)
        for column in range(first, end, LANES):
            at = row * ROW + column
            transmittance = load(state, at)
            u = ramp + splat(across * (column + 0.5 - center), state)
            alpha = cut_off(alpha_of(power - u * u))
            before = where_less(nothing, transmittance, transmittance, nothing)
            after = before * (one - alpha)
            weight = where_less(limit, after, alpha * before, nothing)
            store(state, at, where_less(limit, after, after, nothing - absolute(transmittance)))
            store(state, at + PLANE, load(state, at + PLANE) + weight * red)
            store(state, at + 2 * PLANE, load(state, at + 2 * PLANE) + weight * green)
            store(state, at + 3 * PLANE, load(state, at + 3 * PLANE) + weight * blue)
            store(state, at + 4 * PLANE, load(state, at + 4 * PLANE) + weight * depth)


@njit(cache=True, error_model="numpy")
def _close_tile(state, window, images):
    top, left, height, width = window
    for row in range(height):
        for column in range(width):
            at, y, x = row * ROW + column, top + row, left + column
            images.alpha[y, x] = 1 - abs(state[at])
            for c in range(3):
                images.color[c, y, x] = state[at + (c + 1) * PLANE]
            images.depth[y, x] = state[at + 4 * PLANE]


@njit(cache=True, error_model="numpy")
def _blend_share(splats, tiles, canvas, images, share):
    starts = tiles.starts
    longest = 0
    for tile in range(share[0], len(starts) - 1, share[1]):
        longest = max(longest, starts[tile + 1] - starts[tile])
    state, spare = np.empty(STATE, images.color.dtype), np.empty(longest, np.uint64)
    for tile in range(share[0], len(starts) - 1, share[1]):
        window = window_of(tile, canvas)
        listed = tiles.entries[starts[tile] : starts[tile + 1]]
        sort_entries(listed, spare)
        open_tile(state, window)
        for i in range(len(listed)):
            if i % PATIENCE == PATIENCE - 1 and not unfinished(state, window):
                break
            if i + AHEAD < len(listed):
                ask_for(splats, gaussian_of(listed[i + AHEAD]))
            _add_splat(splats, gaussian_of(listed[i]), window, state)
        _close_tile(state, window, images)


@njit(cache=True, parallel=True, error_model="numpy")
def blend(splats, tiles, canvas, images, threads):
    """Fill `images`; leaves the entries of every tile sorted. Thread i takes every n-th tile, as scenes are uneven."""
    for thread in prange(threads):
        _blend_share(splats, tiles, canvas, images, (np.int64(thread), threads))
