"""What happened in training, a row a step."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

# Columns that stand behind those of the terms.
LAST_COLUMNS = ("gradient_norm", "learning_rate", "skipped")


class Exclusion(NamedTuple):
    """A scene that was left out at a step, and why."""

    step: int
    scene: str
    reason: str


@dataclass
class TrainingHistory:
    """Loss terms, gradient norm and learning rate of every step, and what was left out.

    exclusions: scenes that PM-Loss left out of its term. skips: steps that were not taken, by the scenes they came from
    (`NonFinitePolicy`); such a row has no terms. replaced: scenes that could give no example, with the reason, where
    the data say that others take their place.
    """

    rows: list[dict[str, float | int]] = field(default_factory=list)
    exclusions: list[Exclusion] = field(default_factory=list)
    skips: list[Exclusion] = field(default_factory=list)
    replaced: dict[str, str] = field(default_factory=dict)

    def add(self, step: int, terms: Mapping[str, float], gradient_norm: float, learning_rate: float) -> None:
        self.rows.append({"step": step, **terms, "gradient_norm": gradient_norm, "learning_rate": learning_rate})

    def exclude(self, step: int, scene: str, reason: str) -> None:
        self.exclusions.append(Exclusion(step, scene, reason))

    def skip(self, step: int, scenes: Iterable[str], reason: str, learning_rate: float) -> None:
        self.rows.append({"step": step, "learning_rate": learning_rate, "skipped": 1})
        self.skips.extend(Exclusion(step, scene, reason) for scene in scenes)

    @property
    def excluded(self) -> dict[str, int]:
        """How often each scene was left out for each reason."""
        return _counted(self.exclusions)

    @property
    def skipped(self) -> dict[str, int]:
        """How often a step was left out for each scene and reason."""
        return _counted(self.skips)

    @property
    def skipped_in_sequence(self) -> int:
        """How many of the last steps were left out, one after the other."""
        taken = (number for number, row in enumerate(reversed(self.rows)) if not row.get("skipped"))
        return next(taken, len(self.rows))

    def to_frame(self) -> pd.DataFrame:
        frame = pd.DataFrame(self.rows)
        last = [name for name in LAST_COLUMNS if name in frame]
        terms = [name for name in frame if name != "step" and name not in last]
        return frame[["step", *terms, *last]] if len(frame) else frame

    def write_csv(self, path: Path) -> None:
        self.to_frame().to_csv(path, index=False)

    def summary(self, last: int = 50) -> dict[str, float]:
        """Mean of every column over the last steps, for `metrics.json`."""
        return {name: float(value) for name, value in self.to_frame().tail(last).mean().items() if name != "step"}

    def state_dict(self) -> dict[str, Any]:
        """All of it as lists, numbers and texts."""
        told = {name: [list(one) for one in getattr(self, name)] for name in ("exclusions", "skips")}
        return {"rows": [dict(row) for row in self.rows], **told, "replaced": dict(self.replaced)}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> "TrainingHistory":
        """The history that gave this state."""
        told = {name: [Exclusion(*one) for one in state[name]] for name in ("exclusions", "skips")}
        return cls([dict(row) for row in state["rows"]], **told, replaced=dict(state["replaced"]))


def _counted(told: Iterable[Exclusion]) -> dict[str, int]:
    return dict(Counter(f"{scene}: {reason}" for _, scene, reason in told))
