"""What happened in training, a row a step."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pandas as pd


class Exclusion(NamedTuple):
    """A scene that PM-Loss left out at a step, and why."""

    step: int
    scene: str
    reason: str


@dataclass
class TrainingHistory:
    """Loss terms, gradient norm and learning rate of every step, and the scenes that PM-Loss left out."""

    rows: list[dict[str, float]] = field(default_factory=list)
    exclusions: list[Exclusion] = field(default_factory=list)

    def add(self, step: int, terms: dict[str, float], gradient_norm: float, learning_rate: float) -> None:
        self.rows.append({"step": step, **terms, "gradient_norm": gradient_norm, "learning_rate": learning_rate})

    def exclude(self, step: int, scene: str, reason: str) -> None:
        self.exclusions.append(Exclusion(step, scene, reason))

    @property
    def excluded(self) -> dict[str, int]:
        """How often each scene was left out for each reason."""
        return dict(Counter(f"{scene}: {reason}" for _, scene, reason in self.exclusions))

    def to_frame(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows)

    def write_csv(self, path: Path) -> None:
        self.to_frame().to_csv(path, index=False)

    def summary(self, last: int = 50) -> dict[str, float]:
        """Mean of every column over the last steps, for `metrics.json`."""
        return {name: float(value) for name, value in self.to_frame().tail(last).mean().items() if name != "step"}
