"""Numbers to colours for the explorer: the library's colour maps as tables, quick enough for each frame."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, UInt8
from matplotlib import colormaps
from torch import Tensor

from pmgs_lib.export.images import DEPTH_COLORMAP, ERROR_COLORMAP, LARGEST_ERROR

LEVELS = 256
ALPHA_COLORMAP, CERTAINTY_COLORMAP = "gray", "viridis"
LEGEND_COLORS = 16


@dataclass(frozen=True)
class Scale:
    """A colour map from `low` to `high`, even in the numbers or in their logarithms; white where there is no number."""

    label: str
    colormap: str
    low: float
    high: float
    logarithmic: bool = False

    def colors(self, values: Float[Tensor, "h w"], known: Tensor | None = None) -> UInt8[Tensor, "3 h w"]:
        """Colours of the numbers; `known` (h w) marks those that count, by default the finite ones."""
        known = values.isfinite() if known is None else known & values.isfinite()
        values, low, high = torch.where(known, values, self.low).clamp(self.low, self.high), self.low, self.high
        if self.logarithmic:
            values, low, high = values.log(), math.log(low), math.log(high)
        levels = ((values - low) / (high - low) * LEVELS).clamp(0, LEVELS - 1).long()
        table = _table(self.colormap, values.device)
        return torch.where(known, table[:, levels], torch.tensor(255, dtype=torch.uint8, device=values.device))

    def legend(self) -> dict[str, object]:
        """Label, ends and a row of colours, for a page to draw."""
        row = colormaps[self.colormap](np.linspace(0, 1, LEGEND_COLORS), bytes=True)[:, :3].tolist()
        middle = (self.low * self.high) ** 0.5 if self.logarithmic else (self.low + self.high) / 2
        ticks = [f"{value:.3g}" for value in (self.low, middle, self.high)]
        return {"label": self.label, "ticks": ticks, "colors": ["#" + bytes(rgb).hex() for rgb in row]}


def depth_scale(low: float, high: float) -> Scale:
    """z-depth, logarithmic: near is light, far is dark."""
    return Scale("depth in world units", DEPTH_COLORMAP, low, high, logarithmic=True)


ERROR_SCALE = Scale("mean absolute colour error", ERROR_COLORMAP, 0.0, LARGEST_ERROR)
ALPHA_SCALE = Scale("alpha: 0 nothing drawn, 1 opaque", ALPHA_COLORMAP, 0.0, 1.0)


def certainty_scale(label: str) -> Scale:
    """How sure a model was, in [0, 1]."""
    return Scale(label, CERTAINTY_COLORMAP, 0.0, 1.0)


@lru_cache
def _table(colormap: str, device: torch.device) -> UInt8[Tensor, "3 level"]:
    return torch.from_numpy(colormaps[colormap](np.arange(LEVELS), bytes=True)[:, :3].copy()).T.contiguous().to(device)
