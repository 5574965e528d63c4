"""Pointmaps from a folder on disk, made once."""

import logging
from collections import OrderedDict
from pathlib import Path

import torch

from pmgs_lib.cameras import Cameras
from pmgs_lib.errors import DataError
from pmgs_lib.pointmaps.base import Identity, Pointmap, PointmapSource
from pmgs_lib.pointmaps.cache_files import Manifest, PointmapFolder, StoredType
from pmgs_lib.views import Views

logger = logging.getLogger(__name__)


class CachedPointmap(PointmapSource):
    """Serves what another source made of exactly these views; without that source, from the folder alone.

    folder: of one source with one setting, filled by `fill_cache` or by this class. source: makes what is missing and
    what is damaged (named in a warning); None: either is a `DataError`, so that no run waits for a model unnoticed.
    A folder of another source or setting is refused. stored_type: "float16" halves the size, see `Manifest`.
    remember: so many pointmaps stay in memory, the last used ones (8 MB each for 6 views of 256x448).
    """

    def __init__(
        self,
        folder: str | Path,
        source: PointmapSource | None = None,
        stored_type: StoredType = "float32",
        remember: int = 64,
    ) -> None:
        root = Path(folder)
        self.source, self.remember = source, remember
        if source is None:
            self.folder = PointmapFolder.open(root)
        else:
            self.folder = PointmapFolder.prepare(root, Manifest.of(source, stored_type))
        self.evidence = self.folder.manifest.evidence
        self._remembered: OrderedDict[Path, Pointmap] = OrderedDict()

    @property
    def identity(self) -> Identity:
        return {**self.folder.manifest.identity, "stored_type": self.folder.manifest.stored_type}

    def pointmap(self, context: Views, key: str | tuple[str, ...]) -> Pointmap:
        scenes = scenes_of(context)
        keys = key if isinstance(key, tuple) and len(key) == len(scenes) else (str(key),) * len(scenes)
        found = [self.of_scene(scene, name)[0] for scene, name in zip(scenes, keys, strict=True)]
        device = context.images.device
        points = torch.stack([each.points for each in found]).to(device)
        confidences = [each.confidence for each in found if each.confidence is not None]
        confidence = torch.stack(confidences).to(device) if len(confidences) == len(found) else None
        return Pointmap(
            points.reshape(*context.batch_shape, *points.shape[1:]),
            None if confidence is None else confidence.reshape(*context.batch_shape, *confidence.shape[1:]),
        )

    def of_scene(self, scene: Views, key: str) -> tuple[Pointmap, str]:
        """The pointmap of one scene (no batch axis), and whether it was "found", "made" or "remade"."""
        path = self.folder.path(scene)
        state = "found" if path.is_file() else "made"
        if path in self._remembered:
            self._remembered.move_to_end(path)
            return self._remembered[path], "found"
        if state == "found":
            try:
                return self._kept(path, self.folder.read(path, (scene.count, scene.height, scene.width))), state
            except DataError as error:
                if self.source is None:
                    raise
                logger.warning("%s: %s; it is made again", key or "a scene", error)
                state = "remade"
        if self.source is None:
            raise DataError(
                f"pointmap cache {self.folder.root}: has none for these {scene.count} images of {key or 'the scene'}; "
                "fill it with fill_cache for the same scenes, frames and size, or give a source"
            )
        self.folder.write(scene, key, self.source.with_confidence(scene, key))
        # What is served is what was stored: a second call, or another process, gets the same numbers.
        return self._kept(path, self.folder.read(path, (scene.count, scene.height, scene.width))), state

    def _kept(self, path: Path, pointmap: Pointmap) -> Pointmap:
        if self.remember > 0:
            self._remembered[path] = pointmap
            while len(self._remembered) > self.remember:
                self._remembered.popitem(last=False)
        return pointmap


def scenes_of(context: Views) -> list[Views]:
    """The scenes of a batch of any shape, one by one, without batch axes."""
    images = context.images.reshape(-1, *context.images.shape[-4:])
    poses = context.cameras.world_from_camera.reshape(*images.shape[:2], 4, 4)
    intrinsics = context.cameras.intrinsics.reshape(*images.shape[:2], 3, 3)
    near, far = context.near.reshape(-1), context.far.reshape(-1)
    depth = None if context.depth is None else context.depth.reshape(*images.shape[:2], *images.shape[-2:])
    return [
        Views(images[i], Cameras(poses[i], intrinsics[i]), near[i], far[i], None if depth is None else depth[i])
        for i in range(len(images))
    ]
