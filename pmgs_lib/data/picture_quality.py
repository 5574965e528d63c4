"""Which pictures of a capture are blurred and which are there twice, told from the pictures alone."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

LONGER_SIDE = 480  # pixels at which sharpness compares; far below it blur of a pixel or two would vanish
THUMBNAIL = 32
NEIGHBORS = 5  # frames on each side that a frame's sharpness is compared with: further ones show other things
BLURRED_BELOW = (
    0.4  # of its neighbours' median; a Gaussian of one pixel gives 0.05 to 0.08, sharp phone frames 0.5 to 1.8
)
SAME_BELOW = 1.0  # grey levels (of 255) between thumbnails; frames 6 cm apart differ by 4 and more, another JPEG by 0.2


def sharpness(image: UInt8[Tensor, "height width 3"]) -> float:
    """Variance of the Laplacian over the variance of the brightness, at 480 pixels along the longer side.

    Source of the measure: Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", 2000. The ratio makes
    it a matter of detail, not of contrast. A picture of one colour has 0.
    """
    picture = Image.fromarray(image.numpy()).convert("L")
    picture.thumbnail((LONGER_SIDE, LONGER_SIDE), Image.Resampling.BOX)
    gray = np.asarray(picture, dtype=np.float64)
    if min(gray.shape) < 3 or gray.var() == 0:
        return 0.0
    middle = gray[1:-1, 1:-1]
    laplacian = 4 * middle - gray[:-2, 1:-1] - gray[2:, 1:-1] - gray[1:-1, :-2] - gray[1:-1, 2:]
    return float(laplacian.var() / gray.var())


def thumbnail(image: UInt8[Tensor, "height width 3"]) -> Float[Tensor, " pixel"]:
    """Grey levels of the picture at 32x32."""
    small = Image.fromarray(image.numpy()).convert("L").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(small, dtype=np.float32).flatten())


def relative_sharpness(values: Sequence[float]) -> list[float]:
    """Each frame's sharpness over the median of its neighbours' in the capture; 1 where nothing compares."""
    relative = []
    for frame, value in enumerate(values):
        around = [*values[max(0, frame - NEIGHBORS) : frame], *values[frame + 1 : frame + 1 + NEIGHBORS]]
        median = float(np.median(around)) if around else 0.0
        relative.append(value / median if median > 0 else 1.0)
    return relative


def blurred_frames(values: Sequence[float]) -> list[int]:
    """Frames that are much less sharp than their neighbours."""
    return [frame for frame, value in enumerate(relative_sharpness(values)) if value < BLURRED_BELOW]


def duplicate_frames(thumbnails: Float[Tensor, "frame pixel"]) -> dict[int, int]:
    """Frames that show what an earlier frame shows, and which: frame -> the first of its like."""
    same = torch.cdist(thumbnails, thumbnails) / thumbnails.shape[1] ** 0.5 < SAME_BELOW
    first = {frame: int(same[frame].nonzero()[0]) for frame in range(len(thumbnails))}
    return {frame: like for frame, like in first.items() if like < frame}
