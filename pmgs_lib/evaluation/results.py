"""What an evaluation found: one row a target view, one a scene, means, and the account of what was left out."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from pmgs_lib.data.protocol_types import Split
from pmgs_lib.evaluation.ledger import Ledger
from pmgs_lib.evaluation.metrics import METRICS

if TYPE_CHECKING:
    import pandas

TARGET_METRICS = ("psnr", "ssim", "lpips", "abs_rel", "rmse_m", "delta1")
SCENE_METRICS = tuple(name for name in METRICS if name not in TARGET_METRICS)


class EvaluationSettings(BaseModel):
    """How an evaluation looked at its scenes: protocol and its digest, image size in pixels, range of the point clouds
    in world units (None: all), device, and why the numbers may not stand beside those of the whole protocol (None: they
    may)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: str
    protocol_digest: str
    height: int
    width: int
    limit_m: float | None
    device: str
    not_comparable: str | None = None

    @property
    def comparable(self) -> bool:
        return self.not_comparable is None


@dataclass(frozen=True)
class TargetRow:
    """Metrics of one target view. `view` is its frame number, `split` whether it lies inside the input views' span,
    outside, or is an input itself."""

    scene: str
    view: int
    split: Split
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class SceneScore:
    """All numbers of one scene, and for each metric that has none the reason."""

    scene: str
    targets: tuple[TargetRow, ...]
    metrics: Mapping[str, float]
    missing: Mapping[str, str]

    def mean(self, metric: str, split: Split | None = None) -> float | None:
        """Mean over this scene's target views, or the scene's own value; None where there is none."""
        if metric in SCENE_METRICS:
            return self.metrics.get(metric) if split is None else None
        rows = [row for row in self.targets if split in (None, row.split)]
        return _mean(row.metrics.get(metric) for row in rows)


@dataclass(frozen=True)
class EvaluationResult:
    """Scores of one method on one protocol. `ledger` is closed: scored + skipped == listed."""

    method: str
    control: bool
    settings: EvaluationSettings
    scores: Sequence[SceneScore]
    ledger: Ledger

    @property
    def means(self) -> dict[str, dict[str, float | None]]:
        """Mean over target views of each scene, then over scenes, for all targets and for each split.

        A scene without a value (no target in the split, no exact depth) takes no part; `missing` counts those.
        """
        splits: dict[str, Split | None] = {"overall": None, "inside": "inside", "outside": "outside"}
        if any(row.split == "at_context" for score in self.scores for row in score.targets):
            splits["at_context"] = "at_context"
        return {
            label: {metric: _mean(score.mean(metric, split) for score in self.scores) for metric in names}
            for label, split in splits.items()
            for names in [METRICS if split is None else TARGET_METRICS]
        }

    @property
    def missing(self) -> dict[str, dict[str, int]]:
        """For each metric that some scored scene has no value of: how many scenes, by reason."""
        reasons = {metric: Counter(s.missing[metric] for s in self.scores if metric in s.missing) for metric in METRICS}
        return {metric: dict(counts) for metric, counts in reasons.items() if counts}

    def to_json(self) -> dict[str, Any]:
        """The content of `metrics.json`: no times and no paths, so that equal runs compare to the last digit."""
        return {
            "method": self.method,
            "control": self.control,
            "settings": self.settings.model_dump(),
            "comparable": self.settings.comparable,
            "ledger": self.ledger.to_json(),
            "means": self.means,
            "missing": self.missing,
            "scenes": [{"scene": score.scene, **score.metrics} for score in self.scores],
            "targets": [
                {"scene": row.scene, "view": row.view, "split": row.split, **row.metrics}
                for score in self.scores
                for row in score.targets
            ],
        }

    def to_frame(self) -> "pandas.DataFrame":
        """One row a target view: scene, view, split and the metrics (NaN where there is none)."""
        import pandas

        rows = [row for score in self.scores for row in score.targets]
        records = [{"scene": r.scene, "view": r.view, "split": r.split, **r.metrics} for r in rows]
        return pandas.DataFrame(records, columns=["scene", "view", "split", *TARGET_METRICS])


def _mean(values: Iterable[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return fmean(present) if present else None
