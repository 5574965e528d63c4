"""Open chunks: raw scenes by key, read piece by piece where the file allows it, and a bounded cache of them."""

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pmgs_lib.data.chunks import load_entries
from pmgs_lib.data.offsets import DTYPES, NoOffsets, Offsets, StoredScene, StoredTensor
from pmgs_lib.data.pieces import OpenFile, StoredImages
from pmgs_lib.data.sidecars import known_offsets
from pmgs_lib.errors import DataError

BYTES_A_PICTURE = 100  # that offsets of a picture take in memory: two integers, and their places in a tuple
MAPPED_ENTRY_BYTES = 2000  # that a tensor and its storage take, beside what they hold
log = logging.getLogger(__name__)


class OpenChunk:
    """A chunk file whose scenes can be had one by one. `bytes_held`: memory that it takes while it is kept open.

    how: "beside", "cache", "found" or "found again", from where its offsets are; "whole" for a chunk without offsets.
    """

    def __init__(self, path: Path) -> None:
        try:
            file = OpenFile(path)
        except OSError as error:
            raise DataError(
                f"chunk {path}: cannot be opened ({error.strerror or error}); check the path or write the dataset again"
            ) from error
        try:
            offsets, self.how = known_offsets(file)
        except NoOffsets as reason:
            entries = load_entries(path)  # first, since its errors say more
            log.warning("chunk %s: is read as a whole, which takes time and memory, since %s", path, reason)
            self.how, self.bytes_held = "whole", file.size + MAPPED_ENTRY_BYTES * _pictures(entries)
            self._entry: dict[str, Callable[[], dict[str, Any]]] = {
                entry["key"]: lambda entry=entry: entry for entry in entries
            }
        else:
            self.bytes_held = BYTES_A_PICTURE * sum(len(scene.image_offsets) for scene in offsets.scenes)
            self._entry = _entries_by_offsets(file, offsets)

    @property
    def keys(self) -> list[str]:
        """Keys of its scenes, in order."""
        return list(self._entry)

    def entry(self, key: str) -> dict[str, Any] | None:
        """The raw dict of a scene, or None; its pictures are fetched when they are asked for."""
        return self._entry[key]() if key in self._entry else None


def _entries_by_offsets(file: OpenFile, offsets: Offsets) -> dict[str, Callable[[], dict[str, Any]]]:
    return {scene.key: lambda scene=scene: _entry(file, scene) for scene in offsets.scenes}


def _entry(file: OpenFile, scene: StoredScene) -> dict[str, Any]:
    entry: dict[str, Any] = {"key": scene.key, "url": scene.url}
    for name in ("cameras", "timestamps", "size", "depth"):
        stored: StoredTensor | None = getattr(scene, name)
        entry[name] = None if stored is None else file.tensor(stored.offset, DTYPES[stored.dtype], stored.shape)
    entry["images"] = StoredImages(file, scene.image_offsets, scene.image_bytes)
    return entry


def _pictures(entries: list[dict[str, Any]]) -> int:
    return sum(len(entry["images"]) for entry in entries if isinstance(entry["images"], list))


class OpenChunks:
    """Chunks of one folder, the last used kept open while together they hold less than `most_bytes`.

    The last one stays whatever it holds, so `most_bytes` is exceeded only by a single chunk that has to be read as a
    whole. `openings` counts how chunks were opened (see `OpenChunk.how`).
    """

    def __init__(self, folder: Path, most_bytes: int, most: int) -> None:
        self.folder, self.most_bytes, self.most = folder, most_bytes, most
        self.openings: Counter[str] = Counter()
        self._open: OrderedDict[str, OpenChunk] = OrderedDict()

    def __getitem__(self, name: str) -> OpenChunk:
        if name not in self._open:
            self._open[name] = OpenChunk(self.folder / name)
            self.openings[self._open[name].how] += 1
        self._open.move_to_end(name)
        while len(self._open) > 1 and (len(self._open) > self.most or self.bytes_held > self.most_bytes):
            self._open.popitem(last=False)
        return self._open[name]

    def __len__(self) -> int:
        return len(self._open)

    @property
    def bytes_held(self) -> int:
        """Memory that the open chunks take."""
        return sum(chunk.bytes_held for chunk in self._open.values())

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}  # another process opens its own chunks
