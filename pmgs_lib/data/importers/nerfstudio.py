"""Captures described by a `transforms.json`, as Nerfstudio and instant-ngp write them.

Poses there are camera-to-world with OpenGL axes; intrinsics and distortion are in pixels, for the whole capture or
for each frame. Any `applied_transform` is already part of the poses.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from pmgs_lib.data.chunks import encoded_size
from pmgs_lib.data.files import read_json
from pmgs_lib.data.importers.base import (
    Capture,
    CaptureFrame,
    Importer,
    check_camera,
    check_sizes,
    inside,
    scaled_photograph,
)
from pmgs_lib.data.lenses import Lens
from pmgs_lib.errors import DataError
from pmgs_lib.geometry.pose import opencv_from_opengl

FILE_NAME = "transforms.json"
PINHOLE_MODELS = ("PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV")
LENS_NAMES = ("k1", "k2", "p1", "p2", "k3")
NOTED = ("applied_transform", "applied_scale", "aabb_scale", "ply_file_path")


class NerfstudioImporter(Importer):
    """A folder with a `transforms.json`, or that file itself."""

    def detect(self, source: Path) -> bool:
        return source.suffix == ".json" if source.is_file() else (source / FILE_NAME).is_file()

    def read(self, source: Path, pictures: Path | None = None) -> Capture:
        path = source if source.is_file() else source / FILE_NAME
        content, entries = read_description(path)
        where = f"capture {path}"
        frames, left_out = [], {}
        for name, entry in sorted(entries, key=lambda item: natural_order(item[0])):
            picture = _picture_path(pictures or path.parent, name, where)
            if picture is None:
                left_out[name] = "the file is missing"
            else:
                frames.append(frame_from_entry(name, picture, {**content, **entry}, where))
        check_sizes(frames, where)
        notes = {name: content[name] for name in NOTED if name in content}
        return Capture("nerfstudio", path, len(entries), frames, left_out, notes)


def read_description(path: Path) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
    """The content of a `transforms.json` and its frames, in the order of the file, by their file paths."""
    content = read_json(path, what="capture")
    where = f"capture {path}"
    if not isinstance(content, dict):
        raise DataError(f"{where}: holds a {type(content).__name__}, expected an object with frames; export it again")
    listed = content.get("frames")
    if not isinstance(listed, list) or not listed or not all(isinstance(frame, dict) for frame in listed):
        raise DataError(f"{where}: frames is missing, empty or no list of objects; export the capture again")
    _check_model(content, where)
    return content, _named(listed, where)


def _check_model(content: Mapping[str, Any], where: str) -> None:
    model = content.get("camera_model", "OPENCV")
    if model not in PINHOLE_MODELS or content.get("is_fisheye") or content.get("k4"):
        raise DataError(
            f"{where}: camera model {model!r} (or k4, is_fisheye) is no pinhole with k1, k2, k3, p1, p2; "
            f"undistort the pictures first or use one of {', '.join(PINHOLE_MODELS)}"
        )


def _named(listed: list[dict[str, Any]], where: str) -> list[tuple[str, dict[str, Any]]]:
    named: dict[str, dict[str, Any]] = {}
    for number, entry in enumerate(listed):
        name = entry.get("file_path")
        if not isinstance(name, str) or not name:
            raise DataError(f"{where}: frame number {number} has no file_path; export the capture again")
        if name in named:
            raise DataError(f"{where}: {name} is listed twice; remove one of the two frames")
        named[name] = entry
    return list(named.items())


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """In the order in which a person counts: 2 before 10."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def _picture_path(folder: Path, name: str, where: str) -> Path | None:
    """The picture of a frame; Blender's synthetic captures leave the suffix out."""
    path = inside(folder, name, where)
    for suffix in ("", ".png", ".jpg", ".jpeg"):
        if (found := path.with_name(path.name + suffix)).is_file():
            return found
    return None


def frame_from_entry(
    name: str, path: Path, values: Mapping[str, Any], where: str, *, scaled: bool = False, timestamp: int | None = None
) -> CaptureFrame:
    """One frame from its entry in the file. `scaled`: the picture is a reduced one, and the intrinsics follow it."""
    where = f"{where}, frame {name}"
    height, width = encoded_size(path.read_bytes(), where)
    listed = _number(values, "h", where, float(height)), _number(values, "w", where, float(width))
    if listed != (height, width) and not scaled:
        turned = " (turned by 90 degrees: rewrite the picture without its EXIF orientation)"
        raise DataError(
            f"{where}: the picture is {height}x{width} (height x width), listed as {listed[0]:g}x{listed[1]:g}"
            f"{turned if listed == (width, height) else ''}; list the true size and scale the intrinsics with it"
        )
    fx = _focal_length(values, "fl_x", "camera_angle_x", listed[1], where)
    fy = _focal_length(values, "fl_y", "camera_angle_y", listed[0], where) if "fl_y" in values else fx
    lens = Lens(**{coefficient: _number(values, coefficient, where, 0.0) for coefficient in LENS_NAMES})
    cx, cy = _number(values, "cx", where, listed[1] / 2), _number(values, "cy", where, listed[0] / 2)
    world_from_camera = opencv_from_opengl(_matrix(values.get("transform_matrix"), where))
    photograph = scaled_photograph(listed, (height, width), (fx, fy, cx, cy), lens, where)
    check_camera(world_from_camera, photograph, where)
    return CaptureFrame(name, path, world_from_camera, photograph, timestamp)


def _focal_length(values: Mapping[str, Any], name: str, angle_name: str, size: float, where: str) -> float:
    if name in values:
        return _number(values, name, where)
    if angle_name in values:
        return 0.5 * size / math.tan(0.5 * _number(values, angle_name, where))
    raise DataError(f"{where}: neither {name} nor {angle_name} is given; export the capture with its intrinsics")


def _number(values: Mapping[str, Any], name: str, where: str, default: float | None = None) -> float:
    value = values.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{where}: {name} is {value!r}, expected a finite number; correct it or export again")
    return float(value)


def _matrix(rows: Any, where: str) -> Float64[Tensor, "4 4"]:
    try:
        matrix = torch.tensor(rows, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        matrix = torch.empty(0)
    if matrix.shape == (3, 4):
        matrix = torch.cat([matrix, matrix.new_tensor([[0, 0, 0, 1]])])
    if matrix.shape != (4, 4):
        raise DataError(f"{where}: transform_matrix is no 4x4 (or 3x4) matrix of numbers; export the capture again")
    if matrix.isfinite().all() and not torch.equal(matrix[3], matrix.new_tensor([0, 0, 0, 1])):
        raise DataError(f"{where}: the last row of transform_matrix is {matrix[3].tolist()}, expected 0 0 0 1")
    return matrix
