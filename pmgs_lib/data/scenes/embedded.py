"""Embedded scenes: procedural rooms and streets with exact cameras and exact depth, the same on every machine.

Scenes are named by whole numbers. `make_scene(seed)` is one scene: an indoor room for even seeds, a street for odd
ones. `make_scenes(seed, count=n)` writes the scenes with the seeds `scene_seed(seed, 0)` to `scene_seed(seed, n - 1)`,
which are `seed * 1_000_000 + index`: sets made from different seeds never share a scene, so give training and test sets
different ones. The number in a key is the scene's own seed.

World frame: metres, z up, floor or road at z = 0. Near and far are 0.5 m and 40 m; the sky is a dome of 30 m radius, so
every pixel has a surface and a depth.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pmgs_lib.cameras import Cameras
from pmgs_lib.data.chunks import ChunkScene, encode_jpeg
from pmgs_lib.data.folders import write_scenes
from pmgs_lib.data.scenes.camera_kernels import develop, fill_sample_rays
from pmgs_lib.data.scenes.layout import Layout, unlit_scene, with_bounced_light
from pmgs_lib.data.scenes.light_kernels import Scene, trace_radiance
from pmgs_lib.data.scenes.paths import (
    NATIVE_HEIGHT,
    NATIVE_WIDTH,
    Path,
    draw_path,
    image_camera,
    path_fault,
    trace_view,
)
from pmgs_lib.data.scenes.room import make_room
from pmgs_lib.data.scenes.street import make_street
from pmgs_lib.data.scenes.textures import display_values
from pmgs_lib.errors import ParameterError
from pmgs_lib.views import Example, Views

NEAR, FAR = 0.5, 40.0
STYLES = (("indoor", make_room), ("street", make_street))
SCENES_PER_SEED = 1_000_000
LAYOUT_DRAWS, PATH_DRAWS = 12, 40
# The median radiance is shown at this share of white, in linear light, unless bright parts would burn out.
MIDDLE_GRAY, BRIGHT = 0.18, 0.68
SKY_GAIN = 0.45
WHITE_BALANCE = 0.4
# Texture footprint of a sample in pixels: between the spacing of samples and a pixel it is sharp and does not shimmer.
SAMPLE_FOOTPRINT = 0.6
SAMPLES_SHARING_LIGHT = 4  # of a pixel's four, where they meet one flat piece of surface


@dataclass(frozen=True)
class RenderedScene:
    """A rendered camera walk: sRGB images in 0 to 255, exact z-depth at pixel centres in metres."""

    key: str
    cameras: Cameras
    images: UInt8[Tensor, "frame height width 3"]
    depth: Float[Tensor, "frame height width"]

    def views(self, frames: Sequence[int]) -> Views:
        """Some frames as views, depth included."""
        chosen = list(frames)
        images = self.images[chosen].movedim(-1, -3).float() / 255
        return Views(images, self.cameras[chosen], torch.tensor(NEAR), torch.tensor(FAR), self.depth[chosen])

    def example(self, context_frames: Sequence[int], target_frames: Sequence[int]) -> Example:
        """An example without batch axis from frames of this scene."""
        return Example(self.views(context_frames), self.views(target_frames), self.key)


def scene_seed(seed: int, index: int) -> int:
    """Seed of scene `index` in the set made from `seed`; no two sets share one."""
    if seed < 0 or not 0 <= index < SCENES_PER_SEED:
        raise ParameterError(
            f"scene_seed: seed {seed}, index {index}: expected seed >= 0 and 0 <= index < {SCENES_PER_SEED}; "
            "use another seed for more scenes"
        )
    return seed * SCENES_PER_SEED + index


def scene_key(seed: int) -> str:
    """Name of the scene `make_scene(seed)`, such as `street_000123`."""
    return f"{STYLES[seed % 2][0]}_{seed:06d}"


def make_scene(seed: int, *, frames: int = 20, height: int = NATIVE_HEIGHT, width: int = NATIVE_WIDTH) -> RenderedScene:
    """One embedded scene, the same for the same seed; geometry and cameras do not depend on the resolution.

    Consecutive frames are 6 to 14 cm and at most 2.2 degrees apart. Every view keeps the rules of `paths`.

    >>> scene = make_scene(4, frames=2, height=32, width=56)
    >>> scene.key, tuple(scene.images.shape), bool((scene.depth > NEAR).all())
    ('indoor_000004', (2, 32, 56, 3), True)
    """
    _check_request(seed, frames, height, width)
    scene, path = _compose(seed, frames)
    cameras = _cameras(path, height, width)
    images, depth = zip(*(_render(scene, camera, height, width) for camera in cameras), strict=True)
    return RenderedScene(scene_key(seed), cameras, torch.stack(images), torch.stack(depth))


def make_scenes(
    seed: int,
    *,
    count: int,
    folder: str | os.PathLike[str],
    split: str = "test",
    frames: int = 20,
    height: int = NATIVE_HEIGHT,
    width: int = NATIVE_WIDTH,
    scenes_per_chunk: int = 8,
    overwrite: bool = False,
    workers: int = 0,
) -> list[str]:
    """Write `count` embedded scenes as chunk files with exact depth under `folder/split`; returns their keys.

    Scene i is `make_scene(scene_seed(seed, i))`. Pictures are JPEG of quality 95 without chroma subsampling. The index
    is written last; a folder that already holds a dataset is refused unless `overwrite`. workers: processes that make
    scenes side by side, with one thread each; 0 makes one after the other with all threads, which is slower on many
    cores since half the work of a scene has one thread only. The files are the same.
    """
    if count < 1 or workers < 0:
        raise ParameterError(
            f"make_scenes: count {count}, workers {workers}: expected at least 1 scene, 0 workers or more"
        )
    seeds = [scene_seed(seed, index) for index in range(count)]
    _check_request(seeds[0], frames, height, width)
    scenes = DataLoader(
        _StoredScenes(seeds, frames, height, width),
        batch_size=None,
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,  # numba's threads do not survive a fork
        worker_init_fn=_with_one_thread,
    )
    return list(write_scenes(folder, split, iter(scenes), scenes_per_chunk=scenes_per_chunk, overwrite=overwrite))


@dataclass(frozen=True)
class _StoredScenes(Dataset[ChunkScene]):
    """Scenes as they are written, made when they are asked for."""

    seeds: Sequence[int]
    frames: int
    height: int
    width: int

    def __len__(self) -> int:
        return len(self.seeds)

    def __getitem__(self, index: int) -> ChunkScene:
        return _stored(make_scene(self.seeds[index], frames=self.frames, height=self.height, width=self.width))


def _with_one_thread(_worker: int) -> None:
    numba.set_num_threads(1)


def _stored(scene: RenderedScene) -> ChunkScene:
    return ChunkScene(
        key=scene.key,
        cameras=scene.cameras,
        images=[encode_jpeg(image) for image in scene.images],
        timestamps=torch.arange(len(scene.images)),
        depth=scene.depth,
    )


def _check_request(seed: int, frames: int, height: int, width: int) -> None:
    wrong = seed < 0 or not 1 <= frames <= 200 or min(height, width) < 16 or max(height, width) > 4096
    if wrong or not 0.4 <= width / height <= 2.5:
        raise ParameterError(
            f"make_scene: seed {seed}, frames {frames}, height {height}, width {width}: expected seed >= 0, "
            "1 to 200 frames, sides of 16 to 4096 pixels, width / height of 0.4 to 2.5"
        )


def _compose(seed: int, frames: int) -> tuple[Scene, Path]:
    """The first layout and walk, in the fixed order of this seed's draws, that keep all rules; then its light."""
    for draw in range(LAYOUT_DRAWS):
        rng = np.random.default_rng([seed, draw])
        layout: Layout = STYLES[seed % 2][1](rng)
        scene = unlit_scene(layout)
        for _ in range(PATH_DRAWS):
            path = draw_path(layout, scene, rng, frames)
            if path is not None and path_fault(scene, path) is None:
                return _exposed(with_bounced_light(scene), path), path
    raise ParameterError(
        f"make_scene: seed {seed} has no walk of {frames} frames in free space (after {LAYOUT_DRAWS} layouts): "
        "ask for fewer frames or take another seed"
    )


def _cameras(path: Path, height: int, width: int) -> Cameras:
    intrinsics = torch.from_numpy(path.intrinsics(height, width)).float()
    poses = torch.from_numpy(path.world_from_camera).float()
    return Cameras(poses, intrinsics.expand(len(poses), 3, 3).contiguous())


def _exposed(scene: Scene, path: Path) -> Scene:
    """The scene with the exposure that brings the median radiance of three small views to middle grey.

    A mild white balance takes a part of the common tint out, as a camera does.
    The sky is held back, as a photographer's graduated filter does: burnt-out clouds would have no texture.
    """
    probe = 1e-4  # so small that the display curve is a straight line
    dim = scene._replace(light=scene.light._replace(exposure=np.full(3, probe), sky_gain=SKY_GAIN))
    intrinsics, poses = path.intrinsics(32, 56), path.world_from_camera
    views = [_shade(dim, pose, intrinsics, 32, 56) for pose in poses[[0, len(poses) // 2, -1]]]
    light = np.stack(views).reshape(-1, 3) / probe
    balance = (light.mean() / light.mean(axis=0)) ** WHITE_BALANCE
    middle, bright = np.percentile(light.mean(axis=1), (50, 92))
    exposure = balance * min(-math.log(1 - MIDDLE_GRAY) / middle, -math.log(1 - BRIGHT) / bright)
    return scene._replace(light=scene.light._replace(exposure=exposure, sky_gain=SKY_GAIN))


def _shade(scene: Scene, pose: np.ndarray, intrinsics: np.ndarray, height: int, width: int) -> np.ndarray:
    """Linear display values (h w 3) in [0, 1] of one view, from 2x2 samples a pixel."""
    camera = image_camera(pose, intrinsics)
    rays = np.empty((height, 4 * width, 7))
    fill_sample_rays(camera, SAMPLE_FOOTPRINT * np.linalg.norm(camera[:, 0]) / width, rays)
    radiance, picture = np.empty((height, 4 * width, 3)), np.empty((height, width, 3))
    trace_radiance(*scene, rays, SAMPLES_SHARING_LIGHT, radiance)
    develop(radiance, np.broadcast_to(scene.light.exposure, (3,)).astype(float), picture)
    return picture


def _render(scene: Scene, camera: Cameras, height: int, width: int) -> tuple[Tensor, Tensor]:
    """sRGB image (h w 3) and z-depth (h w), from the camera as it is stored: in float32."""
    pose, intrinsics = camera.world_from_camera.double().numpy(), camera.intrinsics.double().numpy()
    light = _shade(scene, pose, intrinsics, height, width)
    depth, _ = trace_view(scene, pose, intrinsics, height, width)
    pixels = np.round(display_values(light) * 255).astype(np.uint8)
    return torch.from_numpy(pixels), torch.from_numpy(depth.astype(np.float32))
