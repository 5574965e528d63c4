"""Compiled shading for the embedded scenes: textures, sky, sun and lamps with hard shadows, and bounced light.

All surfaces are matt, so a point has one colour from everywhere. Bounced and sky light comes from a grid of probes,
each holding the light that arrives along the six axis directions (an ambient cube); the probes are themselves ray cast.
Colours are linear; radiance is in units in which a white surface has radiance equal to its irradiance.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit, prange

from pmgs_lib.data.scenes.ray_kernels import (
    DOME,
    DOME_RADIUS,
    LIFT,
    STACK_DEPTH,
    Stack,
    is_blocked,
    nearest_hit,
    spread,
)
from pmgs_lib.data.scenes.shape_kernels import Geometry, add_scaled, dot, surface_normal, to_local, to_world, vector
from pmgs_lib.data.scenes.surface_kernels import Surface, albedo, weathering
from pmgs_lib.data.scenes.texture_kernels import noise

SAME_FACE = 0.999  # least cosine between normals that count as equal
LAMP_RANGE = 3.5  # metres at which a lamp has faded out


class Light(NamedTuple):
    """Arrays of three unless said otherwise."""

    sun_direction: np.ndarray  # towards the sun, unit
    sun: np.ndarray  # radiance of a white surface that faces the sun
    lamp_position: np.ndarray  # lamp 3
    lamp: np.ndarray  # lamp 3: radiance of a white surface at one metre
    zenith: np.ndarray
    horizon: np.ndarray
    cloud_offset: np.ndarray  # where in the noise this scene's sky lies
    cloud_cover: float
    sky_gain: float  # how bright the sky looks, relative to the light it gives
    exposure: np.ndarray  # of red, green, blue


class Probes(NamedTuple):
    cube: np.ndarray  # x y z 6 3: light from +x, -x, +y, -y, +z, -z
    valid: np.ndarray  # x y z: weight, next to nothing inside primitives
    corner: np.ndarray  # 3
    cell: float  # metres


class Scene(NamedTuple):
    geometry: Geometry
    surface: Surface
    light: Light
    probes: Probes


@njit(cache=True, error_model="numpy", forceinline=True)
def _fractal(x, y, z):
    total, amplitude = 0.0, 0.5
    for _ in range(5):
        total += amplitude * noise(x, y, z)
        x, y, z, amplitude = x * 2.03 + 3.1, y * 2.03 + 1.7, z * 2.03, amplitude * 0.52
    return total


@njit(cache=True, error_model="numpy", forceinline=True)
def _far_woods(light, d):
    """Hazy wooded hills, darker towards their foot."""
    leaves = 0.25 + 0.75 * _fractal(d[0] * 50.0, d[1] * 50.0, d[2] * 90.0)
    folds = 0.6 + 0.8 * noise(d[0] * 9.0, d[1] * 9.0, d[2] * 30.0 + 5.0)
    shade = leaves * folds * (0.30 + 1.6 * min(max(d[2], 0.0), 0.12))
    haze, h = 0.10, light.horizon
    return (h[0] * (0.78 * shade + haze), h[1] * (0.90 * shade + 1.1 * haze), h[2] * (0.60 * shade + 1.25 * haze))


@njit(cache=True, error_model="numpy", forceinline=True)
def sky_radiance(light, point):
    """Colour of the dome at a point on it: lit clouds over a gradient, and far hills along the horizon."""
    d = add_scaled((0.0, 0.0, 0.0), point, 1.0 / DOME_RADIUS)
    o = light.cloud_offset
    ridge = 0.01 + 0.10 * noise(d[0] * 3.0 + o[0], d[1] * 3.0 + o[1], o[2])
    ridge += 0.014 * noise(d[0] * 45.0 + o[0], d[1] * 45.0, 0.5)
    if d[2] < ridge:
        return _far_woods(light, d)
    base = add_scaled(light.horizon, add_scaled(light.zenith, light.horizon, -1.0), d[2] ** 0.5)
    flat = 2.4 / (d[2] + 0.30)
    x, y = d[0] * flat + o[0], d[1] * flat + o[1]
    density = _fractal(x, y, o[2])
    cloud = min(max((density - 0.56 + 0.22 * light.cloud_cover) * 5.0, 0.0), 1.0)
    cloud = cloud * (2.0 - cloud)
    # Clouds are darker where there is more of them on the way to the sun.
    s = light.sun_direction
    thick = _fractal(x + 0.25 * s[0], y + 0.25 * s[1], o[2] + 0.1)
    white = light.horizon[1] * (1.75 - 1.5 * thick)
    glow = max(dot(d, s), 0.0) ** 24 * 0.15
    return (
        base[0] + (white - base[0]) * cloud + glow * light.sun[0],
        base[1] + (white - base[1]) * cloud + glow * light.sun[1],
        base[2] + (white * 1.03 - base[2]) * cloud + glow * light.sun[2],
    )


@njit(cache=True, error_model="numpy", forceinline=True)
def _bounced_light(scene, point, normal):
    """Probe light at a surface point, from the probes in front of the surface; open sky far outside the probes."""
    probes, cell, corner = scene.probes, scene.probes.cell, scene.probes.corner
    nx, ny, nz = probes.valid.shape
    beyond = max(corner[0] - point[0], point[0] - corner[0] - nx * cell)
    if max(beyond, max(corner[1] - point[1], point[1] - corner[1] - ny * cell)) > 2.0 * cell:
        return add_scaled((0.0, 0.0, 0.0), scene.light.horizon, 0.35 + 0.25 * normal[2])
    x = min(max((point[0] + 0.4 * cell * normal[0] - corner[0]) / cell, 0.0), nx - 1.001)
    y = min(max((point[1] + 0.4 * cell * normal[1] - corner[1]) / cell, 0.0), ny - 1.001)
    z = min(max((point[2] + 0.4 * cell * normal[2] - corner[2]) / cell, 0.0), nz - 1.001)
    i, j, k = int(x), int(y), int(z)
    red, green, blue, total = 0.0, 0.0, 0.0, 1e-9
    for c in range(8):
        a, b, e = i + (c & 1), j + ((c >> 1) & 1), k + (c >> 2)
        weight = (1.0 - abs(x - a)) * (1.0 - abs(y - b)) * (1.0 - abs(z - e)) * probes.valid[a, b, e]
        if weight <= 0.0:
            continue
        front = (a * cell + corner[0] - point[0]) * normal[0] + (b * cell + corner[1] - point[1]) * normal[1]
        front += (e * cell + corner[2] - point[2]) * normal[2]
        weight *= min(max(0.4 + front / cell, 0.02), 1.0)
        total += weight
        for axis in range(3):
            side = 2 * axis + (1 if normal[axis] < 0.0 else 0)
            w = weight * normal[axis] * normal[axis]
            red += w * probes.cube[a, b, e, side, 0]
            green += w * probes.cube[a, b, e, side, 1]
            blue += w * probes.cube[a, b, e, side, 2]
    return (red / total, green / total, blue / total)


@njit(cache=True, error_model="numpy", forceinline=True)
def _direct_light(scene, stack, point, normal):
    """Sun and lamps, each one shadow ray away."""
    light = scene.light
    start = add_scaled(point, normal, LIFT)
    total = (0.0, 0.0, 0.0)
    sun = (light.sun_direction[0], light.sun_direction[1], light.sun_direction[2])
    facing = dot(normal, sun)
    if facing > 0.0 and not is_blocked(scene.geometry, stack, start, sun, 2.0 * DOME_RADIUS):
        total = add_scaled(total, light.sun, facing)
    for number in range(light.lamp_position.shape[0]):
        way = add_scaled(vector(light.lamp_position, number), start, -1.0)
        square = dot(way, way)
        facing = dot(normal, way)
        fade = 1.0 - square / (LAMP_RANGE * LAMP_RANGE)
        if facing > 0.0 and fade > 0.0 and not is_blocked(scene.geometry, stack, start, way, 1.0):
            strength = fade * fade * facing / (math.sqrt(square) * (square + 0.05))
            total = add_scaled(total, vector(light.lamp, number), strength)
    return total


@njit(cache=True, error_model="numpy", forceinline=True)
def _leafy_normal(point, normal, rough):
    """The normal of one of many small leaves that together make up a surface."""
    x, y, z = point[0] * 17.0, point[1] * 17.0, point[2] * 17.0
    turn = (noise(x, y, z) - 0.5, noise(x + 31.0, y, z) - 0.5, noise(x, y + 47.0, z) - 0.5)
    leaf = add_scaled(normal, turn, 2.0 * rough)
    return add_scaled((0.0, 0.0, 0.0), leaf, 1.0 / math.sqrt(dot(leaf, leaf) + 1e-12))


@njit(cache=True, error_model="numpy", forceinline=True)
def _surface_at(scene, ray, hit, angle):
    """(point, normal, albedo) where a ray (origin, direction, cone width in radians) meets its hit (t, primitive)."""
    t, primitive = hit
    geometry, point = scene.geometry, add_scaled(ray[0], ray[1], t)
    local = to_local(geometry, primitive, add_scaled(point, vector(geometry.center, primitive), -1.0))
    normal_local = surface_normal(geometry.kind[primitive], vector(geometry.size, primitive), local)
    normal = to_world(geometry, primitive, normal_local)
    slant = max(abs(dot(normal, ray[1])) / math.sqrt(dot(ray[1], ray[1])), 0.08)
    footprint = angle * t / math.sqrt(slant)
    color = albedo(geometry, scene.surface, (primitive, local, normal_local, footprint))
    rough = scene.surface.rough[primitive]
    return point, (_leafy_normal(point, normal, rough) if rough > 0.0 else normal), color


@njit(cache=True, error_model="numpy", parallel=True)
def trace_radiance(geometry, surface, light, probes, rays, share, radiance):
    """Fills radiance (group ray 3) along rays (group ray 7): origin, direction, and width of the cone in radians.

    `share` neighbouring rays that meet the same flat piece of surface use light and weathering at the first of them,
    and the texture at their own point. Takes the fields of `Scene` one by one: numba's threads cannot be handed nested
    tuples.
    """
    groups, count = rays.shape[:2]
    for index in prange(groups):
        scene, group = Scene(geometry, surface, light, probes), spread(index, groups)
        stack = Stack(np.empty(STACK_DEPTH, np.int64), np.empty(STACK_DEPTH))
        previous, before, incident = DOME, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)
        for ray in range(count):
            origin = (rays[group, ray, 0], rays[group, ray, 1], rays[group, ray, 2])
            direction = (rays[group, ray, 3], rays[group, ray, 4], rays[group, ray, 5])
            hit = nearest_hit(geometry, stack, origin, direction, previous)
            primitive = hit[1]
            if primitive == DOME:
                sky = sky_radiance(light, add_scaled(origin, direction, hit[0]))
                color = add_scaled((0.0, 0.0, 0.0), sky, light.sky_gain)
            else:
                point, normal, own = _surface_at(scene, (origin, direction), hit, rays[group, ray, 6])
                if ray % share == 0 or primitive != previous or dot(normal, before) < SAME_FACE:
                    direct = _direct_light(scene, stack, point, normal)
                    incident = add_scaled(direct, _bounced_light(scene, point, normal), 1.0)
                    incident = add_scaled((0.0, 0.0, 0.0), incident, weathering(point))
                    before = normal
                glow = surface.emission[primitive]
                color = (own[0] * (incident[0] + glow), own[1] * (incident[1] + glow), own[2] * (incident[2] + glow))
            previous = primitive
            for channel in range(3):
                radiance[group, ray, channel] = color[channel]
