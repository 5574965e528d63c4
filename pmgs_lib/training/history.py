"""What happened in training, a row a step."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd


@dataclass
class TrainingHistory:
    """Loss terms, gradient norm and learning rate of every step; `excluded` counts scenes that PM-Loss left out."""

    rows: list[dict[str, float]] = field(default_factory=list)
    excluded: dict[str, int] = field(default_factory=dict)

    def add(self, step: int, terms: dict[str, float], gradient_norm: float, learning_rate: float) -> None:
        self.rows.append({"step": step, **terms, "gradient_norm": gradient_norm, "learning_rate": learning_rate})

    def count_excluded(self, reason: str) -> None:
        self.excluded[reason] = self.excluded.get(reason, 0) + 1

    def to_frame(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows)

    def write_csv(self, path: Path) -> None:
        self.to_frame().to_csv(path, index=False)

    def summary(self, last: int = 50) -> dict[str, float]:
        """Mean of every column over the last steps, for `metrics.json`."""
        return {name: float(value) for name, value in self.to_frame().tail(last).mean().items() if name != "step"}
