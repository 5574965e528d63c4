"""Gradient of compositing by a second front-to-back pass, which needs no record of the first one.

With weight_i = alpha_i T_i and value_i = g color_i, the gradient that arrives at a pixel as one number for each splat,
the gradient by alpha_i is T_i value_i - remainder_i / (1 - alpha_i). The remainder, what lies behind splat i, is the
pixel's total less what came up to i, and less what the gradient by alpha asks of the final transmittance.
"""

import numpy as np
from numba import njit, prange

from pmgs_lib.rasterizers.base import MAX_ALPHA, MIN_TRANSMITTANCE
from pmgs_lib.rasterizers.cpu_blend_kernels import (
    AHEAD,
    PATIENCE,
    PLANE,
    ROW,
    STATE,
    alpha_of,
    ask_for,
    cut_off,
    open_tile,
    row_of,
    rows_of,
    unfinished,
    window_of,
)
from pmgs_lib.rasterizers.cpu_lanes_kernels import LANES, absolute, load, splat, steps, store, total, where_less
from pmgs_lib.rasterizers.cpu_project_kernels import ACROSS, PEAK
from pmgs_lib.rasterizers.cpu_tile_kernels import gaussian_of

# Sums over the pixels of one entry, with q = alpha * gradient by alpha: q times 1, u, uu, v, uv, vv; then the gradients
# by red, green, blue and depth.
SUMS = 10


@njit(cache=True, inline="always", error_model="numpy")
def _splat_sums(splats, g, window, state, sums, n):
    """Write the sums of one entry to row `n` of `sums`, and move on the state of the pixels."""
    shapes, paints = splats.shapes, splats.paints
    red, green = splat(paints[g, 0], state), splat(paints[g, 1], state)
    blue, depth = splat(paints[g, 2], state), splat(paints[g, 3], state)
    nothing, one, limit = splat(0.0, state), splat(1.0, state), splat(MIN_TRANSMITTANCE, state)
    highest, across = splat(MAX_ALPHA, state), shapes[g, ACROSS]
    ramp = splat(across, state) * steps(state)
    s = su = suu = sv = suv = svv = s_red = s_green = s_blue = s_depth = nothing
    first_row, end_row = rows_of(shapes, g, window)
    for row in range(first_row, end_row):
        v, center, first, end = row_of(shapes, g, window, row)
        power, down = splat(shapes[g, PEAK] - v * v, state), splat(v, state)
        for column in range(first, end, LANES):
            at = row * ROW + column
            transmittance = load(state, at)
            u = ramp + splat(across * (column + 0.5 - center), state)
            unlimited = alpha_of(power - u * u)
            alpha = cut_off(unlimited)
            before = where_less(nothing, transmittance, transmittance, nothing)
            after = before * (one - alpha)
            store(state, at, where_less(limit, after, after, nothing - absolute(transmittance)))
            alpha = where_less(limit, after, alpha, nothing)
            weight = alpha * before
            g_red, g_green = load(state, at + 2 * PLANE), load(state, at + 3 * PLANE)
            g_blue, g_depth = load(state, at + 4 * PLANE), load(state, at + 5 * PLANE)
            value = g_red * red + g_green * green + g_blue * blue + g_depth * depth
            remainder = load(state, at + PLANE) - weight * value
            store(state, at + PLANE, remainder)
            q = weight * value - alpha * remainder / (one - alpha)
            q = where_less(highest, unlimited, nothing, q)
            qu, qv = q * u, q * down
            s, su, suu = s + q, su + qu, suu + qu * u
            sv, suv, svv = sv + qv, suv + qu * down, svv + qv * down
            s_red, s_green = s_red + weight * g_red, s_green + weight * g_green
            s_blue, s_depth = s_blue + weight * g_blue, s_depth + weight * g_depth
    sums[n, 0], sums[n, 1], sums[n, 2], sums[n, 3] = total(s), total(su), total(suu), total(sv)
    sums[n, 4], sums[n, 5], sums[n, 6], sums[n, 7] = total(suv), total(svv), total(s_red), total(s_green)
    sums[n, 8], sums[n, 9] = total(s_blue), total(s_depth)


@njit(cache=True, error_model="numpy")
def _load_gradients(state, window, images, upstream):
    top, left, height, width = window
    for row in range(height):
        for column in range(width):
            at, y, x = row * ROW + column, top + row, left + column
            remainder = upstream.depth[y, x] * images.depth[y, x] - upstream.alpha[y, x] * (1 - images.alpha[y, x])
            for c in range(3):
                remainder += upstream.color[c, y, x] * images.color[c, y, x]
                state[at + (2 + c) * PLANE] = upstream.color[c, y, x]
            state[at + PLANE] = remainder
            state[at + 5 * PLANE] = upstream.depth[y, x]


@njit(cache=True, inline="always", error_model="numpy")
def _number_of(splats, g, row, column):
    """Running number of the entry of Gaussian `g` in the tile at this row and column of tiles."""
    boxes = splats.boxes
    return splats.entries[g] + (row - boxes[g, 1]) * boxes[g, 2] + column - boxes[g, 0]


@njit(cache=True, error_model="numpy")
def _gradient_share(splats, tiles, canvas, images, upstream, sums, share):
    starts, columns = tiles.starts, (canvas.width + canvas.edge - 1) // canvas.edge
    state = np.empty(STATE, sums.dtype)
    for tile in range(share[0], len(starts) - 1, share[1]):
        window = window_of(tile, canvas)
        open_tile(state, window)
        _load_gradients(state, window, images, upstream)
        alive = True
        for i in range(starts[tile], starts[tile + 1]):
            if alive and (i - starts[tile]) % PATIENCE == PATIENCE - 1:
                alive = unfinished(state, window)
            if i + AHEAD < starts[tile + 1]:
                ask_for(splats, gaussian_of(tiles.entries[i + AHEAD]))
            g = gaussian_of(tiles.entries[i])
            number = _number_of(splats, g, tile // columns, tile % columns)
            if alive:
                _splat_sums(splats, g, window, state, sums, number)
            else:
                sums[number] = 0


@njit(cache=True, parallel=True, error_model="numpy")
def blend_gradient(splats, tiles, canvas, images, upstream, sums, threads):
    """Fill `sums` (entry, SUMS) from the drawn `images` and the gradients by them, `upstream`.

    Every entry has a row of its own: no two threads write to one place, and the result does not depend on their number.
    """
    for thread in prange(threads):
        _gradient_share(splats, tiles, canvas, images, upstream, sums, (np.int64(thread), threads))
