"""DTU as MVSNet prepared it, for zero-shot and point-cloud evaluation.

`Cameras/train/%08d_cam.txt` with `Rectified/scan<N>_train/rect_%03d_<light>_r5000.png` (640x512, its cameras are those
of a quarter of that), or `Cameras/%08d_cam.txt` with `Rectified/scan<N>/` (1600x1200, its cameras as they are). A
camera file holds a 4x4 camera_from_world in millimetres (OpenCV axes), intrinsics in pixels, least depth and its step.
Facts from donydchen/mvsplat, src/scripts/convert_dtu.py: 49 views, light 3, the 16 test scans, a unit of 200 mm.
"""

import os
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pmgs_lib.data.chunks import encoded_size
from pmgs_lib.data.importers.base import Capture, CaptureFrame, check_camera, check_sizes
from pmgs_lib.data.importers.collection import CollectionImporter, Listing
from pmgs_lib.data.lenses import Photograph
from pmgs_lib.data.manifests import CollectionOptions
from pmgs_lib.errors import DataError
from pmgs_lib.geometry.pose import inverse_pose

UNIT_MM = 200.0  # of the imported scenes
VIEWS = 49
DEPTH_STEPS = 192
TEST_SCANS = (1, 8, 21, 30, 31, 34, 38, 40, 41, 45, 55, 63, 82, 103, 110, 114)
REDUCED = "_train"  # suffix of the scans of 640x512
QUARTER = 4.0  # their cameras are those of a quarter of the picture
LARGEST_TEXT = 1 << 16  # bytes of a camera file


class DtuOptions(CollectionOptions):
    """scans: the 16 that results are published on, or all. light: 0 to 6, which of the seven illuminations.

    principal_point: as measured, or taken to be the middle with focal lengths divided by twice its position, as
    MVSplat's conversion does: its published numbers rest on that.
    """

    scans: Literal["test", "all"] = "test"
    light: Literal[0, 1, 2, 3, 4, 5, 6] = 3
    principal_point: Literal["measured", "middle"] = "measured"


class DtuImporter(CollectionImporter):
    """The folder with `Cameras` and `Rectified`."""

    kind = "dtu"
    options: ClassVar[type[CollectionOptions]] = DtuOptions
    scenes_per_chunk = 4

    def detect(self, source: Path) -> bool:
        return (source / "Cameras").is_dir() and (source / "Rectified").is_dir()

    def split(self, source: Path) -> str:
        return "test"

    def listing(self, source: Path, split: str, options: DtuOptions) -> Listing:
        if not self.detect(source):
            raise DataError(f"{source}: has no folders Cameras and Rectified; check the path")
        scenes, left_out = {}, {}
        for place in sorted(path for path in (source / "Rectified").glob("scan*") if path.is_dir()):
            if _scan(place.name) is None:
                left_out[place.name] = "no scan: expected scan<number> or scan<number>_train"
            elif options.scans == "test" and _scan(place.name) not in TEST_SCANS:
                left_out[place.name] = "none of the 16 test scans"
            else:
                scenes[place.name] = place
        clouds = {key: _cloud(source, key) for key in scenes}
        near, far = _depth_range(source)
        notes = {
            "unit_mm": UNIT_MM, "near": near, "far": far, "principal_point": options.principal_point,
            "clouds": {key: str(path.relative_to(source)) for key, path in clouds.items() if path.is_file()},
        }  # fmt: skip
        return Listing(scenes, left_out, notes)

    def read(self, key: str, place: Path, options: DtuOptions) -> Capture:
        source = place.parents[1]
        reduced = key.endswith(REDUCED)
        frames, left_out, texts = [], {}, []
        for view in range(VIEWS):
            picture = place / f"rect_{view + 1:03d}_{options.light}_r5000.png"
            text = _camera_path(source, view, reduced)
            missing = [path.name for path in (picture, text) if not path.is_file()]
            if missing:
                left_out[picture.name] = f"missing: {', '.join(missing)}"
                continue
            frames.append(_frame(view, picture, text, reduced, options.principal_point))
            texts.append(text)
        check_sizes(frames, str(place))
        first = texts[0] if texts else _camera_path(source, 0, reduced)
        return Capture(self.kind, first, VIEWS, frames, left_out, further_sources=tuple(texts[1:]))


def read_dtu_cloud(path: str | os.PathLike[str]) -> Float[Tensor, "point 3"]:
    """The scanned surface of a DTU scan (`Points/stl/stl<NNN>_total.ply`) in the units of the imported scenes."""
    from plyfile import PlyData, PlyParseError

    try:
        vertices = PlyData.read(str(path))["vertex"]
        points = np.stack([np.asarray(vertices[axis], dtype=np.float32) for axis in "xyz"], axis=-1)
    except (OSError, PlyParseError, KeyError, ValueError) as fault:
        raise DataError(f"point cloud {path}: cannot be read ({fault}); fetch the scanned points again") from fault
    if not len(points) or not np.isfinite(points).all():
        raise DataError(f"point cloud {path}: has no points or some that are not finite; fetch it again")
    return torch.from_numpy(points) / UNIT_MM


def _scan(name: str) -> int | None:
    number = name.removeprefix("scan").removesuffix(REDUCED)
    return int(number) if number.isdecimal() else None


def _cloud(source: Path, key: str) -> Path:
    return source / "Points" / "stl" / f"stl{_scan(key) or 0:03d}_total.ply"


def _camera_path(source: Path, view: int, reduced: bool) -> Path:
    folder = source / "Cameras" / "train" if reduced else source / "Cameras"
    return folder / f"{view:08d}_cam.txt"


def _depth_range(source: Path) -> tuple[float | None, float | None]:
    """Near and far of the first camera file that is there, in units of the imported scenes."""
    for reduced in (True, False):
        path = _camera_path(source, 0, reduced)
        if path.is_file():
            _, _, (least, step) = _camera(path)
            return least / UNIT_MM, (least + DEPTH_STEPS * step) / UNIT_MM
    return None, None


def _frame(view: int, picture: Path, text: Path, reduced: bool, principal_point: str) -> CaptureFrame:
    height, width = encoded_size(picture.read_bytes(), f"picture {picture}")
    camera_from_world, k, _ = _camera(text)
    k = k * QUARTER if reduced else k
    fx, fy, cx, cy = (k[row, column].item() for row, column in ((0, 0), (1, 1), (0, 2), (1, 2)))
    if principal_point == "middle" and min(cx, cy) > 0:
        fx, fy, cx, cy = fx * width / (2 * cx), fy * height / (2 * cy), width / 2, height / 2
    photograph = Photograph(height, width, fx, fy, cx, cy)
    camera_from_world[:3, 3] /= UNIT_MM
    world_from_camera = inverse_pose(camera_from_world)
    check_camera(world_from_camera, photograph, f"camera {text}")
    return CaptureFrame(picture.name, picture, world_from_camera, photograph, view)


def _camera(path: Path) -> tuple[Float[Tensor, "4 4"], Float[Tensor, "3 3"], tuple[float, float]]:
    """camera_from_world (millimetres), intrinsics (pixels), least depth and its step (millimetres)."""
    if path.stat().st_size > LARGEST_TEXT:
        raise DataError(f"camera {path}: {path.stat().st_size:,} bytes, too many for a camera; check the file")
    words = path.read_bytes().decode("utf-8", errors="replace").split()
    try:
        if (words[0], words[17]) != ("extrinsic", "intrinsic"):
            raise ValueError("the words extrinsic and intrinsic are not where they belong")
        pose, k, depth = words[1:17], words[18:27], words[27:29]
        numbers = torch.tensor([float(word) for word in (*pose, *k, *depth)], dtype=torch.float64)
        if len(numbers) != 27 or not numbers.isfinite().all():
            raise ValueError(f"{len(numbers)} numbers, expected 27 finite ones")
    except (ValueError, IndexError) as fault:
        raise DataError(
            f"camera {path}: {fault}; expected extrinsic 4x4, intrinsic 3x3, depth: fetch it again"
        ) from None
    return numbers[:16].reshape(4, 4), numbers[16:25].reshape(3, 3), (numbers[25].item(), numbers[26].item())
