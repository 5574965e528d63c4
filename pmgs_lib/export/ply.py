"""Splats as `.ply` in the layout of the original 3D Gaussian splatting code (Kerbl et al. 2023), which viewers read.

One vertex a Gaussian, float32: x y z, nx ny nz (zero), f_dc_* and f_rest_* (harmonics, f_rest channel by channel),
opacity (logit), scale_* (natural logarithm of the standard deviation), rot_* (quaternion wxyz). World units and axes
stay as they are. Both ways work on one part of the rows after the other, so that beside the Gaussians themselves only
a few megabytes are held.
"""

import os
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.lib.recfunctions import structured_to_unstructured
from plyfile import PlyData, PlyParseError

from pmgs_lib.data.files import replaced_atomically
from pmgs_lib.errors import DataError, first_line
from pmgs_lib.export.splat_values import CHUNK_ROWS, numpy_of, require_writable, unit_quaternions
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.geometry.harmonics import MAX_DEGREE

# Far closer to 0 and 1 than the renderer's limits (1/255 and 0.999), and its logit still fits float32 exactly enough.
OPACITY_MARGIN = 1e-6
SMALLEST_SCALE = 1e-20  # a flat Gaussian has scale 0, which has no logarithm
BINARY_FORMATS = (b"format binary_little_endian 1.0", b"format binary_big_endian 1.0")

POSITION, NORMAL, CONSTANT = ("x", "y", "z"), ("nx", "ny", "nz"), ("f_dc_0", "f_dc_1", "f_dc_2")
SCALE, ROTATION = ("scale_0", "scale_1", "scale_2"), ("rot_0", "rot_1", "rot_2", "rot_3")
REST_COUNTS = {3 * ((degree + 1) ** 2 - 1): degree for degree in range(MAX_DEGREE + 1)}


def write_ply(path: str | os.PathLike[str], gaussians: Gaussians) -> None:
    """Write the Gaussians of one scene, all harmonics included; reading the file back renders the same picture.

    Raises `ParameterError` for a batch of scenes and for values that no file can hold (NaN, opacity outside [0, 1],
    negative scale, quaternion of length zero).
    """
    require_writable("write_ply", gaussians)
    values = {name: numpy_of(tensor) for name, tensor in vars(gaussians).items()}
    with replaced_atomically(path) as sibling, sibling.open("wb") as stream:
        stream.write(_header(gaussians.count, 3 * ((gaussians.degree + 1) ** 2 - 1)))
        for start in range(0, gaussians.count, CHUNK_ROWS):
            rows = _rows({name: array[start : start + CHUNK_ROWS] for name, array in values.items()})
            stream.write(rows.data)


def read_ply(path: str | os.PathLike[str]) -> Gaussians:
    """Gaussians of one scene (float32) from a `.ply` of the original layout, degrees 0 to 4, whoever trained it.

    The order of the properties, their precision and the byte order do not matter. Further scalar properties, such as
    `filter_3D` or `red`, are not used: a warning names them. Raises `DataError`, whatever the bytes, naming what is
    wrong: no ply, cut short, text instead of binary, properties missing, values that are not finite.
    """
    table = _read_vertices(Path(path))
    degree = _degree_of_properties(path, table.dtype)
    count, coefficients = len(table), (degree + 1) ** 2
    # Harmonics coefficient by coefficient, as `Gaussians` hold them; the file has f_rest channel by channel.
    rest = [f"f_rest_{c * (coefficients - 1) + k}" for k in range(coefficients - 1) for c in range(3)]
    names = (*POSITION, *CONSTANT, *rest, "opacity", *SCALE, *ROTATION)
    made = Gaussians(
        means=torch.empty(count, 3),
        scales=torch.empty(count, 3),
        quaternions=torch.empty(count, 4),
        opacities=torch.empty(count),
        harmonics=torch.empty(count, coefficients, 3),
    )
    with np.errstate(over="ignore"):  # a double too large for float32 becomes infinite, which is refused
        for start in range(0, count, CHUNK_ROWS):
            rows = _part(table, names, start)
            _require_finite(path, table[list(names)], rows)
            _fill(Gaussians(*(tensor[start : start + CHUNK_ROWS] for tensor in vars(made).values())), rows)
    made.scales.exp_()
    made.opacities.sigmoid_()
    if not bool(made.scales.isfinite().all()):
        raise DataError(f"{path}: a scale_* is too large to be a logarithm; the file may hold plain scales")
    if not bool(made.quaternions.any(dim=-1).all()):
        raise DataError(f"{path}: a quaternion rot_* has length zero, expected a rotation; export the scene again")
    return made


def _rest_names(count: int) -> tuple[str, ...]:
    return tuple(f"f_rest_{i}" for i in range(count))


def _header(count: int, rest: int) -> bytes:
    """The text before the rows; properties in the order of the original code."""
    names = (*POSITION, *NORMAL, *CONSTANT, *_rest_names(rest), "opacity", *SCALE, *ROTATION)
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    return "\n".join([*lines, *(f"property float {name}" for name in names), "end_header\n"]).encode("ascii")


def _rows(values: dict[str, np.ndarray]) -> np.ndarray:
    """Rows of the file as a table (gaussian, property), little-endian."""
    count, coefficients = values["harmonics"].shape[:2]
    last = 9 + 3 * (coefficients - 1)  # first column after the harmonics
    rows = np.empty((count, last + 8), dtype="<f4")
    rows[:, :3], rows[:, 3:6], rows[:, 6:9] = values["means"], 0, values["harmonics"][:, 0]
    by_channel = rows[:, 9:last].reshape(count, 3, coefficients - 1)
    by_channel[...] = values["harmonics"][:, 1:].swapaxes(1, 2)
    opacities = values["opacities"].astype(np.float64).clip(OPACITY_MARGIN, 1 - OPACITY_MARGIN)
    rows[:, last] = np.log(opacities / (1 - opacities))  # in double: 1 - opacity has no digits left in float32
    rows[:, last + 1 : last + 4] = np.log(np.maximum(values["scales"], SMALLEST_SCALE))
    rows[:, last + 4 :] = unit_quaternions(values["quaternions"])
    return rows


def _fill(part: Gaussians, rows: np.ndarray) -> None:
    """Copy rows (in the order of `read_ply`) to where they belong; logits and logarithms stay what they are."""
    table, last = torch.from_numpy(rows), rows.shape[1] - 8
    part.means.copy_(table[:, :3])
    part.harmonics.flatten(1).copy_(table[:, 3:last])
    part.opacities.copy_(table[:, last])
    part.scales.copy_(table[:, last + 1 : last + 4])
    part.quaternions.copy_(table[:, last + 4 :])


def _part(table: np.ndarray, names: tuple[str, ...], start: int) -> np.ndarray:
    """Values of these properties (gaussian, property) in the next rows."""
    rows = table[start : start + CHUNK_ROWS]
    if {table.dtype[name] for name in table.dtype.names} == {np.dtype("<f4")}:  # nearly all files: one plain table
        places = [table.dtype.names.index(name) for name in names]
        return np.ascontiguousarray(rows).view("<f4").reshape(len(rows), -1).take(places, axis=1)
    return structured_to_unstructured(rows[list(names)], dtype=np.float32)


def _read_vertices(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as stream:
            head = stream.read(64).splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if head[:1] == [b"ply"] and any(line.startswith(b"format ascii") for line in head):
        # Nobody writes splats so, and its rows could not be checked against the size of the file.
        raise DataError(f"{path}: is a text ply, expected a binary one; save it as binary, with plyfile or a viewer")
    if head[:1] != [b"ply"] or not any(line in BINARY_FORMATS for line in head):
        raise DataError(f"{path}: is not a binary ply file, expected 3D Gaussians as the original code writes them")
    try:
        ply = PlyData.read(str(path))
        return np.asarray(ply["vertex"].data)
    except KeyError as error:
        raise DataError(f"{path}: has no element 'vertex', expected one vertex for each Gaussian") from error
    except (PlyParseError, ValueError, MemoryError, OverflowError, TypeError) as error:
        raise DataError(f"{path}: damaged ply file ({first_line(error)}); copy or export it again") from error


def _degree_of_properties(path: str | os.PathLike[str], layout: np.dtype) -> int:
    """Degree of the harmonics, after a check that all properties of the original layout are there, as floats."""
    names = layout.names or ()
    if "packed_position" in names:
        raise DataError(f"{path}: is a compressed ply, expected plain properties; save it uncompressed in its viewer")
    rest = [name for name in names if name.startswith("f_rest_")]
    required = {*POSITION, *CONSTANT, "opacity", *SCALE, *ROTATION, *_rest_names(len(rest))}
    missing, unused = sorted(required - set(names)), sorted(set(names) - required - set(NORMAL))
    odd = sorted(name for name in required & set(names) if layout[name].kind != "f")
    for fault, found in (("lacks properties", missing), ("has no floats in", odd)):
        if found:
            raise DataError(
                f"{path}: {fault} {', '.join(found[:8])}; expected the layout of 3D Gaussian splatting "
                "(x y z, f_dc_*, f_rest_*, opacity, scale_*, rot_*)"
            )
    if len(rest) not in REST_COUNTS:
        raise DataError(f"{path}: has {len(rest)} properties f_rest_*, expected one of {list(REST_COUNTS)}")
    if unused:
        warnings.warn(f"{path}: properties {', '.join(unused[:8])} are not used, pictures may differ", stacklevel=3)
    return REST_COUNTS[len(rest)]


def _require_finite(path: str | os.PathLike[str], columns: np.ndarray, rows: np.ndarray) -> None:
    finite = np.isfinite(rows)
    if not finite.all():
        name = columns.dtype.names[int(np.argmin(finite.all(axis=0)))]
        bad = int(np.count_nonzero(~np.isfinite(columns[name].astype(np.float32))))
        raise DataError(
            f"{path}: property {name} is NaN or infinite in {bad} of {len(columns)} vertices; export it again"
        )
