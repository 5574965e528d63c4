"""Frames anywhere in a scene."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from pmgs_lib.data.sampling.base import Frames, Sampler
from pmgs_lib.errors import DataError, ParameterError


@dataclass(frozen=True)
class ArbitrarySampler(Sampler):
    """Context and target frames drawn one by one from the whole scene: "arbitrary" of pixelSplat.

    fixed_context, fixed_targets: these frames instead of a draw. distinct: no context frame twice, and no target twice
    where the scene is long enough; the released code (False) lets them repeat, which gives models of two views a pair
    without parallax now and then. Frames keep the order of the draw.
    """

    context_views: int = 2
    targets: int = 4
    fixed_context: Frames | None = None
    fixed_targets: Frames | None = None
    distinct: bool = True

    def __post_init__(self) -> None:
        if self.context_views < 1 or self.targets < 1:
            raise ParameterError(
                f"ArbitrarySampler: {self.context_views} context views, {self.targets} targets; expected at least 1"
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
        """Context and target frames."""
        asked = max((*(self.fixed_context or ()), *(self.fixed_targets or ()), 0))
        if asked >= frames or (self.distinct and self.fixed_context is None and self.context_views > frames):
            raise DataError(
                f"{where}: {frames} frames cannot give {self.context_views} context views, or lack frame {asked}; ask "
                "for fewer, or leave the scene out"
            )
        # Both are drawn always, so that fixing one of them does not change the other.
        context = self._drawn(frames, generator, self.context_views)
        target = self._drawn(frames, generator, self.targets)
        return self.fixed_context or context, self.fixed_targets or target

    def _drawn(self, frames: int, generator: np.random.Generator, count: int) -> Frames:
        replace = not self.distinct or count > frames
        return tuple(int(frame) for frame in generator.choice(frames, count, replace=replace))
