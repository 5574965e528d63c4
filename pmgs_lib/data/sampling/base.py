"""What every sampler is: a rule from a scene's frames and a generator to context and target frames."""

from abc import ABC, abstractmethod

import numpy as np
from jaxtyping import Float
from torch import Tensor

Frames = tuple[int, ...]


def draw_generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """A generator that depends on these three numbers only: not on workers, threads, or what was drawn before."""
    return np.random.default_rng([seed, epoch, index])


class Sampler(ABC):
    """A rule that chooses frames. It keeps no state, so that training resumes at any example."""

    @abstractmethod
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
        """Context and target frames of a scene with `frames` frames, numbered from 0.

        step: of the training, for what changes while it goes on. centers: camera centres in the world, for samplers
        that look at them. key: the scene's, for samplers that look it up. Raises DataError naming `where` for a scene
        that cannot serve, e.g. one that is too short.
        """
