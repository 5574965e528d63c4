"""What every importer gives: the frames of a capture in the library's convention, and what it had to leave out."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxtyping import Float64
from torch import Tensor

from pmgs_lib.data.lenses import Photograph


@dataclass(frozen=True)
class CaptureFrame:
    """One photograph of a capture: `name` as the capture lists it, pose with OpenCV axes in the capture's units."""

    name: str
    path: Path
    world_from_camera: Float64[Tensor, "4 4"]
    photograph: Photograph


@dataclass(frozen=True)
class Capture:
    """A capture as read: frames in order, the reason for each listed frame that is left out, and the files it names.

    `listed == len(frames) + len(left_out)` always holds. `notes` are further facts for the manifest.
    """

    kind: str
    source: Path  # the file that describes the capture
    listed: int
    frames: list[CaptureFrame]
    left_out: dict[str, str] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)


class Importer(ABC):
    """Reads one capture format. Raises DataError for a capture that is malformed rather than incomplete."""

    @abstractmethod
    def detect(self, source: Path) -> bool:
        """Whether `source` (a file or folder) looks like this format; looks at names only."""

    @abstractmethod
    def read(self, source: Path) -> Capture:
        """The capture at `source`, validated, without decoding its pictures."""
