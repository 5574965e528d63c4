"""What a layout of an embedded scene hands on, and how it becomes a lit scene for the kernels."""

import math
from dataclasses import dataclass

import numpy as np

from pmgs_lib.data.scenes.geometry import SceneBuilder, bounds
from pmgs_lib.data.scenes.light_kernels import Light, Probes, Scene, trace_radiance
from pmgs_lib.data.scenes.ray_kernels import find_free

PROBE_RAYS = 96
BOUNCES = 2
HIDDEN_WEIGHT = 1e-4  # of a probe within a primitive


@dataclass(frozen=True)
class Layout:
    """A furnished room or a street, before light; lengths in metres, colours linear."""

    builder: SceneBuilder
    walk: tuple[float, float, float, float]  # lowest x, y and highest x, y of the camera
    targets: list[np.ndarray]  # points worth looking at
    sun_direction: np.ndarray  # towards the sun
    sun: tuple[float, float, float]
    lamps: list[tuple[np.ndarray, tuple[float, float, float]]]
    probe_range: tuple[tuple[float, float, float], tuple[float, float, float]]  # corners of the lit volume
    probe_cell: float
    sky_level: float = 1.0
    fill: float = 0.0  # light from all sides that the first bounce starts from, for what few bounces leave out


def sun_direction(azimuth: float, elevation: float) -> np.ndarray:
    """Unit vector towards a sun at an azimuth (counter-clockwise from x) and an elevation, both in radians."""
    level = math.cos(elevation)
    return np.array([level * math.cos(azimuth), level * math.sin(azimuth), math.sin(elevation)])


def unlit_scene(layout: Layout) -> Scene:
    """The scene with all its lights, but no bounced light yet and an exposure of one."""
    geometry, surface = layout.builder.build()
    rng = layout.builder.rng
    sky = np.array([0.30, 0.48, 0.82]) * layout.sky_level * rng.uniform(0.9, 1.1)
    horizon = np.array([0.74, 0.82, 0.92]) * layout.sky_level * rng.uniform(0.95, 1.05)
    lamps = layout.lamps
    light = Light(
        sun_direction=np.array(layout.sun_direction, dtype=float),
        sun=np.array(layout.sun, dtype=float),
        lamp_position=np.array([position for position, _ in lamps]).reshape(-1, 3),
        lamp=np.array([color for _, color in lamps], dtype=float).reshape(-1, 3),
        zenith=np.array(sky, dtype=float),
        horizon=np.array(horizon, dtype=float),
        cloud_offset=np.array(rng.uniform(0, 500, 3), dtype=float),
        cloud_cover=float(rng.uniform(0.2, 1.0)),
        sky_gain=1.0,
        exposure=np.ones(3),
    )
    low, high = (np.array(corner) for corner in layout.probe_range)
    shape = tuple(np.ceil((high - low) / layout.probe_cell).astype(int) + 1)
    probes = Probes(np.full((*shape, 6, 3), layout.fill), np.ones(shape), low, layout.probe_cell)
    return Scene(geometry, surface, light, probes)


def with_bounced_light(scene: Scene) -> Scene:
    """The scene with probes that hold sky light and light bounced off surfaces.

    Each round of rays sees the light of the round before, so `BOUNCES` rounds carry that many reflections.
    """
    shape, directions = scene.probes.valid.shape, _sphere(PROBE_RAYS)
    places = scene.probes.corner + scene.probes.cell * np.indices(shape).reshape(3, -1).T
    free = np.empty(len(places))
    find_free(scene.geometry, places, free)
    rays = np.empty((int(free.sum()), PROBE_RAYS, 7))
    rays[..., :3], rays[..., 3:6] = places[free > 0][:, None], directions
    rays[..., 6] = math.sqrt(4 * math.pi / PROBE_RAYS)
    sides = np.maximum(np.stack([directions, -directions], axis=-1), 0).reshape(PROBE_RAYS, 6)
    weights = sides / sides.sum(axis=0)
    for _ in range(BOUNCES):
        radiance = np.empty((*rays.shape[:2], 3))
        trace_radiance(*scene, rays, 1, radiance)
        light = np.einsum("rs,prc->psc", weights, radiance)
        # Surfaces that no free probe is near to, as within a cupboard, get the mean light.
        cube = np.tile(light.mean(axis=0), (len(places), 1, 1))
        cube[free > 0] = light
        valid = np.maximum(free, HIDDEN_WEIGHT).reshape(shape)
        scene = scene._replace(probes=scene.probes._replace(cube=cube.reshape(*shape, 6, 3), valid=valid))
    return scene


def primitive_bounds(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corners of the boxes around all primitives, each (primitive 3)."""
    return bounds(*scene.geometry[:4])


def _sphere(count: int) -> np.ndarray:
    """Evenly spread unit vectors (count 3): a golden-angle spiral."""
    index = np.arange(count) + 0.5
    z, angle = 1 - 2 * index / count, math.pi * (1 + math.sqrt(5)) * index
    level = np.sqrt(1 - z * z)
    return np.stack([level * np.cos(angle), level * np.sin(angle), z], axis=1)
