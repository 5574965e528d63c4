"""A file of splats is certified when it was read back, drawn with the same cameras, and shows the same pictures.

Two formats that viewers know are not written. `.spz`: no library was found that has wheels for every Python from 3.11
to 3.13. The compressed ply of SuperSplat: gsplat writes it, nothing here reads it back, so it could not be certified;
SuperSplat makes it from our ply.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from pmgs_lib.cameras import Cameras
from pmgs_lib.errors import ExportError, ParameterError
from pmgs_lib.evaluation.metrics import psnr
from pmgs_lib.export import ply, splat
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.rasterizers import rasterize


class SplatFormat(NamedTuple):
    """A kind of file: its two ways, the least PSNR against what it can hold, and what it cannot hold."""

    write: Callable[[str | os.PathLike[str], Gaussians], None]
    read: Callable[[str | os.PathLike[str]], Gaussians]
    least_db: float
    degree: int | None  # highest of its harmonics; None keeps all
    lost: tuple[str, ...]


FORMATS = {
    ".ply": SplatFormat(ply.write_ply, ply.read_ply, 60.0, None, ()),
    # Rounding to 8 bits left 51 to 66 dB in scenes of round and of long Gaussians, a wrong rotation at most 33.
    ".splat": SplatFormat(splat.write_splat, splat.read_splat, 40.0, 0, splat.LOST),
}


@dataclass(frozen=True)
class Certificate:
    """What a file shows beside the Gaussians that it was written from, over all cameras.

    psnr_db: lowest over the cameras, infinite where nothing differs. kept_db: the same against the Gaussians without
    the harmonics that the format has no place for; the format's least is demanded of it. largest_difference: of one
    colour value, clipped to [0, 1]. coverage: share of the pixels that show anything; at 0 a certificate says nothing.
    """

    psnr_db: float
    kept_db: float
    largest_difference: float
    coverage: float
    lost: tuple[str, ...]

    def __str__(self) -> str:
        same = "the same to the last bit" if math.isinf(self.psnr_db) else f"{self.psnr_db:.1f} dB"
        lost = f"; lost: {', '.join(self.lost)}" if self.lost else ""
        return f"read back and drawn: {same}, largest difference {self.largest_difference:.1e}{lost}"


def write_splats(
    path: str | os.PathLike[str],
    gaussians: Gaussians,
    *,
    certify_with: Cameras | None = None,
    height: int = 256,
    width: int = 256,
) -> Certificate | None:
    """Write the Gaussians of one scene in the format that the suffix names (.ply or .splat).

    certify_with: cameras (frame) of which pictures of `height` x `width` prove the file; without them nothing is
    proven and None is returned. Raises `ParameterError` for another suffix and unusable values, `ExportError` for a
    file that shows something else.
    """
    splat_format(path).write(path, gaussians)
    return None if certify_with is None else certify(path, gaussians, certify_with, height, width)


def certify(
    path: str | os.PathLike[str],
    gaussians: Gaussians,
    cameras: Cameras,
    height: int,
    width: int,
    *,
    near_plane: float = 0.01,
    backend: str = "auto",
) -> Certificate:
    """Read `path` back and compare its pictures at cameras (frame) with those of the Gaussians it was written from.

    Pictures are drawn with all harmonics, on black, one at a time. Raises `DataError` where the file cannot be read,
    `ExportError` where it shows something else than its format can hold, `ParameterError` without cameras.
    """
    kind = splat_format(path)
    if len(cameras.batch_shape) != 1 or not len(cameras.world_from_camera):
        raise ParameterError(
            f"certify {path}: cameras of shape {tuple(cameras.batch_shape)}, expected (frame,); add one"
        )
    read = kind.read(path).to(gaussians.means)
    kept = gaussians if kind.degree is None else _without_harmonics(gaussians, kind.degree)
    figures = []
    for camera in range(len(cameras.world_from_camera)):
        with torch.no_grad():
            drawn = [
                rasterize(each, cameras[camera], height, width, near_plane=near_plane, backend=backend)
                for each in (read, gaussians, kept)
            ]
        found, whole, held = (rendering.color.clamp(0, 1) for rendering in drawn)
        values = (
            psnr(found, whole),
            psnr(found, held),
            (found - whole).abs().max(),
            (drawn[1].alpha > 0).float().mean(),
        )
        figures.append([value.item() for value in values])
    total, part, difference, coverage = zip(*figures, strict=True)
    made = Certificate(min(total), min(part), max(difference), sum(coverage) / len(coverage), kind.lost)
    if not made.kept_db >= kind.least_db:
        raise ExportError(
            f"{path}: shows other pictures than what was written ({made.kept_db:.1f} dB, expected at least "
            f"{kind.least_db:.0f}); do not use the file, and report it with the scene"
        )
    return made


def splat_format(path: str | os.PathLike[str]) -> SplatFormat:
    """The format that the suffix of `path` names; `ParameterError` for another one."""
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise ParameterError(f"{path}: no file of splats ends in {suffix!r}, expected one of {', '.join(FORMATS)}")
    return FORMATS[suffix]


def _without_harmonics(gaussians: Gaussians, degree: int) -> Gaussians:
    return Gaussians(**(vars(gaussians) | {"harmonics": gaussians.harmonics[:, : (degree + 1) ** 2]}))
