"""View-dependent colour and its derivatives, for one Gaussian at a time (basis: `pmgs_lib.geometry.harmonics`)."""

import math

import numpy as np
from numba import njit
from numpy.polynomial import Legendre

MAX_DEGREE = 4
COEFFICIENTS = (MAX_DEGREE + 1) ** 2


def _zonal_factors():
    """[degree, order, power of z]: normalised m-th derivatives of the Legendre polynomials, with the sign (-1)^m.

    On the unit sphere a basis function is this polynomial in z times the real or imaginary part of (x + iy)^m.
    """
    table = np.zeros((MAX_DEGREE + 1, MAX_DEGREE + 1, MAX_DEGREE + 1))
    for degree in range(MAX_DEGREE + 1):
        for order in range(degree + 1):
            polynomial = Legendre.basis(degree).deriv(order).convert(kind=np.polynomial.Polynomial).coef
            ratio = math.factorial(degree - order) / math.factorial(degree + order)
            scale = math.sqrt((2 * degree + 1) / (4 * math.pi) * ratio * (2 if order else 1))
            table[degree, order, : len(polynomial)] = (-1) ** order * scale * polynomial
    return table


ZONAL = _zonal_factors()


@njit(cache=True, error_model="numpy")
def fill_basis(direction, degree, basis):
    """Write value and x, y, z derivatives of basis function k at the unit `direction` to basis[:, k], up to `degree`.

    The derivatives are those of one smooth extension off the sphere; their part along `direction` has no meaning.
    """
    x, y, z = direction
    real, imaginary, real_before, imaginary_before = 1.0, 0.0, 0.0, 0.0  # (x + iy)^m and (x + iy)^(m - 1)
    for m in range(degree + 1):
        for n in range(m, degree + 1):
            factor, slope = ZONAL[n, m, n - m], 0.0
            for power in range(n - m - 1, -1, -1):
                slope = slope * z + factor
                factor = factor * z + ZONAL[n, m, power]
            middle = n * (n + 1)
            basis[0, middle - m] = factor * imaginary
            basis[1, middle - m] = factor * m * imaginary_before
            basis[2, middle - m] = factor * m * real_before
            basis[3, middle - m] = slope * imaginary
            basis[0, middle + m] = factor * real
            basis[1, middle + m] = factor * m * real_before
            basis[2, middle + m] = -factor * m * imaginary_before
            basis[3, middle + m] = slope * real
        real_before, imaginary_before = real, imaginary
        real, imaginary = x * real - y * imaginary, x * imaginary + y * real


@njit(cache=True, inline="always", error_model="numpy")
def color_of(harmonics, g, basis):
    """Colour of Gaussian `g` before the clamp at zero."""
    red, green, blue = 0.5, 0.5, 0.5
    for k in range(harmonics.shape[1]):
        red += basis[0, k] * harmonics[g, k, 0]
        green += basis[0, k] * harmonics[g, k, 1]
        blue += basis[0, k] * harmonics[g, k, 2]
    return red, green, blue


@njit(cache=True, error_model="numpy")
def color_gradient(harmonics, g, basis, direction, upstream, gradient):
    """Add the gradient by the coefficients to `gradient`; return that by the unit `direction`, its tangential part."""
    gx, gy, gz = 0.0, 0.0, 0.0
    red, green, blue = upstream
    for k in range(harmonics.shape[1]):
        gradient[g, k, 0] += basis[0, k] * red
        gradient[g, k, 1] += basis[0, k] * green
        gradient[g, k, 2] += basis[0, k] * blue
        along = harmonics[g, k, 0] * red + harmonics[g, k, 1] * green + harmonics[g, k, 2] * blue
        gx += basis[1, k] * along
        gy += basis[2, k] * along
        gz += basis[3, k] * along
    x, y, z = direction
    radial = gx * x + gy * y + gz * z
    return gx - radial * x, gy - radial * y, gz - radial * z
