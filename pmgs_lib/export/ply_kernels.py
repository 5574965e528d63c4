"""Rows of a splat file into the fields of Gaussians: each number is moved, checked and converted in one pass."""

import math

import numpy as np
from numba import njit

POISON = np.float32(0)  # times a finite number it stays zero, times anything else it becomes NaN


@njit(cache=True, error_model="numpy")
def fill_gaussians(rows, places, means, scales, quaternions, opacities, harmonics):
    """Fill the five arrays from rows (gaussian, property), float32; returns how many rows have each of three faults.

    places: columns of position (3), harmonics (3 a coefficient, as `Gaussians` hold them), logit of the opacity,
    logarithms of the scales (3), quaternion (4). Faults: a number that is not finite, a scale that overflows, a
    quaternion of length zero.
    """
    values = harmonics.shape[1] * 3
    logit, first_scale, first_rotation = 3 + values, 4 + values, 7 + values
    not_finite, too_large, no_rotation = 0, 0, 0
    for row in range(len(rows)):
        poison = POISON
        for axis in range(3):
            means[row, axis] = rows[row, places[axis]]
            poison += POISON * means[row, axis]
        for value in range(values):
            number = rows[row, places[3 + value]]
            harmonics[row, value // 3, value % 3] = number
            poison += POISON * number
        number = rows[row, places[logit]]
        opacities[row] = np.float32(1) / (np.float32(1) + math.exp(-number))
        poison += POISON * number
        fits = True
        for axis in range(3):
            number = rows[row, places[first_scale + axis]]
            scales[row, axis] = math.exp(number)
            fits &= scales[row, axis] < np.inf
            poison += POISON * number
        turned = False
        for axis in range(4):
            number = rows[row, places[first_rotation + axis]]
            quaternions[row, axis] = number
            turned |= number != 0
            poison += POISON * number
        not_finite += poison != 0
        too_large += not fits
        no_rotation += not turned
    return not_finite, too_large, no_rotation
