"""Compiled ends of a picture: the sample rays of a camera, and samples of radiance to displayed pixels."""

import math

from numba import njit, prange


@njit(cache=True, error_model="numpy", parallel=True)
def fill_sample_rays(camera, footprint, rays):
    """Fills rays (h w*4 7) with 2x2 samples a pixel: origin, direction of z-depth 1, and `footprint` as cone width.

    camera (3 4): its columns turn picture coordinates x, y in 0 to 1 and the constant 1 into a direction; the last is
    the origin.
    """
    height, samples = rays.shape[:2]
    for row in prange(height):
        for sample in range(samples):
            x = (2 * (sample // 4) + sample % 2 + 0.5) / (samples // 2)
            y = (2 * row + sample // 2 % 2 + 0.5) / (2 * height)
            for axis in range(3):
                rays[row, sample, axis] = camera[axis, 3]
                rays[row, sample, 3 + axis] = camera[axis, 0] * x + camera[axis, 1] * y + camera[axis, 2]
            rays[row, sample, 6] = footprint


@njit(cache=True, error_model="numpy", parallel=True)
def develop(radiance, exposure, picture):
    """Fills picture (h w 3) in [0, 1], linear light, with the mean of four exposed samples of radiance (h w*4 3)."""
    height, width = picture.shape[:2]
    for row in prange(height):
        for column in range(width):
            for channel in range(3):
                total = 0.0
                for sample in range(4 * column, 4 * column + 4):
                    total += 1.0 - math.exp(-exposure[channel] * radiance[row, sample, channel])
                picture[row, column, channel] = total / 4
