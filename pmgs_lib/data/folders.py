"""Folders of chunk files: `<root>/<split>/000000.torch ...` with an `index.json` that maps each key to its chunk."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from pmgs_lib.data.chunks import ChunkScene, scene_from_entry, write_chunk
from pmgs_lib.data.files import read_json, write_json
from pmgs_lib.data.open_chunks import OpenChunk, OpenChunks
from pmgs_lib.data.writing import index_lock, remove_chunk, writer
from pmgs_lib.errors import DataError, ParameterError

INDEX_NAME = "index.json"
SPLITS = ("train", "test")
OPEN_CHUNKS = 64  # kept open by a process: one file descriptor each
OPEN_BYTES = 64 << 20  # that they may hold in memory together: offsets of 600,000 pictures
LONGEST_NAME = 255  # bytes of a file's name, on every common file system


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
        for key in OpenChunk(chunk).keys:
            _claim(chunk_of_key, key, chunk.name, folder)
    with writer(Path(folder), lambda: set(chunk_of_key.values())):
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
    and the chunks it names. If this fails half way the folder has no index, so it cannot be opened by mistake; finished
    chunks are valid (`update_index` makes a dataset of them) until the next call writes anew. A second writer waits.
    Raises DataError, also for a full disk.
    """
    if split not in SPLITS or scenes_per_chunk < 1:
        raise ParameterError(
            f"write_scenes: split {split!r} with {scenes_per_chunk} scenes a chunk; expected {SPLITS} and at least 1"
        )
    folder = Path(root) / split
    with writer(folder, lambda: _listed(folder)) as announce:
        _clear(folder, overwrite, announce)
        chunk_of_key: dict[str, str] = {}
        for chunk in _by_chunk(scenes, scenes_per_chunk, chunk_of_key, folder):
            name = chunk_of_key[chunk[0].key]
            announce(name)
            write_chunk(folder / name, chunk)
        if not chunk_of_key:
            raise DataError(f"folder {folder}: there were no scenes to write; expected at least one")
        write_index(folder, chunk_of_key)
    return chunk_of_key


def _by_chunk(
    scenes: Iterable[ChunkScene], scenes_per_chunk: int, chunk_of_key: dict[str, str], folder: Path
) -> Iterator[list[ChunkScene]]:
    """Scenes in groups that share a chunk, their keys entered into `chunk_of_key`."""
    waiting: list[ChunkScene] = []
    for scene in scenes:
        _claim(chunk_of_key, scene.key, f"{len(chunk_of_key) // scenes_per_chunk:06d}.torch", folder)
        waiting.append(scene)
        if len(waiting) == scenes_per_chunk:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def add_scene(
    root: str | os.PathLike[str], split: str, scene: ChunkScene, *, overwrite: bool = False
) -> dict[str, str]:
    """Add one scene, in a chunk of its own, to a dataset that may exist already; returns the index.

    A key that is already there is refused unless `overwrite`; its old chunk is removed when nothing else is in it.
    """
    folder = Path(root) / split
    index = folder / INDEX_NAME
    with writer(folder, lambda: _listed(folder)) as announce:
        chunk_of_key = _checked_index(index) if index.is_file() else {}
        old = chunk_of_key.get(scene.key)
        if old is not None and not overwrite:
            raise DataError(
                f"folder {folder}: already has a scene {scene.key!r}; choose another key or pass overwrite=True"
            )
        number = 0
        while (folder / f"{number:06d}.torch").exists():
            number += 1
        announce(f"{number:06d}.torch")
        write_chunk(folder / f"{number:06d}.torch", [scene])
        chunk_of_key[scene.key] = f"{number:06d}.torch"
        write_index(folder, chunk_of_key)
        if old is not None and old not in chunk_of_key.values():
            remove_chunk(folder / old)
    return chunk_of_key


def claim_index(
    folder: str | os.PathLike[str], chunk_of_key: Mapping[str, str], *, forget: Iterable[str] = ()
) -> dict[str, str]:
    """Enter finished chunks into `index.json` and take the keys of `forget` out, safely beside other writers.

    Returns the index; one that is left without keys is removed. Entries of other keys stay.
    """
    index = Path(folder) / INDEX_NAME
    with index_lock(folder):
        merged = _checked_index(index) if index.is_file() else {}
        for key in forget:
            merged.pop(key, None)
        merged |= chunk_of_key
        if merged:
            write_index(folder, merged)
        else:
            index.unlink(missing_ok=True)
    return merged


def _claim(chunk_of_key: dict[str, str], key: str, chunk: str, folder: str | os.PathLike[str]) -> None:
    if key in chunk_of_key:
        raise DataError(
            f"folder {folder}: key {key!r} is in {chunk_of_key[key]} and again in {chunk}; keys must differ"
        )
    chunk_of_key[key] = chunk


def _listed(folder: Path) -> set[str]:
    index = folder / INDEX_NAME
    return set(_checked_index(index).values()) if index.is_file() else set()


def _clear(folder: Path, overwrite: bool, announce: Callable[[str], None]) -> None:
    index = folder / INDEX_NAME
    if not index.exists():
        return
    if not overwrite:
        raise DataError(f"folder {folder}: already holds a dataset; choose another folder or pass overwrite=True")
    chunks = _listed(folder)
    for chunk in chunks:
        announce(chunk)  # a kill from here on leaves no chunk behind that nobody knows
    index.unlink()
    for chunk in chunks:
        remove_chunk(folder / chunk)


class ChunkFolder:
    """Look up the scenes of one split by key. Pictures are read when they are decoded, and only those.

    A process keeps chunks open as long as what it knows of them takes less than OPEN_BYTES (see `OpenChunks`); how
    each was opened is counted in `openings`. Workers may be forked or spawned: each opens its own.

    Raises DataError for a wrong path, an unfinished or empty folder, or an index that does not match the chunks.
    """

    def __init__(self, root: str | os.PathLike[str], split: str) -> None:
        self.folder = Path(root) / split
        self.chunk_of_key = _opened_index(Path(root), split)
        self._chunks = OpenChunks(self.folder, OPEN_BYTES, OPEN_CHUNKS)
        self._sound: set[str] = set()  # keys that passed validation, which takes longer than decoding a few frames

    @property
    def keys(self) -> list[str]:
        """Keys in the order of the index."""
        return list(self.chunk_of_key)

    @property
    def openings(self) -> Counter[str]:
        """How often this process opened a chunk by its sidecar, by offsets found, or as a whole (see `OpenChunk`)."""
        return self._chunks.openings

    def scene(self, key: str) -> ChunkScene:
        """The validated scene called `key`."""
        chunk = self.chunk_of_key.get(key)
        if chunk is None:
            raise DataError(
                f"folder {self.folder}: no scene {key!r} among its {len(self.chunk_of_key)}; see its {INDEX_NAME}"
            )
        entry = self._chunks[chunk].entry(key)
        if entry is None:
            raise DataError(
                f"folder {self.folder}: {INDEX_NAME} says scene {key!r} is in {chunk}, which lacks it; "
                "rebuild it with update_index"
            )
        scene = scene_from_entry(entry, f"chunk {self.folder / chunk}", validate=key not in self._sound)
        self._sound.add(key)
        return scene


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
    place = os.path.realpath(folder)
    for chunk in sorted(set(chunk_of_key.values())):
        path = folder / chunk
        if not os.path.isfile(path):  # which, unlike Path.is_file, has an answer to every name
            raise DataError(f"index {index}: names {chunk}, which is not in the folder; rebuild it with update_index")
        if os.path.islink(path) and os.path.dirname(os.path.realpath(path)) != place:
            raise DataError(f"index {index}: {chunk} is a link that leaves the folder; put the file itself there")
    return chunk_of_key


def _is_name(text: str) -> bool:
    return "\0" not in text and len(text.encode("utf-8", "surrogatepass")) <= LONGEST_NAME


def _checked_index(index: Path) -> dict[str, str]:
    content = read_json(index, what="index")
    plain = isinstance(content, dict) and all(
        isinstance(chunk, str) and chunk == Path(chunk).name and chunk.endswith(".torch") and _is_name(chunk)
        for chunk in content.values()
    )
    if not plain or not content:
        raise DataError(f"index {index}: expected an object of key -> chunk file name; rebuild it with update_index")
    return content
