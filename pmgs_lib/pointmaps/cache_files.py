"""Files of a pointmap cache: one for each scene and set of frames, found by what its points depend on.

A folder holds the pointmaps of one source with one setting; `manifest.json` says which. A file's name is the digest of
that and of the views themselves, so that a pointmap is never served for other images, and its header carries a digest
of its content.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pmgs_lib.data.config import Config
from pmgs_lib.data.files import read_json, replaced_atomically, write_json
from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.pointmaps.base import Evidence, Pointmap, PointmapSource
from pmgs_lib.views import Views

MANIFEST = "manifest.json"
FORMAT = 1
StoredType = Literal["float32", "float16"]
# Half the distance of two neighbouring float16 numbers, relative to them.
FLOAT16_ERROR = 2.0**-11
FLOAT16_SMALLEST_NORMAL = 2.0**-14


class Manifest(Config):
    """What a cache folder holds. identity, evidence: of the source. stored_type: of the points on disk.

    float16 halves the size and changes each coordinate by at most 4.9e-4 of itself (below 6.1e-5 in size by at most
    3e-8).
    """

    format: Literal[1] = FORMAT
    identity: dict[str, str | int | float | bool | None] = Field(min_length=1)
    evidence: tuple[Evidence, ...]
    stored_type: StoredType = "float32"

    @classmethod
    def of(cls, source: PointmapSource, stored_type: StoredType) -> "Manifest":
        """The manifest of a folder for that source."""
        return cls(identity=dict(source.identity), evidence=source.evidence, stored_type=stored_type)

    def differences(self, other: "Manifest") -> str:
        """Fields that differ from those of `other`, in words; empty where none does."""
        mine, theirs = ({**m.identity, "stored_type": m.stored_type} for m in (self, other))
        names = [name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)]
        return ", ".join(f"{name} {mine.get(name)!r} instead of {theirs.get(name)!r}" for name in names)


@dataclass(frozen=True)
class PointmapFolder:
    """The files under `root`, described by `manifest`."""

    root: Path
    manifest: Manifest

    @classmethod
    def open(cls, root: Path) -> "PointmapFolder":
        """An existing folder; `DataError` where it holds no cache or one of another format."""
        if not (root / MANIFEST).is_file():
            raise DataError(f"pointmap cache {root}: has no {MANIFEST}; fill it first with fill_cache")
        content = read_json(root / MANIFEST, what="manifest")
        if not isinstance(content, dict):
            raise DataError(f"manifest {root / MANIFEST}: expected an object; fill the cache anew in another folder")
        return cls(root, Manifest.build(content, f"manifest {root / MANIFEST}", DataError))

    @classmethod
    def prepare(cls, root: Path, manifest: Manifest) -> "PointmapFolder":
        """The folder for that manifest, made where it is not there; `DataError` if it holds another source's files."""
        if not (root / MANIFEST).is_file():
            write_json(root / MANIFEST, manifest.model_dump(mode="json"))
        found = cls.open(root)
        differences = found.manifest.differences(manifest)
        if differences:
            raise DataError(
                f"pointmap cache {root}: holds pointmaps made otherwise ({differences}); name another folder for these"
            )
        return found

    def path(self, scene: Views) -> Path:
        """Where the pointmap of these views (no batch axis) lies, whether it is there or not."""
        return self.root / f"{views_digest(scene, self.manifest)}.safetensors"

    def write(self, scene: Views, key: str, pointmap: Pointmap) -> Path:
        """Store the pointmap of these views, whole or not at all."""
        path = self.path(scene)
        tensors = {"points": self._stored(pointmap.points, key)}
        if pointmap.confidence is not None:
            tensors["confidence"] = self._stored(pointmap.confidence, key)
        header = {"key": key, "digest": path.stem, "content": _content_digest(tensors)}
        with replaced_atomically(path) as sibling:
            save_file(tensors, sibling, metadata=header)
        return path

    def read(self, path: Path, shape: tuple[int, int, int]) -> Pointmap:
        """The pointmap of a file, in float32; `DataError` if it is damaged, renamed or not of (view, h, w).

        What is verified is a copy: the file's own tensors are mapped and would follow a later change of it.
        """
        try:
            with safe_open(path, framework="pt") as file:
                header = file.metadata() or {}
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (no mapping)
        except (SafetensorError, OSError, ValueError) as error:
            raise DataError(f"pointmap {path}: is damaged ({error}); delete it and fill the cache again") from error
        sound = (
            header.get("digest") == path.stem
            and header.get("content") == _content_digest(tensors)
            and "points" in tensors
            and tensors["points"].shape == (*shape, 3)
            and ("confidence" not in tensors or tensors["confidence"].shape == shape)
        )
        if not sound:
            raise DataError(
                f"pointmap {path}: does not hold what it was written with; delete it and fill the cache again"
            )
        confidence = tensors.get("confidence")
        return Pointmap(tensors["points"].float(), None if confidence is None else confidence.float())

    def _stored(self, values: Tensor, key: str) -> Tensor:
        stored = values.detach().cpu().to(getattr(torch, self.manifest.stored_type)).contiguous()
        if stored.isinf().any() and not values.isinf().any():
            raise ParameterError(
                f"pointmap of {key or 'the scene'}: has values up to {values.abs().max().item():.1e}, float16 ends at "
                "65504; fill the cache as float32"
            )
        return stored


def views_digest(scene: Views, manifest: Manifest) -> str:
    """Digest of the source and of those parts of the views that its points depend on.

    Images decoded from eight bits are recognised as such, exactly, and only those bytes are hashed: a quarter.
    """
    digest = hashlib.sha256(json.dumps([FORMAT, manifest.identity], sort_keys=True).encode())
    parts = {
        "images": (scene.images,),
        "cameras": (scene.cameras.world_from_camera, scene.cameras.intrinsics),
        "depth": (scene.depth,),
    }
    for name in manifest.evidence:
        for values in parts[name]:
            if values is None:
                raise DataError("pointmap cache: its source needs known depth, and the views have none")
            values = _as_bytes(values.detach().float())
            digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
            digest.update(values.cpu().contiguous().numpy().data)
    return digest.hexdigest()[:40]


def _as_bytes(values: Tensor) -> Tensor:
    rounded = (values * 255).round().clamp(0, 255).to(torch.uint8)
    return rounded if torch.equal(rounded.float() / 255, values) else values


def _content_digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, values in sorted(tensors.items()):
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.contiguous().numpy().data)
    return digest.hexdigest()
