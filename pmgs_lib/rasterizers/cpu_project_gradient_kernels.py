"""Gradients from the pixels of one picture back to the Gaussians in the world; notation of `cpu_project_kernels`.

With o the offset in units of the ellipse, o = L (pixel - centre), L = sqrt(2 ln 2) [[across, -across skew], [0, down]],
and sigma = |o|^2 / 2, the inverse covariance is Lt L, so  d sigma / d centre = -Lt o  and  d sigma / d covariance =
-Lt o ot L / 2. Sums of q, q o and q o ot over the pixels are all that is needed.
"""

import math

import numpy as np
from numba import njit, prange

from pmgs_lib.rasterizers.cpu_harmonics_kernels import COEFFICIENTS, ZONAL, color_gradient, fill_basis
from pmgs_lib.rasterizers.cpu_project_kernels import (
    ACROSS,
    DOWN,
    SKEW,
    axes_of,
    direction_to,
    dot,
    in_camera,
    pixel_from_world,
    root_of,
    span_of,
    unit_of,
)

UNIT = 2 * math.log(2)  # o = sqrt(UNIT) (u, v)


@njit(cache=True, inline="always", error_model="numpy")
def _add3(array, g, values):
    array[g, 0] += values[0]
    array[g, 1] += values[1]
    array[g, 2] += values[2]


@njit(cache=True, error_model="numpy")
def _splat_gradient(shapes, g, sums):
    """Gradients by the centre (x, y) and by the covariance (xx, xy, yy) of a splat, in pixels."""
    across, down = shapes[g, ACROSS], shapes[g, DOWN]
    slant = -across * shapes[g, SKEW]
    _, u, uu, v, uv, vv = sums
    center = (UNIT * across * u, UNIT * (slant * u + down * v))
    half = 0.5 * UNIT * UNIT
    xx = half * across * across * uu
    xy = half * across * (slant * uu + down * uv)
    yy = half * (slant * slant * uu + 2 * slant * down * uv + down * down * vv)
    return center, (xx, xy, yy)


@njit(cache=True, error_model="numpy")
def _combine(a, first, b, second):
    return a * first[0] + b * second[0], a * first[1] + b * second[1], a * first[2] + b * second[2]


@njit(cache=True, inline="always", error_model="numpy")
def _shape_gradient(scene, g, rows, covariance, gradient):
    """Add the gradients by scale and quaternion; return the gradient by the two rows of J W.

    Covariance = B Bt with B = (J W) (R S): the gradient by B is twice the symmetric gradient by the covariance times B.
    """
    unit = unit_of(scene.quaternions, g)
    axes = axes_of(unit)
    first, second = root_of(rows[0], axes, scene.scales, g), root_of(rows[1], axes, scene.scales, g)
    xx, xy, yy = covariance
    by_first, by_second = _combine(2 * xx, first, 2 * xy, second), _combine(2 * xy, first, 2 * yy, second)
    # Column k of the gradient by R S is by_first[k] rows[0] + by_second[k] rows[1].
    by_x = _combine(by_first[0], rows[0], by_second[0], rows[1])
    by_y = _combine(by_first[1], rows[0], by_second[1], rows[1])
    by_z = _combine(by_first[2], rows[0], by_second[2], rows[1])
    _add3(gradient.scales, g, (dot(by_x, axes[0]), dot(by_y, axes[1]), dot(by_z, axes[2])))
    sx, sy, sz = np.float64(scene.scales[g, 0]), np.float64(scene.scales[g, 1]), np.float64(scene.scales[g, 2])
    scaled = (_combine(sx, by_x, 0.0, by_x), _combine(sy, by_y, 0.0, by_y), _combine(sz, by_z, 0.0, by_z))
    _add_quaternion_gradient(gradient.quaternions, g, unit, scaled)
    edges = (
        _combine(sx, axes[0], 0.0, axes[0]),
        _combine(sy, axes[1], 0.0, axes[1]),
        _combine(sz, axes[2], 0.0, axes[2]),
    )
    return _through(edges, by_first), _through(edges, by_second)


@njit(cache=True, error_model="numpy")
def _through(columns, weights):
    """The matrix with these columns times a vector."""
    a, b, c = columns
    return (
        a[0] * weights[0] + b[0] * weights[1] + c[0] * weights[2],
        a[1] * weights[0] + b[1] * weights[1] + c[1] * weights[2],
        a[2] * weights[0] + b[2] * weights[1] + c[2] * weights[2],
    )


@njit(cache=True, error_model="numpy")
def _add_quaternion_gradient(quaternions, g, unit, columns):
    """From the gradient by the columns of a rotation matrix to that by its quaternion of any length."""
    w, x, y, z, inverse = unit
    (d00, d10, d20), (d01, d11, d21), (d02, d12, d22) = columns
    gw = 2 * (x * (d21 - d12) + y * (d02 - d20) + z * (d10 - d01))
    gx = 2 * (y * (d01 + d10) + z * (d02 + d20) + w * (d21 - d12) - 2 * x * (d11 + d22))
    gy = 2 * (x * (d01 + d10) + z * (d12 + d21) + w * (d02 - d20) - 2 * y * (d00 + d22))
    gz = 2 * (x * (d02 + d20) + y * (d12 + d21) + w * (d10 - d01) - 2 * z * (d00 + d11))
    radial = gw * w + gx * x + gy * y + gz * z
    quaternions[g, 0] += (gw - radial * w) * inverse
    quaternions[g, 1] += (gx - radial * x) * inverse
    quaternions[g, 2] += (gy - radial * y) * inverse
    quaternions[g, 3] += (gz - radial * z) * inverse


@njit(cache=True, inline="always", error_model="numpy")
def _slope_gradient(slope, low, high, across, along, inverse):
    """Gradient by x and z through one row of J, (focal / z) (1, -slope) in its own axis and z, slope = x / z clamped.

    `across` is the gradient by the row's first number, `along` by its second, both times focal / z.
    """
    clamped = min(max(slope, low), high)
    by_depth = (clamped * along - across) * inverse
    if clamped == slope:
        return -along * inverse, by_depth + slope * along * inverse
    return 0.0, by_depth


@njit(cache=True, inline="always", error_model="numpy")
def _position_gradient(view, position, center, depth, by_rows):
    """Gradient by the world position: through the centre, the depth, and the linearisation of the projection."""
    inverse = 1.0 / position[2]
    fx, fy = view.focal[0] * inverse, view.focal[1] * inverse
    slope_x, slope_y = position[0] * inverse, position[1] * inverse
    r = view.rotation
    right, down, ahead = (r[0, 0], r[0, 1], r[0, 2]), (r[1, 0], r[1, 1], r[1, 2]), (r[2, 0], r[2, 1], r[2, 2])
    x_across, x_along = fx * dot(by_rows[0], right), fx * dot(by_rows[0], ahead)
    y_across, y_along = fy * dot(by_rows[1], down), fy * dot(by_rows[1], ahead)
    gx, z_by_x = _slope_gradient(slope_x, view.low[0], view.high[0], x_across, x_along, inverse)
    gy, z_by_y = _slope_gradient(slope_y, view.low[1], view.high[1], y_across, y_along, inverse)
    by_x, by_y = fx * center[0], fy * center[1]
    by_z = depth + z_by_x + z_by_y - by_x * slope_x - by_y * slope_y
    return _through((right, down, ahead), (gx + by_x, gy + by_y, by_z))


@njit(cache=True, inline="always", error_model="numpy")
def _color_gradient(view, scene, splats, g, upstream, basis, gradient):
    """Add the gradients by harmonics, and by the mean through the direction; a colour clamped at zero passes none."""
    red = upstream[0] if splats.paints[g, 0] > 0 else 0.0
    green = upstream[1] if splats.paints[g, 1] > 0 else 0.0
    blue = upstream[2] if splats.paints[g, 2] > 0 else 0.0
    if scene.harmonics.shape[1] == 1:
        gradient.harmonics[g, 0, 0] += ZONAL[0, 0, 0] * red
        gradient.harmonics[g, 0, 1] += ZONAL[0, 0, 0] * green
        gradient.harmonics[g, 0, 2] += ZONAL[0, 0, 0] * blue
        return
    direction, inverse = direction_to(view, scene.means, g)
    fill_basis(direction, int(math.sqrt(scene.harmonics.shape[1])) - 1, basis)
    along = color_gradient(scene.harmonics, g, basis, direction, (red, green, blue), gradient.harmonics)
    _add3(gradient.means, g, (along[0] * inverse, along[1] * inverse, along[2] * inverse))


@njit(cache=True, error_model="numpy")
def _gradient_block(view, scene, splats, sums, gradient, span):
    basis, total = np.empty((4, COEFFICIENTS)), np.empty(sums.shape[1])
    for g in range(span[0], span[1]):
        if splats.boxes[g, 2] == 0:
            continue
        total[:] = 0
        for entry in range(splats.entries[g], splats.entries[g + 1]):
            for i in range(sums.shape[1]):
                total[i] += sums[entry, i]
        center, covariance = _splat_gradient(
            splats.shapes, g, (total[0], total[1], total[2], total[3], total[4], total[5])
        )
        gradient.opacities[g] += total[0] / scene.opacities[g]
        position = in_camera(view, scene.means, g)
        rows = pixel_from_world(view, position)
        by_rows = _shape_gradient(scene, g, rows, covariance, gradient)
        _add3(gradient.means, g, _position_gradient(view, position, center, total[9], by_rows))
        _color_gradient(view, scene, splats, g, (total[6], total[7], total[8]), basis, gradient)


@njit(cache=True, parallel=True, error_model="numpy")
def project_gradient(view, scene, splats, sums, gradient, threads):
    """Add the gradients of one picture to `gradient`, from the sums of its entries."""
    count = len(scene.means)
    for thread in prange(threads):
        _gradient_block(view, scene, splats, sums, gradient, span_of(thread, threads, count))
