"""Splats as `.ply` in the layout of the original 3D Gaussian splatting code (Kerbl et al. 2023), which viewers read.

One vertex a Gaussian, float32: x y z, nx ny nz (zero), f_dc_* and f_rest_* (harmonics, f_rest channel by channel),
opacity (logit), scale_* (natural logarithm of the standard deviation), rot_* (quaternion wxyz). World units and axes
stay as they are.
"""

import os
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from plyfile import PlyData, PlyElement, PlyParseError
from torch import Tensor

from pmgs_lib.data.files import replaced_atomically
from pmgs_lib.errors import DataError, ParameterError
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
    _require_writable(gaussians)
    columns = _columns(gaussians)
    table = np.empty(gaussians.count, dtype=[(name, "<f4") for name in columns])
    for name, values in columns.items():
        table[name] = values
    with replaced_atomically(path) as sibling:
        PlyData([PlyElement.describe(table, "vertex")], byte_order="<").write(str(sibling))


def read_ply(path: str | os.PathLike[str]) -> Gaussians:
    """Gaussians of one scene (float32) from a `.ply` of the original layout, degrees 0 to 4.

    Raises `DataError`, whatever the bytes, naming what is wrong: no ply, cut short, text instead of binary, properties
    missing or unknown, values that are not finite.
    """
    table = _read_vertices(Path(path))
    degree = _degree_of_properties(path, table.dtype)
    values = {name: _finite_column(path, table, name) for name in table.dtype.names}
    coefficients = (degree + 1) ** 2
    rest_names = [f"f_rest_{i}" for i in range(3 * (coefficients - 1))]
    rest = _stacked(values, rest_names, len(table)).reshape(len(table), 3, coefficients - 1)
    constant = _stacked(values, CONSTANT, len(table))[:, :, None]
    rotation, scales = _stacked(values, ROTATION, len(table)), _stacked(values, SCALE, len(table)).exp()
    if not bool(scales.isfinite().all()):
        raise DataError(f"{path}: a scale_* is too large to be a logarithm; the file may hold plain scales")
    if bool((rotation.norm(dim=-1) == 0).any()):
        raise DataError(f"{path}: a quaternion rot_* has length zero, expected a rotation; export the scene again")
    return Gaussians(
        means=_stacked(values, POSITION, len(table)),
        scales=scales,
        quaternions=rotation,
        opacities=_stacked(values, ("opacity",), len(table))[:, 0].sigmoid(),
        harmonics=torch.cat([constant, rest], dim=2).mT.contiguous(),
    )


def _require_writable(gaussians: Gaussians) -> None:
    if gaussians.batch_shape != ():
        raise ParameterError(
            f"write_ply: Gaussians of batch shape {tuple(gaussians.batch_shape)}, expected one scene; pass gaussians[0]"
        )
    for name in ("means", "scales", "quaternions", "opacities", "harmonics"):
        if not bool(getattr(gaussians, name).isfinite().all()):
            raise ParameterError(f"write_ply: {name} hold NaN or infinity, expected finite numbers; check the model")
    if bool(((gaussians.opacities < 0) | (gaussians.opacities > 1)).any()):
        raise ParameterError("write_ply: opacities lie outside [0, 1]; pass them after the activation, not as logits")
    if bool((gaussians.scales < 0).any()):
        raise ParameterError(
            "write_ply: scales are negative, expected standard deviations; pass them after the activation"
        )
    if bool((gaussians.quaternions.norm(dim=-1) == 0).any()):
        raise ParameterError("write_ply: a quaternion has length zero, expected a rotation; check the model")


def _columns(gaussians: Gaussians) -> dict[str, np.ndarray]:
    """File columns by property name, in the order of the original code."""
    count, coefficients = gaussians.harmonics.shape[:2]
    opacities = gaussians.opacities.double().clamp(OPACITY_MARGIN, 1 - OPACITY_MARGIN)
    rest = gaussians.harmonics[:, 1:].mT.reshape(count, 3 * (coefficients - 1))  # channel by channel
    groups: list[tuple[tuple[str, ...], Tensor]] = [
        (POSITION, gaussians.means),
        (NORMAL, torch.zeros_like(gaussians.means)),
        (CONSTANT, gaussians.harmonics[:, 0]),
        (tuple(f"f_rest_{i}" for i in range(3 * (coefficients - 1))), rest),
        (("opacity",), opacities.logit()[:, None]),
        (SCALE, gaussians.scales.double().clamp_min(SMALLEST_SCALE).log()),
        # Some viewers do not normalise, ours does: a unit quaternion is the same rotation for both.
        (ROTATION, torch.nn.functional.normalize(gaussians.quaternions.double(), dim=-1, eps=0.0)),
    ]
    return {
        name: values[:, i].detach().cpu().float().numpy() for names, values in groups for i, name in enumerate(names)
    }


def _read_vertices(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as stream:
            head = stream.read(64).splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    # Text is refused: nobody writes splats so, and its rows could not be checked against the size of the file.
    if head[:1] != [b"ply"] or not any(line in BINARY_FORMATS for line in head):
        raise DataError(f"{path}: is not a binary ply file, expected 3D Gaussians as the original code writes them")
    try:
        ply = PlyData.read(str(path))
        return np.asarray(ply["vertex"].data)
    except KeyError as error:
        raise DataError(f"{path}: has no element 'vertex', expected one vertex for each Gaussian") from error
    except (PlyParseError, ValueError, MemoryError, OverflowError, TypeError) as error:
        raise DataError(f"{path}: damaged ply file ({error}); copy or export it again") from error


def _degree_of_properties(path: str | os.PathLike[str], layout: np.dtype) -> int:
    """Degree of the harmonics, after a check that the properties are those of the original layout and no others."""
    names = layout.names or ()
    rest = [name for name in names if name.startswith("f_rest_")]
    required = {*POSITION, *CONSTANT, "opacity", *SCALE, *ROTATION, *(f"f_rest_{i}" for i in range(len(rest)))}
    missing, unknown = sorted(required - set(names)), sorted(set(names) - required - set(NORMAL))
    odd = sorted(name for name in names if layout[name].kind != "f")
    for fault, found in (("lacks properties", missing), ("has unknown properties", unknown), ("has no floats in", odd)):
        if found:
            raise DataError(
                f"{path}: {fault} {', '.join(found[:8])}; expected the layout of 3D Gaussian splatting "
                "(x y z, f_dc_*, f_rest_*, opacity, scale_*, rot_*)"
            )
    if len(rest) not in REST_COUNTS:
        raise DataError(f"{path}: has {len(rest)} properties f_rest_*, expected one of {list(REST_COUNTS)}")
    return REST_COUNTS[len(rest)]


def _finite_column(path: str | os.PathLike[str], table: np.ndarray, name: str) -> np.ndarray:
    column = table[name].astype(np.float32)
    bad = int(np.count_nonzero(~np.isfinite(column)))
    if bad:
        raise DataError(
            f"{path}: property {name} is NaN or infinite in {bad} of {len(column)} vertices; export it again"
        )
    return column


def _stacked(
    values: dict[str, np.ndarray], names: tuple[str, ...] | list[str], count: int
) -> Float[Tensor, "gaussian _"]:
    columns = [torch.from_numpy(values[name]) for name in names]
    return torch.stack(columns, dim=-1) if columns else torch.zeros(count, 0)
