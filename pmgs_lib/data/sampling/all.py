"""Every frame of a scene."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from pmgs_lib.data.sampling.base import Frames, Sampler
from pmgs_lib.errors import DataError


@dataclass(frozen=True)
class AllSampler(Sampler):
    """All frames as context and all as targets: "all" of pixelSplat, for looking at data."""

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
        """Context and target frames, the same ones."""
        if frames < 1:
            raise DataError(f"{where}: has no frames; leave it out")
        return tuple(range(frames)), tuple(range(frames))
