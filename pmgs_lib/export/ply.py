"""Splats as `.ply` in the layout of the original 3D Gaussian splatting code (Kerbl et al. 2023), which viewers read.

One vertex a Gaussian, float32: x y z, nx ny nz (zero), f_dc_* and f_rest_* (harmonics, f_rest channel by channel),
opacity (logit), scale_* (natural logarithm of the standard deviation), rot_* (quaternion wxyz). World units and axes
stay as they are. Beside the Gaussians themselves only a few megabytes are held: writing works on one part of the rows
after the other, reading moves each number once from the mapped file to its place.
"""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.lib.recfunctions import structured_to_unstructured
from plyfile import PlyData, PlyParseError

from pmgs_lib.data.files import replaced_atomically
from pmgs_lib.errors import DataError, first_line
from pmgs_lib.export.ply_kernels import fill_gaussians
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
    # The pages of new arrays are touched once, by the kernel: half of the time goes into them.
    shapes = ((count, 3), (count, 3), (count, 4), (count,), (count, coefficients, 3))
    arrays = [np.empty(shape, np.float32) for shape in shapes]
    faults = np.zeros(3, np.int64)
    for start, rows, places in _parts(table, names):
        faults += fill_gaussians(rows, places, *(array[start : start + len(rows)] for array in arrays))
    not_finite, too_large, no_rotation = faults
    if not_finite:
        raise DataError(f"{path}: {_what_is_not_finite(table, names)}; export it again")
    if too_large:
        raise DataError(f"{path}: a scale_* is too large to be a logarithm; the file may hold plain scales")
    if no_rotation:
        raise DataError(f"{path}: a quaternion rot_* has length zero, expected a rotation; export the scene again")
    return Gaussians(*map(torch.from_numpy, arrays))


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


def _parts(table: np.ndarray, names: tuple[str, ...]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Parts of the table as plain float32 (gaussian, property): first row, the rows, columns of `names` in them."""
    if {table.dtype[name] for name in table.dtype.names} == {np.dtype("<f4")}:  # nearly all files: one plain table
        places = np.array([table.dtype.names.index(name) for name in names])
        yield 0, np.ascontiguousarray(table).view("<f4").reshape(len(table), len(table.dtype)), places
        return
    for start in range(0, len(table), CHUNK_ROWS):
        part = table[start : start + CHUNK_ROWS][list(names)]
        with np.errstate(over="ignore"):  # a double too large for float32 becomes infinite, which is refused
            yield start, structured_to_unstructured(part, dtype=np.float32), np.arange(len(names))


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


def _what_is_not_finite(table: np.ndarray, names: tuple[str, ...]) -> str:
    """The first property that holds NaN or infinity as float32, and in how many vertices."""
    for name in names:
        with np.errstate(over="ignore"):
            bad = int(np.count_nonzero(~np.isfinite(table[name].astype(np.float32))))
        if bad:
            return f"property {name} is NaN or infinite in {bad} of {len(table)} vertices"
    raise AssertionError(f"numbers of {len(table)} vertices were found to be not finite, and now all are")
