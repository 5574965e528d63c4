"""Importers: one file a format of captures or data sets, all ending in the same chunk files."""

import logging
import os
from pathlib import Path
from typing import Any

from pmgs_lib._lazy import load_object
from pmgs_lib.data.files import write_json
from pmgs_lib.data.folders import add_scene
from pmgs_lib.data.importers.base import Importer
from pmgs_lib.data.importers.develop import develop
from pmgs_lib.data.importers.run import import_collection
from pmgs_lib.data.manifests import CaptureManifest, CollectionManifest, ImportOptions, manifest_path
from pmgs_lib.errors import DataError, ParameterError

# The first four are single captures or files as they are, the others data sets of many scenes.
IMPORTERS = {
    "nerfstudio": "pmgs_lib.data.importers.nerfstudio:NerfstudioImporter",
    "colmap": "pmgs_lib.data.importers.colmap:ColmapImporter",
    "photos": "pmgs_lib.data.importers.photos:PhotosImporter",
    "chunks": "pmgs_lib.data.importers.chunks:ChunksImporter",
    "dl3dv": "pmgs_lib.data.importers.dl3dv:Dl3dvImporter",
    "re10k": "pmgs_lib.data.importers.re10k:Re10kImporter",
    "acid": "pmgs_lib.data.importers.re10k:AcidImporter",
    "dtu": "pmgs_lib.data.importers.dtu:DtuImporter",
}
log = logging.getLogger(__name__)


def import_capture(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    kind: str = "auto",
    importer: Importer | None = None,
    **options: Any,
) -> CaptureManifest | CollectionManifest:
    """Bring a capture, or a data set of many scenes, into the dataset at `output`; say what was done and left out.

    source: folder (or description file, or video). kind: a name of IMPORTERS, or "auto" to tell by the files. importer:
    one that is set up already, such as `PhotosImporter(estimator)`, in place of a kind. options: for a capture the
    fields of `ImportOptions` (key, split, scale, ...), for a data set those of its importer's `options` (split,
    workers, limit, ...). The dataset may hold other scenes already. The returned manifest is also written beside the
    chunks, `<key>.manifest.json` or `<kind>.import.json`. A data set's import goes on where one was ended.

    Raises DataError for a source that is malformed or has nothing usable; then no scene is written.
    """
    place = Path(source)
    if not place.exists():
        raise DataError(f"capture {source}: there is no such file or folder; check the path")
    if importer is not None:
        return _import_scene(importer, place, Path(output), options)
    name = _kind(place, kind)
    found = load_object(IMPORTERS[name])()
    log.info("%s: imported as %s", source, name)
    if isinstance(found, Importer):
        return _import_scene(found, place, Path(output), options)
    return import_collection(found, place, Path(output), found.options.build(options, "import_capture"))


def _import_scene(importer: Importer, source: Path, output: Path, options: dict[str, Any]) -> CaptureManifest:
    settings = ImportOptions.build(options, "import_capture")
    capture = importer.read(source, Path(settings.pictures) if settings.pictures else None)
    key = settings.key or _key_from_folder(importer.folder(source))
    scene, manifest = develop(capture, key, settings.model_copy(update={"key": key}))
    add_scene(output, settings.split, scene, overwrite=settings.overwrite)
    write_json(manifest_path(output, settings.split, key), manifest.model_dump(mode="json"))
    return manifest


def recognised_kind(source: str | os.PathLike[str]) -> str:
    """The importer whose layout the files at `source` have. DataError when there is none, or more than one."""
    found = [name for name, address in IMPORTERS.items() if load_object(address)().detect(Path(source))]
    if len(found) != 1:
        looks = f"looks like {' and '.join(found)}" if found else "looks like no known capture"
        raise DataError(
            f"capture {source}: {looks}; expected one of {', '.join(IMPORTERS)}: check the path or pass kind"
        )
    return found[0]


def _kind(source: Path, kind: str) -> str:
    if kind == "auto":
        return recognised_kind(source)
    if kind not in IMPORTERS:
        raise ParameterError(f"import_capture: kind {kind!r} is unknown; expected auto or {', '.join(IMPORTERS)}")
    return kind


def _key_from_folder(folder: Path) -> str:
    name = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-"
        for letter in folder.resolve().name
    )
    return name.lstrip("._-") or "capture"
