"""What an import was asked for and what it did: the manifest that stands beside the chunk of an imported scene."""

import os
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from pmgs_lib.data.config import Config
from pmgs_lib.data.files import read_json
from pmgs_lib.errors import DataError


class ImportOptions(Config):
    """How a capture becomes a scene.

    key: name of the scene; None takes the folder's name. scale: leave positions in the capture's units ("none"), or
    let the median distance from a camera to its nearest neighbour ("spacing"), or the largest distance between two
    cameras ("span"), be `scale_to`. center_principal_point: crop so that it lies in the middle, as most released
    models assume; else keep all that the lens leaves. estimate_depth_range: suggest near and far in the manifest.
    pictures: folder of the pictures, where the capture's own layout does not say it.
    """

    key: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] | None = None
    split: Literal["train", "test"] = "test"
    scale: Literal["none", "spacing", "span"] = "none"
    scale_to: Annotated[float, Field(gt=0)] = 1.0
    center_principal_point: bool = True
    estimate_depth_range: bool = True
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 95
    overwrite: bool = False
    pictures: str | None = None


class CollectionOptions(Config):
    """How a data set of many scenes is imported; each importer's own options are added to these.

    split: None takes what the layout is meant for. workers: processes; 0 is one a core, eight at most. limit: only the
    first so many of the scenes that are not imported yet. overwrite: import again what this kind of import has written.
    """

    split: Literal["train", "test"] | None = None
    workers: Annotated[int, Field(ge=0, le=256)] = 0
    limit: Annotated[int, Field(ge=1)] | None = None
    overwrite: bool = False
    progress: bool = True


class SceneRecord(Config):
    """An imported scene: its chunk, frames, picture size in pixels, and the SHA-256 of what it was made from."""

    chunk: str
    frames: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=1)]
    digest: str


class CollectionManifest(Config):
    """What the imports of one kind into one split have done. `listed == imported + len(left_out) + waiting`.

    sources: where from, in the order of the calls. left_out: scene -> reason. waiting: listed scenes beyond a `limit`.
    digest: SHA-256 over keys and digests of the scenes, in the order of the keys. options: of the last call.
    """

    kind: str
    split: str
    sources: tuple[str, ...]
    listed: Annotated[int, Field(ge=0)]
    imported: Annotated[int, Field(ge=0)]
    waiting: Annotated[int, Field(ge=0)]
    left_out: dict[str, str]
    scenes: dict[str, SceneRecord]
    digest: str
    options: dict[str, Any]
    notes: dict[str, Any]

    @property
    def reasons(self) -> dict[str, int]:
        """How many scenes were left out for which reason; what stands after a colon differs from scene to scene."""
        return dict(Counter(reason.partition(":")[0] for reason in self.left_out.values()))


class CaptureManifest(Config):
    """What an import did. `listed == imported + len(left_out)`; `left_out` maps a frame to the reason.

    Sizes are height and width in pixels. `scale_factor` multiplied the positions. `digest` is the SHA-256 of the
    description and the pictures, in order. near_hint and far_hint are z-depths in the units of the imported scene.
    """

    key: str
    kind: str
    source: str
    listed: int
    imported: int
    left_out: dict[str, str]
    frames: tuple[str, ...]
    source_size: tuple[int, int]
    size: tuple[int, int]
    undistorted: bool
    scale_factor: float
    near_hint: float | None
    far_hint: float | None
    hint: str
    digest: str
    options: ImportOptions
    notes: dict[str, Any]


def read_manifest(root: str | os.PathLike[str], split: str, key: str) -> CaptureManifest:
    """The manifest that `import_capture` wrote for scene `key`."""
    path = manifest_path(root, split, key)
    content = read_json(path, what="manifest")
    if not isinstance(content, dict):
        raise DataError(f"manifest {path}: expected an object; import the capture again")
    return CaptureManifest.build(content, f"manifest {path}", DataError)


def read_collection_manifest(root: str | os.PathLike[str], split: str, kind: str) -> CollectionManifest:
    """The manifest of the imports of `kind` (a data set's name among the importers) into one split."""
    path = collection_manifest_path(Path(root) / split, kind)
    content = read_json(path, what="manifest")
    if not isinstance(content, dict):
        raise DataError(f"manifest {path}: expected an object; delete it and import the data set again")
    return CollectionManifest.build(content, f"manifest {path}", DataError)


def collection_manifest_path(folder: Path, kind: str) -> Path:
    """Where the manifest of a data set's import stands in the folder of a split."""
    return folder / f"{kind}.import.json"


def manifest_path(root: str | os.PathLike[str], split: str, key: str) -> Path:
    """Where the manifest of an imported scene stands."""
    return Path(root) / split / f"{key}.manifest.json"
