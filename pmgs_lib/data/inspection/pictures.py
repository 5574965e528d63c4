"""Blurred and duplicate frames, as findings."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pmgs_lib.data.inspection.base import Finding, named_frames
from pmgs_lib.data.picture_quality import blurred_frames, duplicate_frames, sharpness, thumbnail


def check_pictures(images: Sequence[UInt8[Tensor, "height width 3"]]) -> list[Finding]:
    """Blurred and duplicate frames of pictures in the order of the capture."""
    return quality_findings([sharpness(image) for image in images], torch.stack([thumbnail(i) for i in images]))


def quality_findings(sharp: Sequence[float], thumbnails: Float[Tensor, "frame pixel"]) -> list[Finding]:
    """The same from `sharpness` and `thumbnail` of each frame."""
    found = []
    blurred, twice = blurred_frames(sharp), duplicate_frames(thumbnails)
    if blurred:
        text = f"blurred, far less detail than in the frames beside {'it' if len(blurred) == 1 else 'them'}: leave out"
        found.append(Finding("blurred", f"{named_frames(blurred)} {text}", tuple(blurred)))
    if twice:
        told = ", ".join(f"{frame} shows what {first} shows" for frame, first in list(twice.items())[:6])
        found.append(Finding("duplicate", f"frame {told}: leave out", tuple(twice)))
    return found
