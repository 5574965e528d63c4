"""Scenes on disk as examples for models: by frame numbers for evaluation, drawn by a sampler for training."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pmgs_lib.cameras import Cameras
from pmgs_lib.data.chunks import ChunkScene, decode_image
from pmgs_lib.data.folders import ChunkFolder
from pmgs_lib.data.manifests import manifest_path, read_manifest
from pmgs_lib.data.resize import EXACT, Fit, ImageRule, resize_depth, resize_image, resize_intrinsics
from pmgs_lib.data.sampling import Sampler, draw_generator
from pmgs_lib.data.sampling.base import Frames
from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.views import Example, Views

log = logging.getLogger(__name__)
DL3DV_PREFIX = "dl3dv_"  # released conversions put it before DL3DV's keys, some before those of training scenes only
CASE_MARK = "#"  # "fox#2" is the scene "fox" asked about in a second way: one scene can give several examples


@dataclass(frozen=True)
class SceneDataset(Dataset[Views]):
    """The scenes of one split, in the order of its index. `dataset[i]` is all frames of scene i at their own size.

    near, far: z-depth range in world units given to every view; None takes the hint of an imported scene's manifest.
    images: how pictures and intrinsics change with the size; a protocol has its own (`protocol.images`).
    """

    root: Path
    split: str
    near: float | None = None
    far: float | None = None
    images: ImageRule = EXACT
    folder: ChunkFolder = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", ChunkFolder(self.root, self.split))
        given = self.near is not None and self.far is not None
        if (self.near is None) != (self.far is None) or (given and not 0 < self.near < self.far < float("inf")):
            raise ParameterError(
                f"dataset {self.root}: near {self.near} and far {self.far}; expected 0 < near < far, or both left out"
            )

    @property
    def keys(self) -> list[str]:
        """Keys of the scenes."""
        return self.folder.keys

    def __len__(self) -> int:
        return len(self.folder.chunk_of_key)

    def __getitem__(self, index: int) -> Views:
        scene = self.scene(self.keys[index])
        own = scene.image_size()
        return self._views(scene, range(scene.frames), EXACT.fit(own, own))

    def scene(self, key: str) -> ChunkScene:
        """The stored scene of `key`; a case label after "#" is ignored."""
        return self.folder.scene(self.stored_key(key) or key.split(CASE_MARK, 1)[0])

    def stored_key(self, key: str) -> str | None:
        """The key under which a scene is stored, or None: case labels and DL3DV's prefix make no other scene."""
        plain = key.split(CASE_MARK, 1)[0]
        spellings = (key, plain, DL3DV_PREFIX + plain, plain.removeprefix(DL3DV_PREFIX))
        return next((known for known in spellings if known in self.folder.chunk_of_key), None)

    def example(
        self, key: str, context_indices: Sequence[int], target_indices: Sequence[int], height: int, width: int
    ) -> Example:
        """Context and target views of one scene (no batch axis) by frame number, scaled and cropped to one size.

        Raises DataError for a scene that is absent, damaged, too small or lacks a frame.
        """
        scene = self.scene(key)
        context = self.views(scene, context_indices, height, width)
        return Example(context, self.views(scene, target_indices, height, width), key)

    def views(self, scene: ChunkScene, frames: Sequence[int], height: int, width: int) -> Views:
        """The given frames of a scene at `height` x `width`, with depth where the scene has it."""
        where = f"dataset {self.root}, scene {scene.key!r}"
        return self._views(scene, frames, self.images.fit(scene.image_size(), (height, width), where))

    def _views(self, scene: ChunkScene, frames: Sequence[int], how: Fit) -> Views:
        where = f"dataset {self.root}, scene {scene.key!r}"
        missing = [frame for frame in frames if not 0 <= frame < scene.frames]
        if missing or not len(frames):
            told = (
                f"has no frame {missing[0]}, it has 0 to {scene.frames - 1}" if missing else "was asked for no frames"
            )
            raise DataError(f"{where}: {told}; correct the protocol or sampler")
        chosen = list(frames)
        cameras = scene.cameras[chosen]
        near, far = self.depth_range(scene.key)
        return Views(
            images=torch.stack([self._image(scene, frame, how, where) for frame in chosen]),
            cameras=Cameras(
                cameras.world_from_camera, resize_intrinsics(cameras.intrinsics, how, self.images.principal_point)
            ),
            near=torch.tensor(near),
            far=torch.tensor(far),
            depth=None if scene.depth is None else resize_depth(scene.depth[chosen], how),
        )

    def _image(self, scene: ChunkScene, frame: int, how: Fit, where: str) -> Tensor:
        pixels = decode_image(scene.images[frame], f"{where}, frame {frame}")
        return resize_image(pixels, how, self.images.resampling).permute(2, 0, 1).float() / 255

    def depth_range(self, key: str) -> tuple[float, float]:
        """Near and far of a scene: the dataset's own, or the hint that its import left."""
        if self.near is not None and self.far is not None:
            return float(self.near), float(self.far)
        if not manifest_path(self.root, self.split, key).is_file():
            raise DataError(
                f"dataset {self.root}, scene {key!r}: near and far are not known; open it with near and far"
            )
        manifest = read_manifest(self.root, self.split, key)
        if manifest.near_hint is None or manifest.far_hint is None:
            raise DataError(f"dataset {self.root}, scene {key!r}: {manifest.hint}; open it with near and far")
        return manifest.near_hint, manifest.far_hint


def open_dataset(
    root: str | os.PathLike[str],
    split: str = "test",
    *,
    near: float | None = None,
    far: float | None = None,
    images: ImageRule = EXACT,
) -> SceneDataset:
    """Open the scenes under `<root>/<split>`. Only the index is read now; a chunk is read when a scene is asked for.

    near, far: z-depth range in world units of every scene (imported captures bring a hint of their own). images: how
    pictures change with the size; for an evaluation the protocol's own, `protocol.images`. Raises
    DataError for a wrong path, an empty or unfinished folder, or an index that names missing chunks.

    >>> open_dataset("nowhere")
    Traceback (most recent call last):
    pmgs_lib.errors.DataError: dataset nowhere: there is no such folder; check the path
    """
    return SceneDataset(Path(root), split, near, far, images)


@dataclass(frozen=True)
class TrainingDataset(Dataset[Example]):
    """Examples drawn from the scenes of a dataset; example `i` is the same on every machine, whoever asks for it.

    The examples are numbered through all epochs: number i belongs to epoch `i // scenes`, and each epoch visits every
    scene once in its own order. So a loader reads in sequence, and training that resumes after `k` examples starts at
    number `k`. flip: mirror half of the examples left to right, cameras and world with them (as DepthSplat trains).
    batch_size: how many examples make a training step, for samplers that change with the steps.

    unusable: what becomes of an example whose scene cannot give it (too short for the sampler, damaged, too small).
    "refuse" raises that scene's DataError. "replace" takes the next scene in the order of the epoch that can, so that
    an example stays a function of its number; each such scene is named in the log of the process that met it and in
    `replaced`, and `unusable_scenes()` names them all beforehand.
    """

    dataset: SceneDataset
    sampler: Sampler
    height: int
    width: int
    length: int  # steps times batch size of a whole training
    seed: int = 0
    flip: bool = True
    batch_size: int = 1
    unusable: Literal["refuse", "replace"] = "refuse"
    replaced: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)  # key -> reason

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self.length:
            raise IndexError(f"example {index} of {self.length}")
        epoch, position = divmod(index, len(self.dataset))
        order = draw_generator(self.seed, epoch, 0).permutation(len(self.dataset))
        for further in range(len(order)):
            key = self.dataset.keys[order[(position + further) % len(order)]]
            try:
                return self._example(key, draw_generator(self.seed, epoch, position + 1), index // self.batch_size)
            except DataError as reason:
                if self.unusable == "refuse":
                    raise
                self._note(key, reason)
        raise DataError(
            f"dataset {self.dataset.root}: none of its {len(order)} scenes can give an example; the first: "
            f"{next(iter(self.replaced.values()))}"
        )

    def _example(self, key: str, generator: np.random.Generator, step: int) -> Example:
        context, target = self._frames(key, generator, step)
        example = self.dataset.example(key, context, target, self.height, self.width)
        return mirrored(example) if self.flip and generator.random() < 0.5 else example

    def _frames(self, key: str, generator: np.random.Generator, step: int) -> tuple[Frames, Frames]:
        scene = self.dataset.scene(key)
        where = f"dataset {self.dataset.root}, scene {key!r}"
        return self.sampler.sample(scene.frames, generator, where, step=step, centers=scene.cameras.centers, key=key)

    def _note(self, key: str, reason: DataError) -> None:
        if key not in self.replaced:
            log.warning("%s; another scene takes its place in every epoch", reason)
            self.replaced[key] = str(reason)

    def unusable_scenes(self) -> dict[str, str]:
        """Every scene that cannot give the first example of it, with the reason: key -> DataError in words.

        Opens each scene and draws frames; pictures are measured, not decoded: damage behind their headers is not seen.
        """
        found = {}
        for key in self.dataset.keys:
            try:
                self._frames(key, draw_generator(self.seed, 0, 1), 0)
                self.dataset.images.fit(
                    self.dataset.scene(key).image_size(), (self.height, self.width), f"scene {key!r}"
                )
            except DataError as reason:
                found[key] = str(reason)
        return found


def mirrored(example: Example) -> Example:
    """The example as seen in a mirror that swaps left and right, world included (its x axis changes sign)."""
    return Example(_mirrored_views(example.context), _mirrored_views(example.target), example.key)


def _mirrored_views(views: Views) -> Views:
    mirror = torch.diag(views.cameras.world_from_camera.new_tensor([-1.0, 1.0, 1.0, 1.0]))
    intrinsics = views.cameras.intrinsics.clone()
    intrinsics[..., 0, 2] = 1 - intrinsics[..., 0, 2]
    return Views(
        images=views.images.flip(-1),
        cameras=Cameras(mirror @ views.cameras.world_from_camera @ mirror, intrinsics),
        near=views.near,
        far=views.far,
        depth=None if views.depth is None else views.depth.flip(-1),
    )
