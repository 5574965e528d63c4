"""What every estimator of poses takes and gives, and the options of choosing photographs."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from jaxtyping import Float64
from pydantic import Field
from torch import Tensor

from pmgs_lib.data.config import Config
from pmgs_lib.data.importers.base import DepthHint
from pmgs_lib.data.lenses import Photograph


class PhotoOptions(Config):
    """Which photographs of a folder, or frames of a video, are used.

    longer_side: larger pictures are reduced to so many pixels. video_frames: taken from a video, the sharpest of each
    of so many equal stretches. leave_out_blurred: pictures far less sharp than their neighbours; leave_out_duplicates:
    pictures that show what an earlier one shows.
    """

    longer_side: Annotated[int, Field(ge=64)] = 1600
    video_frames: Annotated[int, Field(ge=3, le=1000)] = 60
    leave_out_blurred: bool = True
    leave_out_duplicates: bool = True


@dataclass(frozen=True)
class PhotoSet:
    """Photographs ready for an estimator: upright pictures of one size, in order, as files of `folder`.

    `listed == len(names) + len(left_out)`. ordered: neighbours in the list are neighbours in time, as in a video.
    """

    folder: Path
    names: tuple[str, ...]
    listed: int
    left_out: Mapping[str, str]
    height: int
    width: int
    ordered: bool


@dataclass(frozen=True)
class PosedPhoto:
    """Pose with OpenCV axes in units of the estimator's choice, and the lens."""

    world_from_camera: Float64[Tensor, "4 4"]
    photograph: Photograph


@dataclass(frozen=True)
class PoseEstimate:
    """Cameras by name of the photograph; the reason for each photograph without one; the depth range it shows.

    notes: facts for the manifest, plain JSON values.
    """

    photos: Mapping[str, PosedPhoto]
    left_out: Mapping[str, str]
    depth_hint: DepthHint | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)


class PoseEstimator(ABC):
    """Finds the cameras of photographs of one scene. The same photographs give the same answer.

    Raises DataError where it finds none at all; a photograph that it cannot place is left out with its reason.
    """

    @abstractmethod
    def __call__(self, photos: PhotoSet, working: Path) -> PoseEstimate:
        """The cameras of `photos`; `working` is an empty folder for whatever it needs on the way."""

    @property
    @abstractmethod
    def identity(self) -> Mapping[str, str | int | float | bool | None]:
        """What the answer depends on beside the photographs: kind, settings, digest of weights."""
