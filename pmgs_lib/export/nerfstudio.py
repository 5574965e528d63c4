"""Photographs and poses as a Nerfstudio capture (`transforms.json`), taken through a distorting lens if wanted.

The inverse of `pmgs_lib.data.importers.nerfstudio`: OpenGL camera-to-world poses, intrinsics in pixels.
"""

import os
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pmgs_lib.cameras import Cameras
from pmgs_lib.data.chunks import encode_jpeg
from pmgs_lib.data.files import replaced_atomically, write_json
from pmgs_lib.data.lenses import Lens, Photograph, Window, largest_window, resample
from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.geometry.pose import opengl_from_opencv

FILE_NAME = "transforms.json"


def write_nerfstudio(
    folder: str | os.PathLike[str],
    images: UInt8[Tensor, "frame height width 3"],
    cameras: Cameras,
    distortion: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0),
    *,
    quality: int = 95,
) -> Path:
    """Write `images/0001.jpg ...` and `transforms.json` under `folder`; returns the path of the latter, written last.

    images: undistorted pictures. cameras: batch shape (frame), one set of intrinsics for all. distortion: k1, k2, p1,
    p2 of the lens through which each picture is photographed again: what it shows is the same scene, bent, and cropped
    so that no pixel is made up. Raises ParameterError for cameras that do not fit, DataError for a lens too strong.
    """
    frames, height, width = images.shape[:3]
    if cameras.batch_shape != (frames,) or not torch.allclose(cameras.intrinsics, cameras.intrinsics[:1], atol=1e-6):
        raise ParameterError(
            f"write_nerfstudio: cameras of shape {tuple(cameras.batch_shape)} for {frames} pictures; "
            "expected one camera a picture, all with the same intrinsics"
        )
    cameras.validate("write_nerfstudio")
    k = cameras[0].pixel_intrinsics(height, width).double()
    ideal = Photograph(height, width, *(k[i, j].item() for i, j in ((0, 0), (1, 1), (0, 2), (1, 2))), Lens(*distortion))
    window = largest_window([ideal.distorted(side) for side in ideal.border()], None, "write_nerfstudio")
    grid = ideal.undistorted(window.centers())
    if not grid.isfinite().all():
        raise DataError(
            f"write_nerfstudio: distortion {distortion} has no inverse inside the picture; use a weaker lens"
        )
    target = Path(folder)
    names = [f"images/{number:04d}.jpg" for number in range(1, frames + 1)]
    for name, image in zip(names, images, strict=True):
        photograph = image if ideal.lens.is_pinhole else resample(image, grid)
        with replaced_atomically(target / name) as sibling:
            sibling.write_bytes(encode_jpeg(photograph, quality))
    write_json(target / FILE_NAME, _description(names, cameras, ideal, window))
    return target / FILE_NAME


def _description(names: list[str], cameras: Cameras, ideal: Photograph, window: Window) -> dict[str, Any]:
    poses: Float[Tensor, "frame 4 4"] = opengl_from_opencv(cameras.world_from_camera.double())
    lens = ideal.lens
    return {
        "camera_model": "OPENCV",
        "w": window.width,
        "h": window.height,
        "fl_x": ideal.fx,
        "fl_y": ideal.fy,
        "cx": ideal.cx - window.left,
        "cy": ideal.cy - window.top,
        "k1": lens.k1,
        "k2": lens.k2,
        "p1": lens.p1,
        "p2": lens.p2,
        "frames": [
            {"file_path": name, "transform_matrix": pose.tolist()} for name, pose in zip(names, poses, strict=True)
        ],
    }
