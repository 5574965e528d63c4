"""Importers: one file a capture format, all ending in the same chunk files."""

import os
from pathlib import Path
from typing import Any

from pmgs_lib._lazy import load_object
from pmgs_lib.data.files import write_json
from pmgs_lib.data.folders import add_scene
from pmgs_lib.data.importers.develop import develop
from pmgs_lib.data.manifests import CaptureManifest, ImportOptions, manifest_path
from pmgs_lib.errors import DataError, ParameterError

IMPORTERS = {"nerfstudio": "pmgs_lib.data.importers.nerfstudio:NerfstudioImporter"}


def import_capture(
    source: str | os.PathLike[str], output: str | os.PathLike[str], *, kind: str = "auto", **options: Any
) -> CaptureManifest:
    """Turn a capture into a scene of the dataset at `output`, undistorted, and say what was done and left out.

    source: folder (or description file) of the capture. kind: a name of IMPORTERS, or "auto" to tell by the files.
    options: fields of `ImportOptions` (key, split, scale, ...). The dataset may hold other scenes already. The
    returned manifest is also written beside the chunk as `<key>.manifest.json`.

    Raises DataError for a capture that is malformed or has fewer than two usable frames; then nothing is written.
    """
    settings = ImportOptions.build(options, "import_capture")
    place = Path(source)
    if not place.exists():
        raise DataError(f"capture {source}: there is no such file or folder; check the path")
    capture = load_object(IMPORTERS[_kind(place, kind)])().read(place)
    key = settings.key or _key_from_folder(capture.source.parent)
    scene, manifest = develop(capture, key, settings.model_copy(update={"key": key}))
    add_scene(output, settings.split, scene, overwrite=settings.overwrite)
    write_json(manifest_path(output, settings.split, key), manifest.model_dump(mode="json"))
    return manifest


def _kind(source: Path, kind: str) -> str:
    if kind != "auto":
        if kind not in IMPORTERS:
            raise ParameterError(f"import_capture: kind {kind!r} is unknown; expected auto or {', '.join(IMPORTERS)}")
        return kind
    found = [name for name, address in IMPORTERS.items() if load_object(address)().detect(source)]
    if len(found) != 1:
        looks = f"looks like {' and '.join(found)}" if found else "looks like no known capture"
        raise DataError(
            f"capture {source}: {looks}; expected one of {', '.join(IMPORTERS)}: check the path or pass kind"
        )
    return found[0]


def _key_from_folder(folder: Path) -> str:
    name = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-"
        for letter in folder.resolve().name
    )
    return name.lstrip("._-") or "capture"
