"""Frames that were fixed before anything was trained."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from pmgs_lib.data.sampling.base import Frames, Sampler
from pmgs_lib.errors import DataError


@dataclass(frozen=True)
class EvaluationSampler(Sampler):
    """Context and target frames looked up by the key of the scene, e.g. from `Protocol.sampler()`."""

    views: Mapping[str, tuple[Frames, Frames]]

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
        """Context and target frames of scene `key`."""
        if key not in self.views:
            raise DataError(f"{where}: the protocol gives no frames for key {key!r}; leave the scene out")
        context, target = self.views[key]
        if max((*context, *target)) >= frames:
            raise DataError(
                f"{where}: has {frames} frames, the protocol asks for frame {max((*context, *target))}; import it whole"
            )
        return context, target
