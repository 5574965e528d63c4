"""Splats as `.splat`, the layout of the antimatter15 viewer: small, and not all of a scene.

32 bytes a Gaussian, little-endian, no header: position (3 float32), scale (3 float32, standard deviations), red green
blue opacity (4 bytes), quaternion wxyz (4 bytes, 128 is zero). Lost are the view-dependent colour (all harmonics above
degree 0), colours outside [0, 1], and all but 8 bits of colour, opacity and rotation.
"""

import os
from pathlib import Path

import numpy as np
import torch

from pmgs_lib.data.files import replaced_atomically
from pmgs_lib.errors import DataError
from pmgs_lib.export.splat_values import numpy_of, require_writable, unit_quaternions
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.geometry.harmonics import CONSTANT_HARMONIC

RECORD = np.dtype([("position", "<f4", 3), ("scale", "<f4", 3), ("color", "u1", 4), ("rotation", "u1", 4)])
LOST = ("harmonics above degree 0", "colours outside [0, 1]", "all but 8 bits of colour, opacity and rotation")


def write_splat(path: str | os.PathLike[str], gaussians: Gaussians) -> None:
    """Write the Gaussians of one scene, in their order. Raises `ParameterError` as `write_ply` does."""
    require_writable("write_splat", gaussians)
    rotation = unit_quaternions(numpy_of(gaussians.quaternions))
    # A byte reaches from -1 to 127/128. Of the two signs of a rotation take that whose largest number is negative.
    largest = np.take_along_axis(rotation, np.abs(rotation).argmax(axis=1)[:, None], axis=1)
    color = 0.5 + CONSTANT_HARMONIC * gaussians.harmonics[:, 0]
    shade = torch.cat([color, gaussians.opacities[:, None]], dim=1).clamp(0, 1)
    table = np.empty(gaussians.count, RECORD)
    table["position"], table["scale"] = numpy_of(gaussians.means), numpy_of(gaussians.scales)
    table["color"] = np.rint(255 * numpy_of(shade))
    table["rotation"] = np.rint(128 - 128 * np.sign(largest) * rotation).clip(0, 255)
    with replaced_atomically(path) as sibling:
        sibling.write_bytes(table.tobytes())


def read_splat(path: str | os.PathLike[str]) -> Gaussians:
    """Gaussians of one scene (float32, degree 0) from a `.splat`.

    Raises `DataError` for a file of another length, for positions and scales that are not finite, negative scales and
    quaternions of length zero. Flipped bits of a colour cannot be noticed: the format has no checks.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if len(content) % RECORD.itemsize:
        raise DataError(f"{path}: has {len(content)} bytes, expected 32 a Gaussian; it is cut short or no .splat file")
    table = np.frombuffer(content, RECORD)
    position, scale = (torch.from_numpy(table[name].astype(np.float32)) for name in ("position", "scale"))
    color, rotation = (torch.from_numpy(table[name].astype(np.float32)) for name in ("color", "rotation"))
    if not bool(position.isfinite().all() and scale.isfinite().all() and (scale >= 0).all()):
        raise DataError(f"{path}: holds positions or scales that are no lengths; it is damaged or no .splat file")
    quaternions = (rotation - 128) / 128
    if not bool(quaternions.any(dim=1).all()):
        raise DataError(f"{path}: holds a quaternion of length zero, expected a rotation; export the scene again")
    harmonics = (color[:, None, :3] / 255 - 0.5) / CONSTANT_HARMONIC
    return Gaussians(position, scale, quaternions, color[:, 3] / 255, harmonics)
