"""The scenes of an evaluation that are worth looking at, kept while it runs: all would not fit into memory."""

import heapq
from dataclasses import dataclass, field
from itertools import count

from pmgs_lib.evaluation.methods import MethodOutput
from pmgs_lib.evaluation.metrics import psnr
from pmgs_lib.views import Example


@dataclass
class WorstScenes:
    """The `most` scenes with the lowest mean PSNR over their targets so far; `evaluate(on_scene=...)` calls `keep`."""

    most: int = 3
    _kept: list[tuple[float, int, str, Example, MethodOutput]] = field(default_factory=list, repr=False)
    _order: count = field(default_factory=count, repr=False)  # breaks ties: the earlier scene stays

    def keep(self, key: str, example: Example, output: MethodOutput) -> None:
        """Take a scene in if it is among the worst."""
        mean = psnr(output.color, example.target.images).mean().item()
        heapq.heappush(self._kept, (-mean, -next(self._order), key, example, output))
        if len(self._kept) > self.most:
            heapq.heappop(self._kept)

    @property
    def scenes(self) -> list[tuple[str, float, Example, MethodOutput]]:
        """Key, mean PSNR in dB, example and output of each, the worst first."""
        return [(key, -value, example, output) for value, _, key, example, output in sorted(self._kept, reverse=True)]
