"""Cameras as a sparse model of COLMAP, binary or text: what structure-from-motion and splatting programs start from.

The inverse of `pmgs_lib.data.importers.colmap`: camera_from_world as quaternion and translation with OpenCV axes,
intrinsics in pixels with centres at +0.5. Format: colmap.github.io/format.html.
"""

import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, UInt8
from torch import Tensor

from pmgs_lib.cameras import Cameras
from pmgs_lib.data.files import replaced_atomically
from pmgs_lib.data.importers.colmap_model import MODELS, NAMES
from pmgs_lib.errors import ParameterError
from pmgs_lib.export.splat_values import numpy_of, require_writable
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.geometry.harmonics import CONSTANT_HARMONIC
from pmgs_lib.geometry.pose import matrix_to_quaternion, quaternion_to_matrix

PINHOLE = [name for name, _ in MODELS].index("PINHOLE")
FORMS = {"binary": "bin", "text": "txt"}


class _Model(NamedTuple):
    """The numbers of a model. lenses: fx fy cx cy in pixels, one row a camera; lens_of: row of each picture, from 0."""

    size: tuple[int, int]
    lenses: Float64[np.ndarray, "camera 4"]
    lens_of: list[int]
    names: Sequence[str]
    poses: Float64[np.ndarray, "frame 7"]
    positions: Float64[np.ndarray, "point 3"]
    colors: UInt8[np.ndarray, "point 3"]


def write_colmap(
    folder: str | os.PathLike[str],
    cameras: Cameras,
    names: Sequence[str],
    size: tuple[int, int],
    *,
    points: Gaussians | None = None,
    form: str = "binary",
) -> None:
    """Write the files cameras, images and points3D of a model into `folder`, such as `capture/sparse/0`.

    cameras: one for each picture (frame); equal intrinsics share a camera. names: of the pictures, relative to their
    own folder. size: height and width of the pictures. points: Gaussians whose centres and constant colours become the
    points (without tracks: no picture lists which it sees); without them the file of points is empty. form: binary or
    text. Raises `ParameterError` for cameras, names and points that no model can hold and for a folder with a model in
    it, and `DataError` for cameras that are none. A write that fails leaves none of the three files.
    """
    _require_model(folder, cameras, names, size, form)
    model = _model(cameras, names, size, points)
    suffix = FORMS[form]
    writers = (_cameras_bytes, _images_bytes, _points_bytes) if form == "binary" else _TEXT
    contents = [write(model) for write in writers]
    paths = [Path(folder) / f"{name}.{suffix}" for name in NAMES]
    try:
        for path, content in zip(paths, contents, strict=True):
            with replaced_atomically(path) as sibling:
                sibling.write_bytes(content)
    except BaseException:  # a part of a model would pass for one
        for path in paths:
            path.unlink(missing_ok=True)
        raise


def _require_model(
    folder: str | os.PathLike[str], cameras: Cameras, names: Sequence[str], size: tuple[int, int], form: str
) -> None:
    where = f"write_colmap {folder}"
    if cameras.batch_shape != (len(names),) or len(set(names)) != len(names) or min(size) < 1:
        raise ParameterError(
            f"{where}: cameras of shape {tuple(cameras.batch_shape)} for {len(names)} names and pictures of "
            f"{size[0]}x{size[1]}; expected one camera and a name of its own for each picture"
        )
    if form not in FORMS:
        raise ParameterError(f"{where}: form {form!r}, expected one of {', '.join(FORMS)}")
    # COLMAP reads a name in a text up to the first space; a binary file ends it by a zero.
    odd = [name for name in names if not name or not name.isprintable() or (form == "text" and " " in name)]
    if odd:
        raise ParameterError(f"{where}: the name {odd[0]!r} cannot stand in a {form} model; rename the picture")
    cameras.validate(where)
    if bool((cameras.intrinsics[:, 0, 1] != 0).any()):
        raise ParameterError(f"{where}: pixels are skewed, expected rectangular ones; COLMAP has no skew")
    present = [f"{name}.{suffix}" for suffix in FORMS.values() for name in NAMES]
    found = [name for name in present if (Path(folder) / name).exists()]
    if found:
        raise ParameterError(f"{where}: has {', '.join(found)} already; name another folder, or remove them")


def _model(cameras: Cameras, names: Sequence[str], size: tuple[int, int], points: Gaussians | None) -> _Model:
    intrinsics = cameras.pixel_intrinsics(*size).double().cpu().numpy()
    lenses, lens_of = np.unique(intrinsics[:, [0, 1, 0, 1], [0, 1, 2, 2]], axis=0, return_inverse=True)
    positions, colors = np.empty((0, 3)), np.empty((0, 3), np.uint8)
    if points is not None:
        require_writable("write_colmap", points)
        positions = numpy_of(points.means).astype(np.float64)
        shade = 0.5 + CONSTANT_HARMONIC * numpy_of(points.harmonics[:, 0])
        colors = np.rint(255 * shade.clip(0, 1)).astype(np.uint8)
    return _Model(size, lenses, lens_of.ravel().tolist(), names, _poses(cameras.world_from_camera), positions, colors)


def _poses(world_from_camera: Tensor) -> Float64[np.ndarray, "frame 7"]:
    """Quaternion (wxyz) and translation of camera_from_world."""
    exact = world_from_camera.detach().double().cpu()
    quaternions = matrix_to_quaternion(exact[:, :3, :3].mT)
    # With the rotation that the quaternion stands for: a reader then finds the centres where they were.
    translations = -(quaternion_to_matrix(quaternions) @ exact[:, :3, 3:])[..., 0]
    return np.concatenate([quaternions.numpy(), translations.numpy()], axis=1)


def _cameras_bytes(model: _Model) -> bytes:
    height, width = model.size
    rows = [struct.pack("<IiQQ4d", n, PINHOLE, width, height, *lens) for n, lens in enumerate(model.lenses, start=1)]
    return struct.pack("<Q", len(rows)) + b"".join(rows)


def _images_bytes(model: _Model) -> bytes:
    rows = [
        struct.pack("<I7dI", number, *pose, lens + 1) + name.encode() + b"\0" + struct.pack("<Q", 0)
        for number, (pose, lens, name) in enumerate(zip(model.poses, model.lens_of, model.names, strict=True), start=1)
    ]
    return struct.pack("<Q", len(rows)) + b"".join(rows)


def _points_bytes(model: _Model) -> bytes:
    fields = [("number", "<u8"), ("position", "<f8", 3), ("color", "u1", 3), ("error", "<f8"), ("seen_by", "<u8")]
    table = np.zeros(len(model.positions), fields)
    table["number"], table["position"], table["color"] = _numbers(model), model.positions, model.colors
    return struct.pack("<Q", len(table)) + table.tobytes()


def _cameras_text(model: _Model) -> bytes:
    size = f"{model.size[1]} {model.size[0]}"
    rows = [f"{n} PINHOLE {size} {_words(lens)}" for n, lens in enumerate(model.lenses, start=1)]
    return _text("number, model, width, height, fx, fy, cx, cy", rows)


def _images_text(model: _Model) -> bytes:
    rows = [
        f"{number} {_words(pose)} {lens + 1} {name}\n"  # and the empty line of its features
        for number, (pose, lens, name) in enumerate(zip(model.poses, model.lens_of, model.names, strict=True), start=1)
    ]
    return _text("number, qw, qx, qy, qz, tx, ty, tz, camera, name; then the features", rows)


def _points_text(model: _Model) -> bytes:
    rows = [
        f"{number} {_words(position)} {' '.join(map(str, color))} 0"
        for number, position, color in zip(_numbers(model), model.positions, model.colors.tolist(), strict=True)
    ]
    return _text("number, x, y, z, red, green, blue, error; then the track", rows)


def _numbers(model: _Model) -> range:
    return range(1, len(model.positions) + 1)


def _words(numbers: np.ndarray) -> str:
    return " ".join(map(repr, numbers.tolist()))  # shortest text that is the same number again


def _text(fields: str, rows: list[str]) -> bytes:
    return "\n".join([f"# {fields}", *rows, ""]).encode()


_TEXT: tuple[Callable[[_Model], bytes], ...] = (_cameras_text, _images_text, _points_text)
