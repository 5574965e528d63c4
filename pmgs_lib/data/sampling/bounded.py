"""The sampler that pixelSplat, MVSplat and DepthSplat train RealEstate10K and ACID with."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from pmgs_lib.data.sampling.base import Frames, Sampler
from pmgs_lib.data.sampling.schedule import GapRange
from pmgs_lib.errors import DataError, ParameterError


@dataclass(frozen=True)
class GapSampler(Sampler):
    """Two context frames a gap apart, targets anywhere between them: "bounded" of pixelSplat (Charatan et al., 2024).

    gap: uniform in the range of the step; the largest is cut to the scene, the smallest is not. The pair lies anywhere.
    targets: drawn one by one from the span widened by `beyond` frames, so they repeat and may be context frames, as in
    the released code; they keep the order of the draw. whole: the released test stage, the pair at frame 0 with the
    largest gap, and every frame of the span as a target.
    """

    gap: GapRange
    targets: int = 4
    beyond: int = 0
    whole: bool = False

    def __post_init__(self) -> None:
        if self.gap.first[0] < 1 or self.targets < 1 or self.beyond < 0:
            raise ParameterError(
                f"GapSampler: smallest gap {self.gap.first[0]}, {self.targets} targets, {self.beyond} beyond; expected "
                "at least 1, 1 and 0"
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
        """Context (ascending) and target frames (as drawn)."""
        first, last = place_gap(frames, generator, self.gap.at(step), self.whole, where)
        window = target_window(first, last, self.beyond, frames)
        if self.whole:
            return (first, last), tuple(window)
        drawn = generator.integers(window.start, window.stop, self.targets)
        return (first, last), tuple(int(frame) for frame in drawn)


def place_gap(
    frames: int, generator: np.random.Generator, gap_range: tuple[int, int], whole: bool, where: str
) -> tuple[int, int]:
    """First and last frame of a span of random length and place; at frame 0 and of the greatest length if `whole`."""
    smallest, largest = (gap_range[1], gap_range[1]) if whole else gap_range
    longest = min(largest, frames - 1)
    if longest < smallest:
        raise DataError(
            f"{where}: {frames} frames are too few for a context gap of {smallest}; lower the smallest gap, or leave "
            "the scene out"
        )
    gap = int(generator.integers(smallest, longest + 1))
    first = 0 if whole else int(generator.integers(0, frames - gap))
    return first, first + gap


def target_window(first: int, last: int, beyond: int, frames: int) -> range:
    """The frames that targets are drawn from."""
    return range(max(0, first - beyond), min(frames, last + beyond + 1))
