"""A folder of photographs, or a video, without poses: chosen, placed by a pose estimator, and read as a capture."""

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

from pmgs_lib.data.files import write_json
from pmgs_lib.data.importers.base import Capture, CaptureFrame, Importer
from pmgs_lib.data.photos.base import PhotoOptions, PoseEstimator
from pmgs_lib.data.photos.naming import PICTURES, VIDEOS
from pmgs_lib.data.photos.preparation import prepare_photos
from pmgs_lib.errors import DataError

DESCRIPTION = "photographs.json"
LEAST_PLACED = 2


class Scratch:
    """A temporary folder that lives as long as this object, and goes without a word."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="photographs-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


class PhotosImporter(Importer):
    """Photographs or a video. estimator: finds the cameras (COLMAP by default). options: fields of `PhotoOptions`.

    Lengths are in units of the estimator's choice: pass `scale="spacing"` or `"span"` to the import to fix them.
    """

    def __init__(self, estimator: PoseEstimator | None = None, **options: Any) -> None:
        self.options = PhotoOptions.build(options, "PhotosImporter")
        self.estimator = estimator

    def detect(self, source: Path) -> bool:
        """A video file, or a folder of pictures that holds no description of their cameras and no other folder."""
        if source.is_file():
            return source.suffix.lower() in VIDEOS
        if not source.is_dir():
            return False
        entries = [entry for entry in source.iterdir() if not entry.name.startswith(".")]
        return bool(entries) and all(entry.is_file() and entry.suffix.lower() in PICTURES for entry in entries)

    def folder(self, source: Path) -> Path:
        """A video gives the scene its own name, not that of the folder that it happens to lie in."""
        return source if source.is_dir() else source.with_suffix("")

    def read(self, source: Path, pictures: Path | None = None) -> Capture:
        """The capture of the photographs at `pictures`, or `source`. Takes as long as the estimator does: minutes."""
        source = pictures or source
        scratch = Scratch()
        folder = scratch.path / "capture"
        photos = prepare_photos(source, folder / "pictures", self.options)
        estimator = self.estimator or _default_estimator()
        (scratch.path / "estimator").mkdir()
        found = estimator(photos, scratch.path / "estimator")
        frames = [
            CaptureFrame(
                name, photos.folder / name, found.photos[name].world_from_camera, found.photos[name].photograph
            )
            for name in photos.names
            if name in found.photos
        ]
        left_out = {**photos.left_out, **found.left_out}
        if len(frames) + len(left_out) != photos.listed or len(frames) < LEAST_PLACED:
            raise DataError(
                f"photographs {source}: the pose estimator placed {len(frames)} and left out {len(left_out)} of "
                f"{photos.listed}; expected at least {LEAST_PLACED} placed: take more photographs with more overlap"
            )
        asked = {"estimator": dict(estimator.identity), "photographs": self.options.model_dump()}
        write_json(folder / DESCRIPTION, {"listed": photos.listed, "left_out": dict(photos.left_out), **asked})
        return Capture(
            kind="photos",
            source=folder / DESCRIPTION,
            listed=photos.listed,
            frames=frames,
            left_out=left_out,
            notes={**asked, **found.notes},
            depth_hint=found.depth_hint,
            keeps=scratch,
        )


def _default_estimator() -> PoseEstimator:
    from pmgs_lib.data.photos.colmap import ColmapPoses

    return ColmapPoses()
