"""Compiled noise for the embedded scenes; all randomness is a hash of whole numbers, the same on every machine."""

import math

import numpy as np
from numba import njit, prange

_PRIMES = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9))
_MIX = np.uint64(0xFF51AFD7ED558CCD)
_HALF = np.uint64(32)
_KEEP = np.uint64(40)
_UNIT = 1.0 / (1 << 24)


@njit(cache=True, forceinline=True)
def lattice(x, y, z):
    """A number in [0, 1) that belongs to a point of the integer lattice (murmur3 finaliser)."""
    h = np.uint64(x) * _PRIMES[0] ^ np.uint64(y) * _PRIMES[1] ^ np.uint64(z) * _PRIMES[2]
    h = (h ^ (h >> _HALF)) * _MIX
    h = (h ^ (h >> _HALF)) * _PRIMES[1]
    return np.float64(h >> _KEEP) * _UNIT


@njit(cache=True, forceinline=True)
def _fade(t):
    return t * t * (3.0 - 2.0 * t)


@njit(cache=True, forceinline=True)
def _mix(a, b, t):
    return a + (b - a) * t


@njit(cache=True, forceinline=True)
def noise(x, y, z):
    """Smooth noise in [0, 1] with features of size 1 (trilinear value noise)."""
    i, j, k = math.floor(x), math.floor(y), math.floor(z)
    u, v, w = _fade(x - i), _fade(y - j), _fade(z - k)
    i, j, k = np.int64(i), np.int64(j), np.int64(k)
    low = _mix(
        _mix(lattice(i, j, k), lattice(i + 1, j, k), u), _mix(lattice(i, j + 1, k), lattice(i + 1, j + 1, k), u), v
    )
    high = _mix(
        _mix(lattice(i, j, k + 1), lattice(i + 1, j, k + 1), u),
        _mix(lattice(i, j + 1, k + 1), lattice(i + 1, j + 1, k + 1), u),
        v,
    )
    return _mix(low, high, w)


@njit(cache=True, forceinline=True)
def _tiling_noise(x, y, columns, rows, seed):
    """Smooth noise on a lattice of rows x columns that closes on itself."""
    i, j = np.int64(math.floor(x)), np.int64(math.floor(y))
    u, v = _fade(x - i), _fade(y - j)
    i0, i1, j0, j1 = i % columns, (i + 1) % columns, j % rows, (j + 1) % rows
    low = _mix(lattice(i0, j0, seed), lattice(i1, j0, seed), u)
    return _mix(low, _mix(lattice(i0, j1, seed), lattice(i1, j1, seed), u), v)


@njit(cache=True, parallel=True)
def fill_noise(image, columns, rows, octaves, seed):
    """Fills a square image with tiling fractal noise in [0, 1]; the coarsest octave has rows x columns features."""
    size = image.shape[0]
    for row in prange(size):
        for column in range(size):
            total, weight, amplitude = 0.0, 0.0, 1.0
            for octave in range(octaves):
                nx, ny = columns << octave, rows << octave
                x, y = (column + 0.5) / size * nx, (row + 0.5) / size * ny
                total += amplitude * _tiling_noise(x, y, nx, ny, seed + octave)
                weight += amplitude
                amplitude *= 0.55
            image[row, column] = total / weight


@njit(cache=True, parallel=True)
def fill_cells(nearest, gap, identity, count, seed):
    """Fills tiling cell patterns: distance to the nearest seed point, gap to the second nearest, a number per cell.

    `count` seed points along each side, one in every square of the lattice; distances in squares (Worley 1996).
    """
    size = nearest.shape[0]
    for row in prange(size):
        for column in range(size):
            x, y = (column + 0.5) / size * count, (row + 0.5) / size * count
            first, second, name = 9.0, 9.0, 0.0
            for dj in range(-2, 3):
                for di in range(-2, 3):
                    i, j = np.int64(math.floor(x)) + di, np.int64(math.floor(y)) + dj
                    px = i + lattice(i % count, j % count, seed) - x
                    py = j + lattice(i % count, j % count, seed + 1) - y
                    distance = math.sqrt(px * px + py * py)
                    if distance < first:
                        first, second, name = distance, first, lattice(i % count, j % count, seed + 2)
                    elif distance < second:
                        second = distance
            nearest[row, column], gap[row, column], identity[row, column] = first, second - first, name
