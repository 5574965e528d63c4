"""Depth maps as files of numbers: `.npy` and `.exr` hold them exactly, a 16-bit `.png` in steps of a stated size.

Depth is z along the optical axis, in world units; a pixel without depth holds 0, NaN or infinity.

    .npy   float32, as it is
    .exr   float32 channel Z, losslessly compressed, as it is
    .png   16 bits: depth times `steps_per_unit`, rounded; 0 where there is no depth. With metres as world units the
           default of 1000 steps gives millimetres, up to 65.5 m. What lies beyond is clipped, counted and said.
"""

import logging
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from PIL import Image, PngImagePlugin
from torch import Tensor

from pmgs_lib.data.files import replaced_atomically
from pmgs_lib.errors import BackendError, DataError, ExportError, ParameterError, first_line

MILLIMETRES = 1000.0  # steps a world unit of one metre
LARGEST_STEP = 65_535  # of 16 bits
SCALE_KEY = "depth steps per unit"  # of the text chunk that states the size of a step
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DepthFile:
    """What a file of depth holds: steps a world unit (None where it holds the numbers), and how many pixels differ.

    too_far, too_near: pixels beyond the largest step and below the first one; they hold that step. without: pixels
    without depth.
    """

    steps_per_unit: float | None
    too_far: int
    too_near: int
    without: int

    @property
    def clipped(self) -> int:
        return self.too_far + self.too_near


def write_depth(
    path: str | os.PathLike[str], depth: Float[Tensor, "h w"], *, steps_per_unit: int | float = MILLIMETRES
) -> DepthFile:
    """Write a z-depth map as the suffix says, `.npy`, `.exr` or `.png` (16 bits); says what was clipped, and logs it.

    steps_per_unit: of a `.png` only. Raises `ParameterError` for another suffix, a scale that is none and negative
    depth in a `.png`, `BackendError` where the package OpenEXR is missing, `ExportError` for a file that came out
    wrong.
    """
    suffix = Path(path).suffix.lower()
    values = depth.detach().cpu().float().numpy()
    if suffix not in _FORMATS:
        raise ParameterError(f"{path}: no depth is written as {suffix!r}, expected one of {', '.join(_FORMATS)}")
    if not (0 < steps_per_unit < math.inf):
        raise ParameterError(f"{path}: {steps_per_unit} steps a unit, expected a positive number")
    without = int(np.count_nonzero(~(np.isfinite(values) & (values > 0))))
    write, _ = _FORMATS[suffix]
    if suffix != ".png":
        write(path, values)
        return DepthFile(None, 0, 0, without)
    if bool((values < 0).any()):
        raise ParameterError(
            f"{path}: depth is negative, expected z along the optical axis; check its source, or write .npy"
        )
    steps, made = _steps(values, float(steps_per_unit), without)
    write(path, steps, float(steps_per_unit))
    if made.clipped:
        log.warning(
            "%s: %d of %d pixels lie beyond %.4g units and %d nearer than one step, %.4g: clipped; change the scale",
            path, made.too_far, values.size, LARGEST_STEP / steps_per_unit, made.too_near, 1 / steps_per_unit,
        )  # fmt: skip
    return made


def read_depth(path: str | os.PathLike[str]) -> Float32[Tensor, "h w"]:
    """A z-depth map that `write_depth` wrote, float32 in world units; 0 where a `.png` has no depth.

    Raises `DataError`, whatever the bytes, for what is no such file, `ParameterError` for another suffix.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _FORMATS:
        raise ParameterError(f"{path}: no depth is read from {suffix!r}, expected one of {', '.join(_FORMATS)}")
    try:
        with Path(path).open("rb"):
            pass
        values = _FORMATS[suffix][1](path)
    except OSError as fault:
        raise DataError(f"{path}: cannot be read ({fault.strerror or first_line(fault)}); check the file") from fault
    except (ValueError, EOFError, SyntaxError, RuntimeError, KeyError, TypeError, MemoryError) as fault:
        raise DataError(f"{path}: is no depth map ({first_line(fault)}); export it again") from fault
    if values.ndim != 2 or values.dtype != np.float32:
        raise DataError(f"{path}: holds {values.dtype} of shape {values.shape}, expected one float32 map of depth")
    return torch.from_numpy(np.array(values))


def _steps(values: np.ndarray, steps_per_unit: float, without: int) -> tuple[np.ndarray, DepthFile]:
    seen = np.isfinite(values) & (values > 0)
    exact = np.rint(np.where(seen, values, 0).astype(np.float64) * steps_per_unit)
    too_far, too_near = exact > LARGEST_STEP, seen & (exact < 1)
    steps = np.where(seen, exact.clip(1, LARGEST_STEP), 0).astype(np.uint16)
    return steps, DepthFile(steps_per_unit, int(too_far.sum()), int(too_near.sum()), without)


def _write_npy(path: str | os.PathLike[str], values: np.ndarray) -> None:
    with replaced_atomically(path) as sibling, sibling.open("wb") as stream:
        np.save(stream, values, allow_pickle=False)


def _read_npy(path: str | os.PathLike[str]) -> np.ndarray:
    return np.load(path, allow_pickle=False)


def _write_png(path: str | os.PathLike[str], steps: np.ndarray, steps_per_unit: float) -> None:
    facts = PngImagePlugin.PngInfo()
    facts.add_text(SCALE_KEY, repr(steps_per_unit))
    with replaced_atomically(path) as sibling:
        Image.fromarray(steps).save(sibling, format="PNG", pnginfo=facts)


def _read_png(path: str | os.PathLike[str]) -> np.ndarray:
    with Image.open(path, formats=["PNG"]) as picture:
        if picture.mode != "I;16":
            raise ValueError(f"a picture of mode {picture.mode}, not of 16 bits")
        steps, stated = np.asarray(picture), picture.text.get(SCALE_KEY)
    if stated is None:
        raise ValueError("it does not state the size of its steps")
    if not 0 < float(stated) < math.inf:
        raise ValueError(f"it states {stated[:40]} steps a unit")
    return (steps / float(stated)).astype(np.float32)


def _write_exr(path: str | os.PathLike[str], values: np.ndarray) -> None:
    openexr = _openexr()
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    with replaced_atomically(path) as sibling:
        try:
            with openexr.File(header, {"Z": np.ascontiguousarray(values)}) as file:
                file.write(str(sibling))
            same = np.array_equal(_read_exr(sibling), values, equal_nan=True)
        except (RuntimeError, OSError, ValueError, KeyError) as fault:
            raise ExportError(
                f"{path}: OpenEXR wrote no whole file ({first_line(fault)}); check disk and folder"
            ) from fault
        if not same:  # it does not notice a full disk
            raise ExportError(f"{path}: OpenEXR wrote other numbers than it was given; check disk and folder")


def _read_exr(path: str | os.PathLike[str]) -> np.ndarray:
    with _openexr().File(str(path)) as file:
        channels = file.channels()
        if "Z" not in channels:
            raise ValueError(f"channels {', '.join(channels)}, none of them Z")
        return np.array(channels["Z"].pixels)


def _openexr() -> Any:
    try:
        import OpenEXR
    except ImportError as fault:
        raise BackendError(
            f"depth as .exr: the package OpenEXR cannot be imported ({first_line(fault)}); install it, or write .npy"
        ) from fault
    return OpenEXR


_FORMATS: dict[str, tuple[Callable[..., None], Callable[..., np.ndarray]]] = {
    ".npy": (_write_npy, _read_npy),
    ".exr": (_write_exr, _read_exr),
    ".png": (_write_png, _read_png),
}
