"""Data sets of many scenes: what their importers have in common, and how a batch of scenes becomes one chunk file."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pmgs_lib.data.chunks import ChunkScene, write_chunk
from pmgs_lib.data.importers.base import Capture
from pmgs_lib.data.importers.develop import develop
from pmgs_lib.data.manifests import CollectionOptions, ImportOptions, SceneRecord
from pmgs_lib.errors import DataError

AS_IT_IS = {"center_principal_point": False, "estimate_depth_range": False}
Batch = list[tuple[str, Path]]  # scenes that share a chunk: key, and where the scene lies


@dataclass(frozen=True)
class Listing:
    """The scenes of a data set before any is read: key -> place, and the reason for each that will not be."""

    scenes: dict[str, Path]
    left_out: dict[str, str] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Written:
    """What became of a batch: every key of it is in one of the two."""

    scenes: dict[str, SceneRecord]
    left_out: dict[str, str]


class CollectionImporter(ABC):
    """Reads one data set's released layout, scene by scene, as the protocols published on it expect.

    A scene that is incomplete or damaged is left out with its reason: protocols count frames, so one that misses a
    frame would be asked about the wrong ones.
    """

    kind: ClassVar[str]
    options: ClassVar[type[CollectionOptions]] = CollectionOptions  # what `listing`, `read` and `write` are given
    scenes_per_chunk: ClassVar[int]  # for chunks of about 100 MB

    @abstractmethod
    def detect(self, source: Path) -> bool:
        """Whether `source` looks like this layout; looks at names only."""

    @abstractmethod
    def split(self, source: Path) -> str:
        """The split that the layout at `source` is meant for."""

    @abstractmethod
    def listing(self, source: Path, split: str, options: CollectionOptions) -> Listing:
        """All scenes at `source`."""

    @abstractmethod
    def read(self, key: str, place: Path, options: CollectionOptions) -> Capture:
        """One scene, validated, without decoding its pictures. DataError: it has to be left out."""

    def batches(self, scenes: dict[str, Path]) -> list[Batch]:
        """Scenes by the chunk that they will share."""
        entries = list(scenes.items())
        return [entries[i : i + self.scenes_per_chunk] for i in range(0, len(entries), self.scenes_per_chunk)]

    def write(self, batch: Batch, chunk: Path, options: CollectionOptions) -> Written:
        """Read the scenes of a batch and write those that are sound as one chunk."""
        scenes: list[ChunkScene] = []
        records, left_out = {}, {}
        for key, place in batch:
            try:
                scene, digest = self._developed(key, place, options)
            except (DataError, OSError) as fault:
                left_out[key] = f"damaged or incomplete: {fault}"
                continue
            height, width = scene.image_size()
            records[key] = SceneRecord(chunk=chunk.name, frames=scene.frames, height=height, width=width, digest=digest)
            scenes.append(scene)
        if scenes:
            write_chunk(chunk, scenes)
        return Written(records, left_out)

    def _developed(self, key: str, place: Path, options: CollectionOptions) -> tuple[ChunkScene, str]:
        capture = self.read(key, place, options)
        if capture.left_out:
            first, reason = next(iter(capture.left_out.items()))
            count = len(capture.left_out)
            raise DataError(f"{place}: {count} of {capture.listed} pictures cannot be used, first {first}: {reason}")
        scene, manifest = develop(capture, key, ImportOptions.build(AS_IT_IS, "import"))
        scene.validate(f"capture {place}")
        return scene, manifest.digest
