"""How PM-Loss fares on a list of scenes, in numbers: alignment, distances, threshold rule, and what was left out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pmgs_lib.errors import ParameterError
from pmgs_lib.losses.pointmap import PointmapLoss, PointmapLossDetails
from pmgs_lib.losses.pointmap_distances import penalize
from pmgs_lib.losses.pointmap_settings import PointmapLossSettings

# Each scene keeps its distances as this many quantiles, from the smallest to the largest: enough to draw a curve.
LEVELS = tuple(percent / 100 for percent in range(101))
REPORTED_PERCENTS = (50, 90, 99)
MOST_WORST = 5
UNITS = {
    "none": "scene units",
    "spread": "sizes of the prediction",
    "pointmap": "units of the pointmap",
    "depth": "depths of the pixel",
}


@dataclass(frozen=True)
class SceneHealth:
    """One scene that was scored.

    chamfer: mean penalty before the threshold rule (squared scene units by default). scale: of the pointmap onto the
    prediction. residual: root mean square distance of counterparts after alignment, scene units. above_threshold: the
    threshold rule took hold. points_above: share of its points whose own penalty exceeds the threshold. used: share of
    the pixels that counted. distances: at `LEVELS`, of centres to what they are compared with, in the units of
    `normalization`.
    """

    key: str
    chamfer: float
    scale: float
    residual: float
    above_threshold: bool
    points_above: float
    used: float
    distances: tuple[float, ...]

    def distance(self, percent: int) -> float:
        """The distance that this percentage of the points does not exceed."""
        return self.distances[percent]


@dataclass(frozen=True)
class PointmapHealth:
    """All scenes of a list, the worst first: each is either scored or left out with its reason."""

    listed: int
    scored: tuple[SceneHealth, ...]
    excluded: tuple[tuple[str, str], ...]
    settings: PointmapLossSettings

    def __post_init__(self) -> None:
        counted = len(self.scored) + len(self.excluded)
        assert counted == self.listed, f"{counted} scenes scored or left out of {self.listed} listed"  # noqa: S101
        ordered = sorted(self.scored, key=lambda scene: -scene.chamfer)
        object.__setattr__(self, "scored", tuple(ordered))

    @classmethod
    def of(cls, details: PointmapLossDetails, settings: PointmapLossSettings) -> "PointmapHealth":
        """The health of one batch; `details` with `per_pixel=True` and, for names, with `keys`."""
        if details.pixels is None:
            raise ParameterError("PointmapHealth: the details have no pixels, expected details(..., per_pixel=True)")
        quantiles = details.pixels.quantiles(LEVELS)
        above = _points_above(details.pixels.distances, settings)
        names = details.keys or [f"item {item}" for item in range(len(details.reasons))]
        scored = [
            SceneHealth(
                key=names[item],
                chamfer=details.chamfer[item].item(),
                scale=details.scale[item].item(),
                residual=details.residual[item].item(),
                above_threshold=bool(details.above_threshold[item]),
                points_above=above[item].item(),
                used=details.used[item].item(),
                distances=tuple(quantiles[item].tolist()),
            )
            for item, reason in enumerate(details.reasons)
            if reason is None
        ]
        return cls(len(details.reasons), tuple(scored), details.excluded_scenes, settings)

    @property
    def unit(self) -> str:
        """What distances are measured in."""
        return UNITS[self.settings.normalization]

    @property
    def scenes_above(self) -> int:
        """Scenes for which the threshold rule took hold."""
        return sum(scene.above_threshold for scene in self.scored)

    def penalties(self, scene: SceneHealth) -> tuple[float, ...]:
        """What the scene's distances cost (their squares by default), at `LEVELS`."""
        squared = torch.tensor(scene.distances, dtype=torch.float64).square()
        return tuple(penalize(squared, self.settings).tolist())

    def to_metrics(self) -> dict[str, Any]:
        """Numbers for `metrics.json`: counts, their reasons, and the spread of each quantity over the scored scenes.

        A quantity is given as its smallest, median and largest value over the scenes, None when no scene was scored.
        """
        quantities = {
            "chamfer": [scene.chamfer for scene in self.scored],
            "scale": [scene.scale for scene in self.scored],
            "residual": [scene.residual for scene in self.scored],
            "used": [scene.used for scene in self.scored],
            "points_above_threshold": [scene.points_above for scene in self.scored],
        }
        for percent in REPORTED_PERCENTS:
            quantities[f"distance_{percent}"] = [scene.distance(percent) for scene in self.scored]
            quantities[f"penalty_{percent}"] = [self.penalties(scene)[percent] for scene in self.scored]
        return {
            "listed": self.listed,
            "scored": len(self.scored),
            "excluded": [{"scene": scene, "reason": reason} for scene, reason in self.excluded],
            "threshold": self.settings.threshold,
            "scenes_above_threshold": self.scenes_above,
            "worst": [{"scene": scene.key, "chamfer": scene.chamfer} for scene in self.scored[:MOST_WORST]],
            **{name: _spread(values) for name, values in quantities.items()},
        }


def measure_health(
    loss: PointmapLoss,
    means: Float[Tensor, "batch *point 3"],
    pointmap: Float[Tensor, "batch *pixel 3"],
    keys: Sequence[str],
    **evidence: Any,
) -> PointmapHealth:
    """The health of one batch of centres and pointmaps; `evidence` is what else `loss.details` takes.

    >>> points = torch.rand(1, 40, 3)
    >>> measure_health(PointmapLoss(), points, 2 * points, ["room"]).to_metrics()["scored"]
    1
    """
    with torch.no_grad():
        return PointmapHealth.of(loss.details(means, pointmap, keys=keys, per_pixel=True, **evidence), loss.settings)


def join_health(parts: Iterable[PointmapHealth]) -> PointmapHealth:
    """Batches measured one after the other as one list. Raises `ParameterError` for none, or for unlike settings."""
    parts = tuple(parts)
    if len({part.settings for part in parts}) != 1:
        raise ParameterError(
            f"join_health: {len(parts)} parts with {len({part.settings for part in parts})} settings, "
            "expected at least one part and the same settings in all"
        )
    return PointmapHealth(
        listed=sum(part.listed for part in parts),
        scored=tuple(scene for part in parts for scene in part.scored),
        excluded=tuple(left_out for part in parts for left_out in part.excluded),
        settings=parts[0].settings,
    )


def _points_above(distances: Float[Tensor, "batch sample"], settings: PointmapLossSettings) -> Float[Tensor, "batch"]:
    known = ~distances.isnan()
    above = penalize(distances.nan_to_num(0.0).double().square(), settings) > settings.threshold
    return (above & known).sum(-1) / known.sum(-1).clamp_min(1)


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {"smallest": min(values), "median": float(np.median(values)), "largest": max(values)}
