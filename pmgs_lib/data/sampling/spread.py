"""Context views spread evenly over a gap of bounded length: the sampler of the embedded trainings."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from pmgs_lib.data.sampling.base import Frames, Sampler
from pmgs_lib.errors import DataError, ParameterError


def spread_frames(first: int, last: int, count: int) -> tuple[int, ...]:
    """`count` different frames from `first` to `last`, both among them, as evenly spread as whole numbers allow.

    >>> spread_frames(4, 12, 4)
    (4, 7, 9, 12)
    """
    if not 2 <= count <= last - first + 1:
        raise ParameterError(
            f"spread_frames: {count} frames from {first} to {last}; expected 2 to {max(last - first + 1, 2)} of them"
        )
    return tuple(round(first + (last - first) * number / (count - 1)) for number in range(count))


@dataclass(frozen=True)
class BoundedSampler(Sampler):
    """Context views with a bounded distance between the first and the last, targets in between.

    The gap is uniform in `min_gap ... max_gap` (frames), its place uniform in the scene. With more than two context
    views the others are spread evenly. `targets` distinct frames are drawn from the span of the context, widened by
    `beyond` frames on either side; where the span is too short for that many, frames repeat. This is the bounded
    sampler of pixelSplat (Charatan et al., 2024) with the draw without replacement of DepthSplat (Xu et al., 2025), and
    no schedule; what their released code draws is `GapSampler` and `FarthestPointSampler`.
    """

    min_gap: int
    max_gap: int
    targets: int
    context_views: int = 2
    beyond: int = 0

    def __post_init__(self) -> None:
        if not (2 <= self.context_views <= self.min_gap + 1 and self.min_gap <= self.max_gap):
            raise ParameterError(
                f"BoundedSampler: {self.context_views} context views in gaps from {self.min_gap} to {self.max_gap} "
                "frames; expected at least 2 views, and min_gap between context_views - 1 and max_gap"
            )
        if self.targets < 1 or self.beyond < 0:
            raise ParameterError(
                f"BoundedSampler: targets {self.targets}, beyond {self.beyond}; expected at least 1 and at least 0"
            )

    def sample(
        self,
        frames: int,
        generator: np.random.Generator,
        where: str = "scene",
        *,
        step: int = 0,
        centers: Float[Tensor, "frame 3"] | None = None,
        key: str | None = None,
    ) -> tuple[Frames, Frames]:
        """Context and target frames, both ascending. Raises DataError naming `where` for a scene that is too short."""
        longest = min(self.max_gap, frames - 1)
        if longest < self.min_gap:
            raise DataError(f"{where}: {frames} frames are too few for a context gap of {self.min_gap}; lower min_gap")
        gap = int(generator.integers(self.min_gap, longest + 1))
        first = int(generator.integers(0, frames - gap))
        context = spread_frames(first, first + gap, self.context_views)
        window = np.arange(max(0, first - self.beyond), min(frames, first + gap + self.beyond + 1))
        drawn = generator.choice(window, self.targets, replace=len(window) < self.targets)
        return context, tuple(sorted(int(frame) for frame in drawn))
