"""How the cost of a model grows with the number of views and with the size of the pictures."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from pmgs_lib.cameras import Cameras
from pmgs_lib.errors import ParameterError
from pmgs_lib.evaluation.methods import evaluation_mode
from pmgs_lib.evaluation.timing import measure
from pmgs_lib.geometry.pose import quaternion_to_matrix
from pmgs_lib.views import Views

if TYPE_CHECKING:
    import pandas

FOCAL = 0.9  # of the width
SPACING = 0.1  # between neighbouring cameras, in world units
TURN = 0.03  # between neighbouring cameras, in radians
NEAR, FAR = 0.5, 100.0


@dataclass(frozen=True)
class Load:
    """A size of input: number of views, height and width of each in pixels."""

    views: int
    height: int
    width: int

    @property
    def pixels(self) -> int:
        """Pixels of one view."""
        return self.height * self.width


@dataclass(frozen=True)
class Growth:
    """Cost as coefficient * amount ** exponent, fitted on logarithms; `residual` is the largest |log| it misses by."""

    exponent: float
    coefficient: float
    residual: float


def loads(views: Sequence[int], sizes: Sequence[Sequence[int]]) -> list[Load]:
    """The points to measure: every number of views at the first size, then the first number at every other size."""
    if not views or not sizes or any(len(size) != 2 for size in sizes):
        raise ParameterError(
            f"loads: views {list(views)} and sizes {[list(s) for s in sizes]}; expected some numbers of views and some "
            "sizes [height, width]"
        )
    first = [Load(count, *sizes[0]) for count in views]
    return first + [Load(views[0], *size) for size in sizes[1:]]


def synthetic_context(load: Load, device: torch.device | str = "cpu", seed: int = 0) -> Views:
    """A batch of one scene of noise, seen from a small arc: cost depends on sizes, not on what there is to see."""
    draw = torch.Generator().manual_seed(seed)
    place = torch.arange(load.views) - (load.views - 1) / 2
    poses = torch.eye(4).repeat(load.views, 1, 1)
    half, zero = -TURN * place / 2, torch.zeros_like(place)
    poses[:, :3, :3] = quaternion_to_matrix(torch.stack([half.cos(), zero, half.sin(), zero], dim=-1))
    poses[:, 0, 3] = SPACING * place
    intrinsics = torch.tensor([[FOCAL, 0, 0.5], [0, FOCAL * load.width / load.height, 0.5], [0, 0, 1]])
    images = torch.rand(load.views, 3, load.height, load.width, generator=draw)
    cameras = Cameras(poses, intrinsics.repeat(load.views, 1, 1))
    return Views.stack([Views(images, cameras, torch.tensor(NEAR), torch.tensor(FAR))]).to(device)


def time_model(
    models: Mapping[str, nn.Module],
    points: Sequence[Load],
    *,
    device: torch.device | str = "cpu",
    repeats: int = 5,
    warmup: int = 2,
    progress: Callable[[str], None] = lambda line: None,
) -> "pandas.DataFrame":
    """Forward passes of models that are on `device`: one row a setting and point.

    Columns: setting, views, height, width, pixels (of one view), median_s, low_s, high_s (seconds), peak_bytes (the
    most device memory, None on a CPU). At each point all settings are measured before the next point, so that a machine
    that slows down slows all of them.
    """
    import pandas as pd

    rows = []
    for load in points:
        context = synthetic_context(load, device)
        for setting, model in models.items():
            with torch.no_grad(), evaluation_mode(model):
                timing = measure(lambda m=model, c=context: m(c), device=device, repeats=repeats, warmup=warmup)
            rows.append({"setting": setting, **vars(load), "pixels": load.pixels, **vars(timing)})
            progress(f"{setting}: {load.views} views of {load.height} x {load.width}: {timing.median_s:.3f} s")
    return pd.DataFrame(rows)


def growth(amounts: Sequence[float | int], costs: Sequence[float | int]) -> Growth:
    """The power law through some costs, by least squares on logarithms.

    >>> round(growth([1, 2, 4], [3, 12, 48]).exponent, 6)
    2.0
    """
    if len(set(amounts)) < 2 or len(amounts) != len(costs) or min(*amounts, *costs) <= 0:
        raise ParameterError(
            f"growth: amounts {list(amounts)} and costs {list(costs)}; expected as many of each, all positive, and two "
            "different amounts"
        )
    x, y = ([math.log(value) for value in values] for values in (amounts, costs))
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((a - mean_x) ** 2 for a in x)
    exponent = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread
    offset = mean_y - exponent * mean_x
    residual = max(abs(b - offset - exponent * a) for a, b in zip(x, y, strict=True))
    return Growth(exponent, math.exp(offset), residual)


def fit_growth(table: "pandas.DataFrame", column: str = "median_s") -> "pandas.DataFrame":
    """Exponents of one column of `time_model`'s table, by views at the first size and by pixels at the first views.

    One row a setting; None where fewer than two points were measured, or the column has no values.
    """
    import pandas as pd

    rows = []
    for setting, part in table.groupby("setting", sort=False):
        first, row = part.iloc[0], {"setting": setting}
        for amount, fixed in (("views", "pixels"), ("pixels", "views")):
            line = part[part[fixed] == first[fixed]]
            known = line[amount].nunique() > 1 and line[column].notna().all()
            row[amount] = growth(line[amount].tolist(), line[column].tolist()).exponent if known else None
        rows.append(row)
    return pd.DataFrame(rows)
