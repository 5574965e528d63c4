"""From Gaussians in the world to splats in one picture, and gradients back the same way; all sums in float64.

The 2x2 covariance of a splat is stored by its factor: with (dx, dy) the offset from the centre in pixels,
u = across * (dx - skew * dy) and v = down * dy, the opacity at a pixel is 2^(peak - u^2 - v^2). One row of pixels then
needs one number v and evenly spaced u, and nothing cancels for thin or huge splats.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit, prange

from pmgs_lib.rasterizers.base import LOW_PASS, MIN_ALPHA
from pmgs_lib.rasterizers.cpu_harmonics_kernels import COEFFICIENTS, ZONAL, color_of, fill_basis

X, Y, SKEW, ACROSS, DOWN, PEAK, REACH, RISE = range(8)  # columns of Splats.shapes
SHAPE = 8
EXPONENT = 0.5 / math.log(2)  # exp(-d^2 / 2) = 2^(-EXPONENT d^2)
FAINTEST = math.log2(MIN_ALPHA)


class View(NamedTuple):
    """One camera in pixels: camera_from_world, centre, and the slopes between which the projection is linearised."""

    rotation: np.ndarray
    translation: np.ndarray
    center: np.ndarray
    focal: np.ndarray
    principal: np.ndarray
    low: np.ndarray
    high: np.ndarray
    near_plane: float


class Canvas(NamedTuple):
    """Size of the picture and edge of its square tiles, in pixels."""

    height: int
    width: int
    edge: int


class Scene(NamedTuple):
    """The arrays of one scene's Gaussians, or of the gradients by them."""

    means: np.ndarray
    scales: np.ndarray
    quaternions: np.ndarray
    opacities: np.ndarray
    harmonics: np.ndarray


class Splats(NamedTuple):
    """Projected Gaussians. shapes: see above. paints: red, green, blue, depth. boxes: first column, first row, columns
    and rows of tiles touched, zero if none. entries: tiles touched by all Gaussians before each, and by all.
    """

    shapes: np.ndarray
    paints: np.ndarray
    boxes: np.ndarray
    entries: np.ndarray


@njit(cache=True, error_model="numpy")
def dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@njit(cache=True, error_model="numpy")
def _row(matrix, i):
    return matrix[i, 0], matrix[i, 1], matrix[i, 2]


@njit(cache=True, inline="always", error_model="numpy")
def in_camera(view, means, g):
    position = (np.float64(means[g, 0]), np.float64(means[g, 1]), np.float64(means[g, 2]))
    return (
        dot(_row(view.rotation, 0), position) + view.translation[0],
        dot(_row(view.rotation, 1), position) + view.translation[1],
        dot(_row(view.rotation, 2), position) + view.translation[2],
    )


@njit(cache=True, error_model="numpy")
def unit_of(quaternions, g):
    """A quaternion of unit length, and the inverse of the length it had."""
    w, x, y, z = (
        np.float64(quaternions[g, 0]),
        np.float64(quaternions[g, 1]),
        np.float64(quaternions[g, 2]),
        np.float64(quaternions[g, 3]),
    )
    inverse = 1.0 / math.sqrt(w * w + x * x + y * y + z * z)
    return w * inverse, x * inverse, y * inverse, z * inverse, inverse


@njit(cache=True, error_model="numpy")
def axes_of(unit):
    """Columns of the rotation matrix of a unit quaternion: the Gaussian's own axes in the world."""
    w, x, y, z, _ = unit
    return (
        (1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)),
        (2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)),
        (2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)),
    )


@njit(cache=True, inline="always", error_model="numpy")
def pixel_from_world(view, position):
    """The two rows of J W, the derivative of the pixel by the world position, slopes clamped as in the reference."""
    inverse = 1.0 / position[2]
    across = view.focal[0] * inverse
    down = view.focal[1] * inverse
    slope_x = min(max(position[0] * inverse, view.low[0]), view.high[0])
    slope_y = min(max(position[1] * inverse, view.low[1]), view.high[1])
    r = view.rotation
    return (
        (
            across * (r[0, 0] - slope_x * r[2, 0]),
            across * (r[0, 1] - slope_x * r[2, 1]),
            across * (r[0, 2] - slope_x * r[2, 2]),
        ),
        (
            down * (r[1, 0] - slope_y * r[2, 0]),
            down * (r[1, 1] - slope_y * r[2, 1]),
            down * (r[1, 2] - slope_y * r[2, 2]),
        ),
    )


@njit(cache=True, error_model="numpy")
def root_of(row, axes, scales, g):
    """One row of J W R S, whose rows' products are the covariance in pixels."""
    return dot(row, axes[0]) * scales[g, 0], dot(row, axes[1]) * scales[g, 1], dot(row, axes[2]) * scales[g, 2]


@njit(cache=True, inline="always", error_model="numpy")
def _covariance(first, second):
    """Variance in x, covariance, variance in y, and determinant, which as a difference might round to nothing."""
    xx, xy, yy = dot(first, first), dot(first, second), dot(second, second)
    a = first[1] * second[2] - first[2] * second[1]
    b = first[2] * second[0] - first[0] * second[2]
    c = first[0] * second[1] - first[1] * second[0]
    determinant = a * a + b * b + c * c + LOW_PASS * (xx + yy + LOW_PASS)
    return xx + LOW_PASS, xy, yy + LOW_PASS, determinant


@njit(cache=True, inline="always", error_model="numpy")
def _unusable(scene, g):
    check = np.float64(scene.opacities[g])
    norm = 0.0
    for i in range(3):
        check += np.float64(scene.means[g, i]) + np.float64(scene.scales[g, i])
    for i in range(4):
        norm += np.float64(scene.quaternions[g, i]) ** 2
    for k in range(scene.harmonics.shape[1]):
        for c in range(3):
            check += np.float64(scene.harmonics[g, k, c])
    return not (math.isfinite(check + norm) and norm > 0)


@njit(cache=True, error_model="numpy")
def _pixel_range(center, reach, size):
    """First and one past the last pixel whose centre lies within `reach` of `center`, inside a picture of `size`."""
    first = math.ceil(min(max(center - reach - 0.5, 0.0), np.float64(size)))
    end = math.floor(min(max(center + reach + 0.5, 0.0), np.float64(size)))
    return np.int64(first), np.int64(end)


@njit(cache=True, inline="always", error_model="numpy")
def _touched_tiles(center, reaches, canvas):
    """First column and row, number of columns and rows of tiles, zero if the splat touches no pixel centre."""
    left, right = _pixel_range(center[0], reaches[0], canvas.width)
    top, bottom = _pixel_range(center[1], reaches[1], canvas.height)
    if left >= right or top >= bottom:
        return 0, 0, 0, 0
    column, row = left // canvas.edge, top // canvas.edge
    return column, row, (right - 1) // canvas.edge - column + 1, (bottom - 1) // canvas.edge - row + 1


@njit(cache=True, inline="always", error_model="numpy")
def direction_to(view, means, g):
    """Unit vector from the camera to a Gaussian, and the inverse of their distance."""
    x, y, z = means[g, 0] - view.center[0], means[g, 1] - view.center[1], means[g, 2] - view.center[2]
    inverse = 1.0 / math.sqrt(x * x + y * y + z * z)
    return (x * inverse, y * inverse, z * inverse), inverse


@njit(cache=True, inline="always", error_model="numpy")
def _project_one(view, scene, g, position, shapes):
    """Fill one row of `shapes`; return half extents in x and y, beyond which the splat is too faint to count."""
    rows = pixel_from_world(view, position)
    axes = axes_of(unit_of(scene.quaternions, g))
    xx, xy, yy, determinant = _covariance(
        root_of(rows[0], axes, scene.scales, g), root_of(rows[1], axes, scene.scales, g)
    )
    inverse_depth, inverse_yy = 1.0 / position[2], 1.0 / yy
    wide = math.sqrt(EXPONENT * yy * determinant)
    peak = math.log2(np.float64(scene.opacities[g]))
    extent = math.sqrt(max(peak - FAINTEST, 0.0))
    down = math.sqrt(EXPONENT * inverse_yy)
    shapes[g, X] = view.focal[0] * position[0] * inverse_depth + view.principal[0]
    shapes[g, Y] = view.focal[1] * position[1] * inverse_depth + view.principal[1]
    shapes[g, SKEW] = xy * inverse_yy
    shapes[g, ACROSS] = EXPONENT * yy / wide
    shapes[g, DOWN] = down
    shapes[g, PEAK] = peak
    shapes[g, REACH] = extent * wide * inverse_yy * (1 / EXPONENT)
    shapes[g, RISE] = extent * down * yy * (1 / EXPONENT)
    return extent * math.sqrt(xx * (1 / EXPONENT)), shapes[g, RISE]


@njit(cache=True, inline="always", error_model="numpy")
def _finite(shapes, g):
    """Whether nothing has overflowed: the kernels turn these numbers into places in memory."""
    check = 0.0
    for i in range(SHAPE):
        check += shapes[g, i]
    return math.isfinite(check)


@njit(cache=True, error_model="numpy")
def _project_block(view, scene, canvas, splats, span):
    """Fill `splats` for the Gaussians of `span` (first, end); return how many of them are not finite."""
    degree, unusable = int(math.sqrt(scene.harmonics.shape[1])) - 1, 0
    basis = np.empty((4, COEFFICIENTS))
    for g in range(span[0], span[1]):
        splats.boxes[g, 2], splats.boxes[g, 3] = 0, 0
        splats.entries[g + 1] = 0
        if _unusable(scene, g):
            unusable += 1
            continue
        position = in_camera(view, scene.means, g)
        if position[2] < view.near_plane or scene.opacities[g] < MIN_ALPHA:
            continue
        reaches = _project_one(view, scene, g, position, splats.shapes)
        if not _finite(splats.shapes, g):
            unusable += 1
            continue
        box = _touched_tiles((splats.shapes[g, X], splats.shapes[g, Y]), reaches, canvas)
        if box[2] == 0:
            continue
        splats.boxes[g, 0], splats.boxes[g, 1], splats.boxes[g, 2], splats.boxes[g, 3] = box
        splats.entries[g + 1] = box[2] * box[3]
        if degree:
            fill_basis(direction_to(view, scene.means, g)[0], degree, basis)
        else:
            basis[0, 0] = ZONAL[0, 0, 0]
        color = color_of(scene.harmonics, g, basis)
        splats.paints[g, 0] = max(color[0], 0.0)
        splats.paints[g, 1] = max(color[1], 0.0)
        splats.paints[g, 2] = max(color[2], 0.0)
        splats.paints[g, 3] = position[2]
    return unusable


@njit(cache=True, inline="always", error_model="numpy")
def span_of(part, parts, count):
    """First and end of one of `parts` equal parts of `count` things."""
    return count * np.int64(part) // parts, count * np.int64(part + 1) // parts


@njit(cache=True, parallel=True, error_model="numpy")
def project(view, scene, canvas, splats, threads):
    """Fill `splats`, with counts in place of the running numbers; return how many Gaussians are not finite."""
    count = len(scene.means)
    unusable = np.zeros(threads, np.int64)
    splats.entries[0] = 0
    # The body is one call: numba drops what a parallel loop itself writes to arrays inside of a named tuple.
    for thread in prange(threads):
        unusable[thread] = _project_block(view, scene, canvas, splats, span_of(thread, threads, count))
    return unusable.sum()
