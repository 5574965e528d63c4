"""Compiled lookup of surface colour for the embedded scenes: unrolled primitives, mip-mapped textures, weathering."""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from pmgs_lib.data.scenes.shape_kernels import BOX, ELLIPSOID, add_scaled, vector
from pmgs_lib.data.scenes.texture_kernels import noise

TEXTURE_SIZE = 512
TEXTURE_LEVELS = 10  # 512, 256, ... 1
LEVEL_START = np.cumsum([0] + [(TEXTURE_SIZE >> level) ** 2 for level in range(TEXTURE_LEVELS - 1)])
# sRGB (IEC 61966-2-1) bytes to linear light.
_BYTES = np.arange(256) / 255.0
LINEAR = np.where(_BYTES <= 0.04045, _BYTES / 12.92, ((_BYTES + 0.055) / 1.055) ** 2.4)


class Surface(NamedTuple):
    """What primitives look like; see `geometry.Material`."""

    atlas: np.ndarray  # texture texel 3: sRGB bytes, all mip levels
    texture: np.ndarray  # primitive, int64: layer of the atlas
    tint: np.ndarray  # primitive 3
    mapping: np.ndarray  # primitive 4: repeats per metre (u, v), offset (u, v)
    anchor: np.ndarray  # primitive 3: added to local positions before mapping
    grain: np.ndarray  # primitive, int64: local axis along which u runs
    emission: np.ndarray  # primitive
    rough: np.ndarray  # primitive: how far leaves turn from the surface they make up, 0 for smooth


@njit(cache=True, error_model="numpy", forceinline=True)
def _texel(atlas, texture, place, weight):
    """Weighted linear colour of one texel."""
    return (
        LINEAR[atlas[texture, place, 0]] * weight,
        LINEAR[atlas[texture, place, 1]] * weight,
        LINEAR[atlas[texture, place, 2]] * weight,
    )


@njit(cache=True, error_model="numpy", forceinline=True)
def _level_color(atlas, texture, level, u, v):
    """Bilinear, repeating lookup in one mip level."""
    size, start = TEXTURE_SIZE >> level, LEVEL_START[level]
    x, y = u * size - 0.5, v * size - 0.5
    left, top = math.floor(x), math.floor(y)
    a, b = x - left, y - top
    i0, j0 = np.int64(left) & (size - 1), np.int64(top) & (size - 1)
    i1, j1 = (i0 + 1) & (size - 1), (j0 + 1) & (size - 1)
    color = _texel(atlas, texture, start + j0 * size + i0, (1 - a) * (1 - b))
    color = add_scaled(color, _texel(atlas, texture, start + j0 * size + i1, a * (1 - b)), 1.0)
    color = add_scaled(color, _texel(atlas, texture, start + j1 * size + i0, (1 - a) * b), 1.0)
    return add_scaled(color, _texel(atlas, texture, start + j1 * size + i1, a * b), 1.0)


@njit(cache=True, error_model="numpy", forceinline=True)
def _texture_color(atlas, texture, u, v, footprint):
    """Trilinear lookup; `footprint` is the size of a sample in texture repeats."""
    level = min(max(math.log2(max(footprint * TEXTURE_SIZE, 1e-6)), 0.0), TEXTURE_LEVELS - 1.001)
    base = int(level)
    fine, coarse = _level_color(atlas, texture, base, u, v), _level_color(atlas, texture, base + 1, u, v)
    return add_scaled(fine, add_scaled(coarse, fine, -1.0), level - base)


@njit(cache=True, error_model="numpy", forceinline=True)
def _texture_position(kind, size, local, normal, grain):
    """Position in metres on the unrolled surface of a primitive; v runs down, pictures on walls are upright."""
    if kind == BOX:
        face = 0 if abs(normal[0]) > 0.5 else (1 if abs(normal[1]) > 0.5 else 2)
        across = grain if grain != face else (face + 1) % 3
        down = 3 - face - across
        u = local[across] * (-normal[1] if face == 1 else (normal[0] if face == 0 else 1.0))
        return u, -local[down]
    angle = math.atan2(local[1], local[0])
    if kind == ELLIPSOID:
        height = min(max(local[2] / size[2], -1.0), 1.0)
        return angle * size[0], math.acos(height) * size[2]
    if abs(normal[2]) > 0.999:
        return local[0], local[1]
    return angle * max(size[0], size[1]), -local[2]


@njit(cache=True, error_model="numpy", forceinline=True)
def albedo(geometry, surface, hit):
    """Reflectance at a hit: texture times tint.

    `hit` is (primitive, local point, local normal, size of the sample on the surface in metres).
    """
    primitive, local, normal, footprint = hit
    anchor, mapping = vector(surface.anchor, primitive), surface.mapping
    kind, size = geometry.kind[primitive], vector(geometry.size, primitive)
    if kind == BOX:
        moved = add_scaled(local, anchor, 1.0)
        u, v = _texture_position(kind, size, moved, normal, surface.grain[primitive])
    else:
        u, v = _texture_position(kind, size, local, normal, 0)
        u, v = u + anchor[0], v + anchor[1]
    u, v = u * mapping[primitive, 0] + mapping[primitive, 2], v * mapping[primitive, 1] + mapping[primitive, 3]
    repeats = footprint * max(mapping[primitive, 0], mapping[primitive, 1])
    color = _texture_color(surface.atlas, surface.texture[primitive], u, v, repeats)
    tint = vector(surface.tint, primitive)
    return (color[0] * tint[0], color[1] * tint[1], color[2] * tint[2])


@njit(cache=True, error_model="numpy", forceinline=True)
def weathering(point):
    """Slow changes of reflectance in the world (factor about 1), which hide that textures repeat."""
    stains = 0.24 * noise(point[0] * 0.9, point[1] * 0.9, point[2] * 0.9)
    return 0.80 + stains + 0.16 * noise(point[0] * 3.1 + 7.0, point[1] * 3.1, point[2] * 3.1)
