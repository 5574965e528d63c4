"""Scenes from whatever a user names: a folder of chunk files, or a capture that was not imported yet."""

import os
from pathlib import Path

from pmgs_lib._lazy import load_object
from pmgs_lib.data.dataset import SceneDataset, open_dataset
from pmgs_lib.data.folders import INDEX_NAME
from pmgs_lib.data.importers import IMPORTERS, import_capture
from pmgs_lib.data.protocol_types import Protocol
from pmgs_lib.errors import DataError


def open_scenes(
    source: str | os.PathLike[str],
    *,
    imported_to: str | os.PathLike[str],
    split: str = "test",
    near: float | None = None,
    far: float | None = None,
) -> SceneDataset:
    """The scenes of a dataset folder; a capture in `source` is imported to the folder `imported_to` first, anew.

    near, far: z-depth range in world units of every scene; None takes the hint that an import leaves. Raises
    `DataError` for what is neither.
    """
    place = Path(source)
    finished = (place / split / INDEX_NAME).is_file()
    if finished or not any(load_object(address)().detect(place) for address in IMPORTERS.values()):
        return open_dataset(place, split, near=near, far=far)
    import_capture(place, imported_to, split=split, overwrite=True)
    return open_dataset(imported_to, split, near=near, far=far)


def pick_scene(dataset: SceneDataset, key: str | None) -> str:
    """The scene that is meant: `key`, or the only one there is. Raises `DataError` where that is not one scene."""
    if key in dataset.folder.chunk_of_key or (key is None and len(dataset) == 1):
        return key or dataset.keys[0]
    asked = f"no scene {key!r} among" if key is not None else "no scene was named of"
    raise DataError(
        f"dataset {dataset.root}: {asked} its {len(dataset)}; expected one of {', '.join(dataset.keys[:4])}"
        + (" ..." if len(dataset) > 4 else "")
    )


def protocol_scene(dataset: SceneDataset, protocol: Protocol, key: str | None = None) -> str:
    """The scene that is meant: `key`, or the first of the protocol that the data holds. Raises `DataError` for none."""
    held = [name for name in protocol.keys if dataset.stored_key(name) is not None]
    if key in held or (key is None and held):
        return key or held[0]
    raise DataError(
        f"dataset {dataset.root}: holds {len(held)} of the {len(protocol.keys)} scenes of protocol {protocol.name}"
        + (f", not {key!r}; choose one of {', '.join(held[:4])}" if held else "; import one of them")
    )
