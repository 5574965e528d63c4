"""Captures that COLMAP (or GLOMAP) has registered: a sparse model, binary or text, and the folder of its pictures.

Poses are camera_from_world with OpenCV axes; intrinsics in pixels with centres at +0.5, as everywhere here. Lenses
up to OpenCV's four coefficients and the fisheye are undone; others are refused by name.
"""

import logging
import math
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from pmgs_lib.data.chunks import encoded_size
from pmgs_lib.data.importers.base import (
    Capture,
    CaptureFrame,
    DepthHint,
    Importer,
    check_camera,
    check_sizes,
    inside,
    scaled_photograph,
)
from pmgs_lib.data.importers.colmap_model import (
    ColmapCamera,
    ColmapImage,
    ColmapModel,
    is_model,
    model_files,
    read_model,
)
from pmgs_lib.data.importers.nerfstudio import natural_order
from pmgs_lib.data.lenses import FisheyeLens, Lens
from pmgs_lib.errors import DataError
from pmgs_lib.geometry.pose import inverse_pose, quaternion_to_matrix

MODEL_FOLDERS = ("", "sparse", "colmap/sparse", "distorted/sparse")  # below the capture; models may lie in 0, 1, ...
PICTURE_FOLDERS = ("images", "input", "images_2", "images_4", "images_8")
QUANTILES = (0.01, 0.99)
MARGINS = (0.8, 1.5)  # points are where there is texture; what has none may be nearer or farther
MIN_POINTS = 20  # of a view, to say something of its depth
log = logging.getLogger(__name__)


class ColmapImporter(Importer):
    """A model's folder, or the folder of a capture with `sparse/0` and `images` in it."""

    def detect(self, source: Path) -> bool:
        return any(is_model(place) for base in ("", "sparse") for place in _numbered(source / base))

    def read(self, source: Path, pictures: Path | None = None) -> Capture:
        place, model, others = _largest_model(source)
        where = f"capture {place}"
        if not model.images:
            raise DataError(f"{where}: no picture is registered in this model; run the reconstruction again")
        folder = pictures or _picture_folder(source, place, model.images[0].name, where)
        frames, left_out, seen = [], {}, []
        for image in sorted(model.images, key=lambda image: natural_order(image.name)):
            path = inside(folder, image.name, where)
            if image.name in left_out or any(frame.name == image.name for frame in frames[-1:]):
                raise DataError(f"{where}: picture {image.name} is registered twice; export the model again")
            if path.is_file():
                frames.append(_frame(image, path, model.cameras[image.camera], f"{where}, picture {image.name}"))
                seen.append(image.points)
            else:
                left_out[image.name] = "the file is missing"
        check_sizes(frames, where)
        described, *further = model_files(place)
        notes = {"pictures": folder.name, "points": len(model.points), "other_models": others}
        hint = _depth_hint(model, frames, seen)
        return Capture("colmap", described, len(model.images), frames, left_out, notes, tuple(further), hint)


def _numbered(folder: Path) -> list[Path]:
    """A folder and those in it that are called by numbers, as COLMAP calls the models of a reconstruction."""
    inner = [path for path in folder.iterdir() if path.name.isdecimal()] if folder.is_dir() else []
    return [folder, *sorted(inner, key=lambda path: int(path.name))]


def _largest_model(source: Path) -> tuple[Path, ColmapModel, dict[str, int]]:
    """The model with most pictures, and how many the others have."""
    places = [place for base in MODEL_FOLDERS for place in _numbered(source / base) if is_model(place)]
    if not places:
        raise DataError(f"capture {source}: no cameras and images, .bin or .txt, in it or in sparse/0; check the path")
    models = {place: read_model(place) for place in places}
    best = max(places, key=lambda place: len(models[place].images))
    others = {str(place.relative_to(source)): len(models[place].images) for place in places if place != best}
    if others:
        log.warning("%s: the largest of %d models is taken, others hold %s pictures", best, len(places), others)
    return best, models[best], others


def _picture_folder(source: Path, place: Path, first: str, where: str) -> Path:
    bases = [source, *[base for base in (place, *place.parents[:3]) if base != source]]
    folders = [base / name for base in bases for name in PICTURE_FOLDERS]
    found = next((folder for folder in folders if inside(folder, first, where).is_file()), None)
    found = found or next((folder for folder in folders if folder.is_dir()), None)
    if found is None:
        raise DataError(f"{where}: no folder {' or '.join(PICTURE_FOLDERS)} near it; name the folder of the pictures")
    return found


def _frame(image: ColmapImage, path: Path, camera: ColmapCamera, where: str) -> CaptureFrame:
    size = encoded_size(path.read_bytes(), where)
    intrinsics, lens = _intrinsics(camera, where)
    photograph = scaled_photograph((float(camera.height), float(camera.width)), size, intrinsics, lens, where)
    world_from_camera = _world_from_camera(image, where)
    check_camera(world_from_camera, photograph, where)
    return CaptureFrame(image.name, path, world_from_camera, photograph)


def _intrinsics(camera: ColmapCamera, where: str) -> tuple[tuple[float, float, float, float], Lens | FisheyeLens]:
    """fx, fy, cx, cy in pixels, and the lens, of the models whose lens can be undone."""
    values = camera.parameters
    if not all(map(math.isfinite, values)):
        raise DataError(f"{where}: a parameter of its camera is not finite; export the model again")
    one_focal_length = camera.model not in ("PINHOLE", "OPENCV", "OPENCV_FISHEYE")
    fx, fy, cx, cy, *rest = (values[0], *values) if one_focal_length else values
    match camera.model:
        case "SIMPLE_PINHOLE" | "PINHOLE":
            lens: Lens | FisheyeLens = Lens()
        case "SIMPLE_RADIAL" | "RADIAL":
            lens = Lens(*rest)
        case "OPENCV":
            lens = Lens(k1=rest[0], k2=rest[1], p1=rest[2], p2=rest[3])
        case "OPENCV_FISHEYE" | "SIMPLE_RADIAL_FISHEYE" | "RADIAL_FISHEYE":
            lens = FisheyeLens(*rest)
        case _:
            raise DataError(
                f"{where}: camera model {camera.model} cannot be undone here; run colmap image_undistorter and import "
                "its result"
            )
    return (fx, fy, cx, cy), lens


def _world_from_camera(image: ColmapImage, where: str) -> Float64[Tensor, "4 4"]:
    quaternion = torch.tensor(image.quaternion, dtype=torch.float64)
    length = quaternion.norm().item()
    if len(quaternion) != 4 or len(image.translation) != 3 or not (math.isfinite(length) and length > 1e-6):
        raise DataError(f"{where}: its pose {image.quaternion}, {image.translation} is none; export the model again")
    camera_from_world = torch.eye(4, dtype=torch.float64)
    camera_from_world[:3, :3] = quaternion_to_matrix(quaternion / length)
    camera_from_world[:3, 3] = torch.tensor(image.translation, dtype=torch.float64)
    return inverse_pose(camera_from_world)


def _depth_hint(model: ColmapModel, frames: list[CaptureFrame], seen: list[np.ndarray]) -> DepthHint | None:
    """The depths between which the model's points lie in each view, over all views; None with too few points."""
    ranges = []
    for frame, ids in zip(frames, seen, strict=True):
        rows = np.searchsorted(model.point_ids, ids)
        rows = rows[rows < len(model.point_ids)]
        points = torch.from_numpy(model.points[rows[np.isin(model.point_ids[rows], ids)]])
        pose = frame.world_from_camera
        depth = (points - pose[:3, 3]) @ pose[:3, 2]
        depth = depth[depth.isfinite() & (depth > 0)]
        if len(depth) >= MIN_POINTS:
            ranges.append(np.quantile(depth.numpy(), QUANTILES))
    if not ranges:
        return None
    near, far = min(low for low, _ in ranges), max(high for _, high in ranges)
    told = f"1 % and 99 % of the depths of {len(model.points)} points, over {len(ranges)} views, with margins"
    return DepthHint(float(near) * MARGINS[0], float(far) * MARGINS[1], told)
