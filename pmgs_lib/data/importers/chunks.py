"""Chunk files that others have made: pixelSplat's of RealEstate10K and ACID (360p, 720p), DepthSplat's, any of ours.

The layout is the library's own (`pmgs_lib.data.chunks`), so nothing is converted: each chunk is opened, every scene
in it validated, the file copied or linked, and sound scenes are entered into the index. Chunks that already stand in
the folder of the output are verified and indexed where they are.
"""

import hashlib
import os
import shutil
from pathlib import Path
from typing import ClassVar, Literal

from pmgs_lib.data.chunks import load_entries, scene_from_entry
from pmgs_lib.data.files import read_json, replaced_atomically
from pmgs_lib.data.folders import INDEX_NAME
from pmgs_lib.data.importers.base import Capture
from pmgs_lib.data.importers.collection import Batch, CollectionImporter, Listing, Written
from pmgs_lib.data.manifests import CollectionOptions, SceneRecord
from pmgs_lib.errors import DataError


class ChunksOptions(CollectionOptions):
    """place: copy the files into the dataset, or give them a second name there (a hard link), which takes no room."""

    place: Literal["copy", "link"] = "copy"


class ChunksImporter(CollectionImporter):
    """A folder of `*.torch` chunks, or one that holds a folder of them for each split."""

    kind = "chunks"
    options: ClassVar[type[CollectionOptions]] = ChunksOptions
    scenes_per_chunk = 1  # unused: a chunk stays a chunk

    def detect(self, source: Path) -> bool:
        return any(True for folder in (source, source / "train", source / "test") for _ in folder.glob("*.torch"))

    def split(self, source: Path) -> str:
        found = [name for name in ("train", "test") if source.name == name or any((source / name).glob("*.torch"))]
        if len(found) != 1:
            raise DataError(f"{source}: has chunks for {' and '.join(found) or 'no split'}; say which split to import")
        return found[0]

    def listing(self, source: Path, split: str, options: ChunksOptions) -> Listing:
        folder = source / split if (source / split).is_dir() else source
        chunks = sorted(folder.glob("*.torch"))
        if not chunks:
            raise DataError(f"{source}: no chunk files (*.torch) for the {split} split; check the path")
        listed = _listed(folder)
        scenes: dict[str, Path] = {}
        left_out = {}
        for chunk in chunks:
            keys = [key for key, name in listed.items() if name == chunk.name] or _keys(chunk)
            for key in keys:
                if key in scenes:
                    left_out[f"{key} ({chunk.name})"] = (
                        f"a second scene of this name: the first is in {scenes[key].name}"
                    )
                else:
                    scenes[key] = chunk
        present = {chunk.name for chunk in chunks}
        absent = {key: name for key, name in listed.items() if name not in present}
        left_out |= {key: f"its chunk is missing: {name}" for key, name in absent.items()}
        return Listing(scenes, left_out, {"chunks": len(chunks)})

    def read(self, key: str, place: Path, options: ChunksOptions) -> Capture:
        raise NotImplementedError("scenes of a chunk are taken over as they are")

    def batches(self, scenes: dict[str, Path]) -> list[Batch]:
        by_chunk: dict[Path, Batch] = {}
        for key, chunk in scenes.items():
            by_chunk.setdefault(chunk, []).append((key, chunk))
        return list(by_chunk.values())

    def write(self, batch: Batch, chunk: Path, options: ChunksOptions) -> Written:
        source = batch[0][1]
        target = source if source.resolve().parent == chunk.resolve().parent else chunk
        records, left_out = _verified([key for key, _ in batch], source, target.name)
        if records and target is not source:
            _place(source, target, options.place)
        return Written(records, left_out)


def _listed(folder: Path) -> dict[str, str]:
    """The index that came with the chunks; none is no fault."""
    path = folder / INDEX_NAME
    content = read_json(path, what="index") if path.is_file() else {}
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content.values()):
        raise DataError(f"index {path}: expected an object of key -> chunk; delete it, the chunks are read without it")
    return {key: Path(name).name for key, name in content.items()}


def _keys(chunk: Path) -> list[str]:
    """Keys of a chunk that no index lists; a damaged one stands under its own name, to be left out with the reason."""
    try:
        return [entry["key"] for entry in load_entries(chunk)]
    except DataError:
        return [chunk.name]


def _verified(keys: list[str], source: Path, name: str) -> tuple[dict[str, SceneRecord], dict[str, str]]:
    """Records of the sound scenes among `keys`, and why the others are left out."""
    try:
        entries = {entry["key"]: entry for entry in load_entries(source)}
    except DataError as fault:
        return {}, dict.fromkeys(keys, f"damaged: {fault}")
    records, left_out = {}, {}
    for key in keys:
        if key not in entries:
            left_out[key] = f"not in the chunk that the index names: {source.name}"
            continue
        try:
            scene = scene_from_entry(entries[key], f"chunk {source}")
        except DataError as fault:
            left_out[key] = f"damaged: {fault}"
            continue
        digest = hashlib.sha256(scene.cameras.world_from_camera.numpy().tobytes())
        for picture in scene.images:
            digest.update(picture)
        height, width = scene.image_size()
        records[key] = SceneRecord(
            chunk=name, frames=scene.frames, height=height, width=width, digest=digest.hexdigest()
        )
    return records, left_out


def _place(source: Path, target: Path, how: str) -> None:
    if how == "copy":
        with replaced_atomically(target) as sibling:
            shutil.copyfile(source, sibling)
        return
    try:
        os.link(source, target)
    except OSError as fault:
        raise DataError(
            f"chunk {source}: cannot be linked into {target.parent} ({fault.strerror}); links stay on one disk: import "
            "with place=copy, or to the folder where the chunks are"
        ) from fault
