"""Folders of chunk files: `<root>/<split>/000000.torch ...` with an `index.json` that maps each key to its chunk."""

import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pmgs_lib.data.chunks import ChunkScene, load_entries, scene_from_entry, write_chunk
from pmgs_lib.data.files import read_json, write_json
from pmgs_lib.errors import DataError, ParameterError

INDEX_NAME = "index.json"
SPLITS = ("train", "test")
OPEN_CHUNKS = 64  # chunks kept mapped; their pages belong to the system's cache, not to the process


def write_index(folder: str | os.PathLike[str], chunk_of_key: Mapping[str, str]) -> None:
    """Write `index.json`, key -> chunk file name, atomically."""
    write_json(Path(folder) / INDEX_NAME, dict(chunk_of_key))


def update_index(folder: str | os.PathLike[str]) -> dict[str, str]:
    """Rebuild `index.json` from the chunk files that stand in `folder`, in the order of their names."""
    chunks = sorted(Path(folder).glob("*.torch"))
    if not chunks:
        raise DataError(f"folder {folder}: there are no chunk files (*.torch) in it; check the path")
    chunk_of_key: dict[str, str] = {}
    for chunk in chunks:
        for entry in load_entries(chunk):
            _claim(chunk_of_key, entry["key"], chunk.name, folder)
    write_index(folder, chunk_of_key)
    return chunk_of_key


def write_scenes(
    root: str | os.PathLike[str],
    split: str,
    scenes: Iterable[ChunkScene],
    *,
    scenes_per_chunk: int = 20,
    overwrite: bool = False,
) -> dict[str, str]:
    """Write scenes, taken one by one from `scenes`, as chunks under `<root>/<split>`; the index comes last.

    Returns the index. A folder that already has one is refused unless `overwrite`, which first removes that index
    and the chunks it names. If this fails half way the folder has no index, so it cannot be opened by mistake, and the
    next call writes over what was left.
    """
    if split not in SPLITS or scenes_per_chunk < 1:
        raise ParameterError(
            f"write_scenes: split {split!r} with {scenes_per_chunk} scenes a chunk; expected {SPLITS} and at least 1"
        )
    folder = Path(root) / split
    _clear(folder, overwrite)
    chunk_of_key: dict[str, str] = {}
    waiting: list[ChunkScene] = []
    for scene in scenes:
        _claim(chunk_of_key, scene.key, f"{len(chunk_of_key) // scenes_per_chunk:06d}.torch", folder)
        waiting.append(scene)
        if len(waiting) == scenes_per_chunk:
            write_chunk(folder / chunk_of_key[waiting[0].key], waiting)
            waiting = []
    if waiting:
        write_chunk(folder / chunk_of_key[waiting[0].key], waiting)
    if not chunk_of_key:
        raise DataError(f"folder {folder}: there were no scenes to write; expected at least one")
    write_index(folder, chunk_of_key)
    return chunk_of_key


def add_scene(
    root: str | os.PathLike[str], split: str, scene: ChunkScene, *, overwrite: bool = False
) -> dict[str, str]:
    """Add one scene, in a chunk of its own, to a dataset that may exist already; returns the index.

    A key that is already there is refused unless `overwrite`; its old chunk is removed when nothing else is in it.
    """
    folder = Path(root) / split
    index = folder / INDEX_NAME
    chunk_of_key = _checked_index(index) if index.is_file() else {}
    old = chunk_of_key.get(scene.key)
    if old is not None and not overwrite:
        raise DataError(
            f"folder {folder}: already has a scene {scene.key!r}; choose another key or pass overwrite=True"
        )
    number = 0
    while (folder / f"{number:06d}.torch").exists():
        number += 1
    write_chunk(folder / f"{number:06d}.torch", [scene])
    chunk_of_key[scene.key] = f"{number:06d}.torch"
    write_index(folder, chunk_of_key)
    if old is not None and old not in chunk_of_key.values():
        (folder / old).unlink(missing_ok=True)
    return chunk_of_key


def _claim(chunk_of_key: dict[str, str], key: str, chunk: str, folder: str | os.PathLike[str]) -> None:
    if key in chunk_of_key:
        raise DataError(
            f"folder {folder}: key {key!r} is in {chunk_of_key[key]} and again in {chunk}; keys must differ"
        )
    chunk_of_key[key] = chunk


def _clear(folder: Path, overwrite: bool) -> None:
    index = folder / INDEX_NAME
    if not index.exists():
        return
    if not overwrite:
        raise DataError(f"folder {folder}: already holds a dataset; choose another folder or pass overwrite=True")
    chunks = set(_checked_index(index).values())
    index.unlink()
    for chunk in chunks:
        (folder / chunk).unlink(missing_ok=True)


class ChunkFolder:
    """Look up the scenes of one split by key. Only the chunks asked for are opened, and their tensors stay mapped.

    Raises DataError for a wrong path, an unfinished or empty folder, or an index that does not match the chunks.
    """

    def __init__(self, root: str | os.PathLike[str], split: str) -> None:
        self.folder = Path(root) / split
        self.chunk_of_key = _opened_index(Path(root), split)
        self._open: OrderedDict[str, dict[str, dict[str, Any]]] = OrderedDict()
        self._sound: set[str] = set()  # keys that passed validation, which takes longer than decoding a few frames

    @property
    def keys(self) -> list[str]:
        """Keys in the order of the index."""
        return list(self.chunk_of_key)

    def scene(self, key: str) -> ChunkScene:
        """The validated scene called `key`."""
        chunk = self.chunk_of_key.get(key)
        if chunk is None:
            raise DataError(
                f"folder {self.folder}: no scene {key!r} among its {len(self.chunk_of_key)}; see its {INDEX_NAME}"
            )
        entries = self._entries(chunk)
        if key not in entries:
            raise DataError(
                f"folder {self.folder}: {INDEX_NAME} says scene {key!r} is in {chunk}, which lacks it; "
                "rebuild it with update_index"
            )
        scene = scene_from_entry(entries[key], f"chunk {self.folder / chunk}", validate=key not in self._sound)
        self._sound.add(key)
        return scene

    def _entries(self, chunk: str) -> dict[str, dict[str, Any]]:
        if chunk not in self._open:
            self._open[chunk] = {entry["key"]: entry for entry in load_entries(self.folder / chunk)}
        self._open.move_to_end(chunk)
        while len(self._open) > OPEN_CHUNKS:
            self._open.popitem(last=False)
        return self._open[chunk]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}  # a worker process opens its own chunks


def _opened_index(root: Path, split: str) -> dict[str, str]:
    folder = root / split
    if not root.is_dir():
        raise DataError(f"dataset {root}: there is no such folder; check the path")
    if not folder.is_dir():
        found = ", ".join(sorted(path.name for path in root.iterdir() if path.is_dir())) or "none"
        raise DataError(
            f"dataset {root}: has no split {split!r} (folders in it: {found}); expected <root>/{split}/{INDEX_NAME}"
        )
    index = folder / INDEX_NAME
    if not index.is_file():
        chunks = len(list(folder.glob("*.torch")))
        state = f"{chunks} chunk files but no {INDEX_NAME}: it was not finished, or" if chunks else "no chunk files:"
        raise DataError(f"folder {folder}: holds {state} write it again (update_index rebuilds an index)")
    chunk_of_key = _checked_index(index)
    for chunk in sorted(set(chunk_of_key.values())):
        if not (folder / chunk).is_file():
            raise DataError(f"index {index}: names {chunk}, which is not in the folder; rebuild it with update_index")
    return chunk_of_key


def _checked_index(index: Path) -> dict[str, str]:
    content = read_json(index, what="index")
    plain = isinstance(content, dict) and all(
        isinstance(chunk, str) and chunk == Path(chunk).name and chunk.endswith(".torch") for chunk in content.values()
    )
    if not plain or not content:
        raise DataError(f"index {index}: expected an object of key -> chunk file name; rebuild it with update_index")
    return content
