"""Ranges of frame distances that grow while a training goes on."""

from dataclasses import dataclass

from pmgs_lib.errors import ParameterError


@dataclass(frozen=True)
class GapRange:
    """The smallest and the largest gap at the first step and, from step `steps` on, at the last; linear in between.

    Whole frames are cut off, not rounded, as in pixelSplat's `schedule`. `steps` 0: the last range from the start.
    Ranges only widen upwards: the released code jumps to the end at once where one would shrink, so that is refused.

    >>> GapRange((25, 45), (45, 135), 30_000).at(1_500)
    (26, 49)
    """

    first: tuple[int, int]
    last: tuple[int, int]
    steps: int = 0

    def __post_init__(self) -> None:
        grows = self.first[0] <= self.last[0] and self.first[1] <= self.last[1]
        ordered = 0 <= self.first[0] <= self.first[1] and self.last[0] <= self.last[1]
        if not grows or not ordered or self.steps < 0:
            raise ParameterError(
                f"GapRange: from {self.first} to {self.last} in {self.steps} steps; expected (smallest, largest) pairs "
                "that do not shrink, and no negative number"
            )

    @classmethod
    def constant(cls, smallest: int, largest: int) -> "GapRange":
        """The same range at every step."""
        return cls((smallest, largest), (smallest, largest))

    def at(self, step: int) -> tuple[int, int]:
        """Smallest and largest gap, in frames, at a step counted from 0."""
        low, high = (grown(a, b, step, self.steps) for a, b in zip(self.first, self.last, strict=True))
        return low, high


def grown(first: int, last: int, step: int, steps: int) -> int:
    """A whole number on its way from `first` to `last`, which it reaches at step `steps`."""
    if steps == 0:
        return last
    return min(first + int((last - first) * (step / steps)), last)
