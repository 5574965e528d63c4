"""What a table of results is made of: a column is a metric on some targets, a row a method with its numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pmgs_lib.errors import ParameterError
from pmgs_lib.evaluation.metrics import DEPTH_METRICS, METRICS
from pmgs_lib.evaluation.results import TARGET_METRICS

ARROWS = {"higher": "↑", "lower": "↓"}
SPLITS = {"overall": "all", "inside": "inside", "outside": "outside", "at_context": "at context"}
NOT_COMPARABLE = "NOT COMPARABLE"
NAMED = 6  # scenes that a note names


@dataclass(frozen=True)
class Column:
    """A metric on a split of the targets: "overall", "inside" or "outside" the input views' span, or "at_context"."""

    metric: str
    split: str = "overall"

    def __post_init__(self) -> None:
        if self.metric not in METRICS or self.split not in SPLITS:
            raise ParameterError(
                f"Column: metric {self.metric!r} on {self.split!r}, expected one of {', '.join(METRICS)} "
                f"on one of {', '.join(SPLITS)}"
            )

    @property
    def heading(self) -> tuple[str, str]:
        """Name with its arrow, and what qualifies it: unit and split."""
        info = METRICS[self.metric]
        split = SPLITS[self.split] if self.metric in TARGET_METRICS else ""
        return f"{info.label} {ARROWS[info.better]}", ", ".join(part for part in (info.unit, split) if part)


COLUMNS = (
    *(Column("psnr", split) for split in ("overall", "inside", "outside")),
    *(Column(metric) for metric in ("ssim", "lpips", "abs_rel", "rmse_m", "delta1")),
    *(Column(metric) for metric in ("accuracy_m", "completeness_m", "overall_m")),
)


def label_of(metric: str, *, arrow: bool = False) -> str:
    """A metric's heading on one line: "PSNR [dB]", or "PSNR [dB] ↑"; the name itself where it is no metric."""
    info = (METRICS | DEPTH_METRICS).get(metric)
    if info is None:
        return metric
    return f"{info.label}{f' [{info.unit}]' if info.unit else ''}{f' {ARROWS[info.better]}' if arrow else ''}"


@dataclass(frozen=True)
class ResultRow:
    """One method of a table. `means` maps a split to metrics, as in `metrics.json`; `missing` says why one is absent.

    `href` is where the executed notebook lies, relative to the page. `trained_steps` None: nothing was trained.
    `notes` are sentences for the reader, e.g. about skipped scenes. not_comparable: why the row's numbers may not stand
    beside the others; such a row says so under its name and is never the best. cell: RUN:METHOD, from which each number
    gets the name that `pmgs why` takes (`data-cell`, and the tool tip). seeds: trainings that the numbers are means of,
    with `intervals`, the ends of the 95 % interval of each mean, in the same order as `means`.
    """

    method: str
    means: Mapping[str, Mapping[str, float | None]]
    control: bool = False
    trained_steps: int | None = None
    href: str | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    not_comparable: str | None = None
    cell: str | None = None
    seeds: int = 1
    intervals: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)

    @classmethod
    def from_metrics(
        cls,
        metrics: Mapping[str, Any],
        *,
        method: str | None = None,
        href: str | None = None,
        trained_steps: int | None = None,
        run: str | None = None,
    ) -> "ResultRow":
        """A row from what `EvaluationResult.to_json` gives; metrics of few scenes and skipped scenes become notes.
        run: the id of the run that it is from, for `pmgs why`.
        """
        ledger, missing = metrics["ledger"], metrics["missing"]
        means = metrics["means"]["overall"]
        partly = {name: reasons for name, reasons in missing.items() if means.get(name) is not None}
        absent = {name: "; ".join(reasons) for name, reasons in missing.items()}
        skipped = _by_reason(ledger["skipped"])
        if ledger["scored"]:
            notes = [f"{len(ledger['scored'])} of {ledger['listed']} scenes scored"] if skipped else []
            notes += [f"skipped {_named(scenes)}: {reason}" for reason, scenes in skipped.items()]
            notes += [f"{METRICS[name].label} without {_reasons(reasons)}" for name, reasons in partly.items()]
        else:  # the whole row is missing: said once in each cell instead of once a scene
            notes, absent = [], dict.fromkeys(METRICS, "; ".join(skipped))
        not_comparable = metrics.get("settings", {}).get("not_comparable")
        if not_comparable is not None:
            notes = [f"{NOT_COMPARABLE}: {not_comparable}", *notes]
        return cls(
            method=metrics["method"] if method is None else method,
            means=metrics["means"],
            control=metrics["control"],
            trained_steps=trained_steps,
            href=href,
            missing=absent,
            notes=tuple(notes),
            not_comparable=not_comparable,
            cell=None if run is None else f"{run}:{metrics['method']}",
        )

    @classmethod
    def over_seeds(
        cls, first: Mapping[str, Any], together: Mapping[str, Any], *, arm: str, run: str, **fields: Any
    ) -> "ResultRow":
        """A row of several trainings of one method. first: what `EvaluationResult.to_json` gives for one of them, for
        ledger and reasons; together: fields of `evaluation.SeedMeans`; run, arm: where the means stand, as
        `arms.ARM.means` in a run's metrics. fields: as in `from_metrics`.
        """
        row = cls.from_metrics({**first, "means": together["means"]}, **fields)
        return replace(row, seeds=together["seeds"], intervals=together["intervals"], cell=f"{run}:arms.{arm}.means")

    def value(self, column: Column) -> float | None:
        value = self.means.get(column.split, {}).get(column.metric)
        return None if value is None else float(value)

    def spread(self, column: Column) -> float | None:
        """Half the width of the interval over seeds; None where the number is of one training."""
        ends = self.intervals.get(column.split, {}).get(column.metric)
        return None if ends is None else (ends[1] - ends[0]) / 2

    @property
    def training(self) -> str:
        """What the reader must know about training: "control", "trained for N steps", of how many seeds, or nothing."""
        if self.control:
            return "control"
        steps = "" if self.trained_steps is None else f"trained for {self.trained_steps:,} steps"
        seeds = f"{self.seeds} seeds" if self.seeds > 1 else ""
        return ", ".join(part for part in (steps, seeds) if part)

    @property
    def remark(self) -> str:
        """What stands under the method's name."""
        return ", ".join(part for part in (NOT_COMPARABLE if self.not_comparable else "", self.training) if part)


def _by_reason(skipped: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """Skipped scenes of a ledger under the reason they share."""
    scenes: dict[str, list[str]] = {}
    for entry in skipped:
        scenes.setdefault(entry["reason"], []).append(entry["scene"])
    return scenes


def _named(scenes: Sequence[str]) -> str:
    more = f" and {len(scenes) - NAMED} more" if len(scenes) > NAMED else ""
    return ", ".join(scenes[:NAMED]) + more


def _reasons(reasons: Mapping[str, int]) -> str:
    return "; ".join(f"{count} scene{'s' if count > 1 else ''}: {reason}" for reason, count in reasons.items())
