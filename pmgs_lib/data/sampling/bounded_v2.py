"""The sampler that DepthSplat and PM-Loss train DL3DV with."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from pmgs_lib.data.sampling.base import Frames, Sampler, draw_generator
from pmgs_lib.data.sampling.bounded import place_gap, target_window
from pmgs_lib.data.sampling.schedule import GapRange
from pmgs_lib.errors import DataError, ParameterError


@dataclass(frozen=True)
class FarthestPointSampler(Sampler):
    """Context frames far apart in space within a span of frames: "boundedv2" of DepthSplat (Xu et al., 2025).

    views: smallest and largest number of context views. The number is uniform in between and follows from `seed` and
    the step, so that the examples of one batch agree (the released code draws one for each and collates batches of one
    only). With n views both ends of the gap range are divided by max(most // n, 1), where `views` leaves a choice.
    Two views are the ends of the span. More are `farthest_points` of it, so its ends need not be among them.
    targets: without replacement from the span widened by `beyond`; fewer where it is too short.
    ascending: sort context and targets, as the released DL3DV dataset does; else the context is in `released_order` and
    the targets as drawn. whole: the released test stage, see `GapSampler`; it has the largest number of views.
    """

    gap: GapRange
    views: tuple[int, int] = (2, 6)
    targets: int = 8
    beyond: int = 0
    ascending: bool = True
    whole: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        fewest, most = self.views
        counts = range(max(fewest, 2), most + 1)
        fit = all(count - 1 <= self._gap_for(count, 0)[0] for count in counts)
        if fewest < 2 or not counts or not fit or self.targets < 1 or self.beyond < 0:
            raise ParameterError(
                f"FarthestPointSampler: {self.views} views in gaps from {self.gap.first[0]}, {self.targets} targets, "
                f"{self.beyond} beyond; expected 2 or more views that fit into the smallest gap, 1 target and 0 beyond"
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
        """Context and target frames. `centers` is needed for more than two views."""
        count = self.views_at(step)
        first, last = place_gap(frames, generator, self._gap_for(count, step), self.whole, where)
        window = target_window(first, last, self.beyond, frames)
        if self.whole:
            target = tuple(window)
        else:
            drawn = generator.permutation(len(window))[: self.targets]
            target = tuple(int(frame) + window.start for frame in drawn)
        context = (first, last) if count == 2 else _spaced(first, last, count, centers, where)
        return (tuple(sorted(context)), tuple(sorted(target))) if self.ascending else (context, target)

    def views_at(self, step: int) -> int:
        """The number of context views at a step."""
        fewest, most = self.views
        if self.whole or fewest == most:
            return most
        return int(draw_generator(self.seed, step, 0).integers(fewest, most + 1))

    def _gap_for(self, count: int, step: int) -> tuple[int, int]:
        fewest, most = self.views
        divisor = 1 if fewest == most or self.whole else max(most // count, 1)
        low, high = self.gap.at(step)
        return low // divisor, high // divisor


def _spaced(first: int, last: int, count: int, centers: Float[Tensor, "frame 3"] | None, where: str) -> Frames:
    if centers is None or not bool(centers[first : last + 1].isfinite().all()) or len(centers) <= last:
        raise DataError(
            f"{where}: {count} context views are chosen by camera centres, and those of frames {first} to {last} are "
            "absent or not finite; inspect the scene's poses"
        )
    return released_order(tuple(first + place for place in farthest_points(centers[first : last + 1], count)))


def farthest_points(points: Float[Tensor, "point 3"], count: int) -> Frames:
    """Indices of `count` different points, each the farthest from those before it, in the order they are found.

    The first is the farthest from the mean of all. Of equally far ones the first is taken. Points that coincide with
    a chosen one come last, where the released code would choose that one again.

    >>> import torch
    >>> farthest_points(torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [6, 0, 0]]), 3)
    (3, 0, 2)
    """
    if not 1 <= count <= len(points):
        raise ParameterError(f"farthest_points: {count} of {len(points)} points; expected 1 to {len(points)}")
    places = points.detach().cpu().numpy()
    chosen = [int(np.argmax(_squared(places - places.mean(0))))]
    distance = np.full(len(places), np.inf, dtype=places.dtype)
    while len(chosen) < count:
        distance = np.minimum(distance, _squared(places - places[chosen[-1]]))
        distance[chosen] = -1  # never again, even if every other point coincides with a chosen one
        chosen.append(int(np.argmax(distance)))
    return tuple(chosen)


def _squared(offsets: np.ndarray) -> np.ndarray:
    return (offsets**2).sum(-1)


def released_order(frames: Frames) -> Frames:
    """The order in which the released sampler returns farthest points: first found, the middle sorted, last found.

    >>> released_order((0, 47, 16, 59, 27, 8))
    (0, 16, 27, 47, 59, 8)
    """
    return (frames[0], *sorted(frames[1:-1]), frames[-1])
