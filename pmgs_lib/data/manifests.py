"""What an import was asked for and what it did: the manifest that stands beside the chunk of an imported scene."""

import os
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
    """

    key: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] | None = None
    split: Literal["train", "test"] = "test"
    scale: Literal["none", "spacing", "span"] = "none"
    scale_to: Annotated[float, Field(gt=0)] = 1.0
    center_principal_point: bool = True
    estimate_depth_range: bool = True
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 95
    overwrite: bool = False


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


def manifest_path(root: str | os.PathLike[str], split: str, key: str) -> Path:
    """Where the manifest of an imported scene stands."""
    return Path(root) / split / f"{key}.manifest.json"
