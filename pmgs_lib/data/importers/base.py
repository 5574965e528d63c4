"""What every importer gives: the frames of a capture in the library's convention, and what it had to leave out."""

import posixpath
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from pmgs_lib.cameras import Cameras
from pmgs_lib.data.lenses import FisheyeLens, Lens, Photograph
from pmgs_lib.errors import DataError

LONGEST_NAME, LONGEST_PATH = 250, 2000  # bytes: what file systems hold, with room for a suffix and for the folder


@dataclass(frozen=True)
class CaptureFrame:
    """One photograph of a capture: `name` as the capture lists it, pose with OpenCV axes in the capture's units.

    timestamp: what the capture calls this frame's time or number; None: its place in the order.
    """

    name: str
    path: Path
    world_from_camera: Float64[Tensor, "4 4"]
    photograph: Photograph
    timestamp: int | None = None


class DepthHint(NamedTuple):
    """z-depth range in the capture's units, and how it was found, in words."""

    near: float
    far: float
    reason: str


@dataclass(frozen=True)
class Capture:
    """A capture as read: frames in order, the reason for each listed frame that is left out, and the files it names.

    `listed == len(frames) + len(left_out)` always holds. `source` and `further_sources` describe the capture. `notes`
    are further facts for the manifest. `depth_hint` is what the capture itself knows of its depth. `url` goes into the
    chunk; empty: kind and key.
    """

    kind: str
    source: Path
    listed: int
    frames: list[CaptureFrame]
    left_out: dict[str, str] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    further_sources: tuple[Path, ...] = ()
    depth_hint: DepthHint | None = None
    url: str = ""
    keeps: Any = None  # what must live as long as the capture, such as a temporary folder with its pictures


class Importer(ABC):
    """Reads one capture format. Raises DataError for a capture that is malformed rather than incomplete."""

    @abstractmethod
    def detect(self, source: Path) -> bool:
        """Whether `source` (a file or folder) looks like this format; looks at names only."""

    @abstractmethod
    def read(self, source: Path, pictures: Path | None = None) -> Capture:
        """The capture at `source`, validated, without decoding its pictures.

        pictures: the folder that names of pictures are relative to; None: where the format puts it.
        """

    def folder(self, source: Path) -> Path:
        """The folder that the scene is called after."""
        return source if source.is_dir() else source.parent


def check_sizes(frames: list[CaptureFrame], where: str) -> None:
    """DataError unless all pictures have one size."""
    sizes = {(frame.photograph.height, frame.photograph.width): frame.name for frame in frames}
    if len(sizes) > 1:
        told = ", ".join(f"{name} {height}x{width}" for (height, width), name in sorted(sizes.items()))
        raise DataError(f"{where}: pictures of different sizes ({told}); import each size as a capture of its own")


def inside(folder: Path, name: str, where: str) -> Path:
    """`folder / name`, or DataError when that name leads out of the folder: a description may come from anywhere."""
    plain = posixpath.normpath(name.replace("\\", "/"))
    outside = posixpath.isabs(plain) or plain in (".", "..") or plain.startswith("../") or ":" in plain[:2]
    lengths = [len(part.encode("utf-8", "surrogatepass")) for part in plain.split("/")]
    if outside or not name or "\0" in name or max(lengths) > LONGEST_NAME or sum(lengths) + len(lengths) > LONGEST_PATH:
        shown = name if len(name) < 100 else f"{name[:100]}..."
        raise DataError(
            f"{where}: the picture {shown!r} lies outside {folder}, or no file can have that name; put it below that "
            "folder and name it from there"
        )
    return folder / plain


def scaled_photograph(
    listed: tuple[float, float],
    actual: tuple[int, int],
    intrinsics: tuple[float, float, float, float],
    lens: Lens | FisheyeLens,
    where: str,
) -> Photograph:
    """A picture of `actual` size (height, width) whose fx, fy, cx, cy are given for the `listed` size, of one shape.

    Raises DataError when the shapes differ by more than rounding to whole pixels explains.
    """
    if min(listed) <= 0:
        raise DataError(f"{where}: listed as {listed[0]:g}x{listed[1]:g} (height x width), expected pixels; correct it")
    rows, columns = actual[0] / listed[0], actual[1] / listed[1]
    if abs(rows - columns) * max(listed) > 1.5:
        raise DataError(
            f"{where}: the picture is {actual[0]}x{actual[1]} (height x width), its camera has another shape, "
            f"{listed[0]:g}x{listed[1]:g}; give the pictures that the camera describes, or smaller ones made from them"
        )
    fx, fy, cx, cy = intrinsics
    return Photograph(*actual, fx * columns, fy * rows, cx * columns, cy * rows, lens)


def check_camera(world_from_camera: Float64[Tensor, "4 4"], photograph: Photograph, where: str) -> None:
    """DataError unless the pose is rigid, the focal lengths are positive and the picture holds the principal point."""
    fx, fy, cx, cy = photograph.fx, photograph.fy, photograph.cx, photograph.cy
    height, width = photograph.height, photograph.width
    intrinsics = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)
    Cameras.from_pixels(world_from_camera, intrinsics, height, width).validate(where)
    if not (0 < cx < width and 0 < cy < height):
        raise DataError(f"{where}: the principal point ({cx:g}, {cy:g}) lies outside the picture; check cx, cy, w, h")
