"""Several trainings of one method that differ in their seed alone: what their evaluations say together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.evaluation.statistics import Interval, SceneValues, interval_over_seeds, seed_scores

SplitValues = dict[str, dict[str, float | None]]


@dataclass(frozen=True)
class SeedMeans:
    """Means over the seeds of one method, split -> metric -> value; None where a seed has no such number.

    intervals: lower and upper end of Student's t interval for each mean; empty for one seed, which has no spread.
    """

    seeds: int
    means: SplitValues
    intervals: dict[str, dict[str, tuple[float, float]]]


def over_seeds(results: Sequence[Mapping[str, Any]]) -> SeedMeans:
    """What evaluations, one a seed (entries of `results` in `metrics.json`), say together.

    Raises ParameterError for none, DataError where they scored other scenes or another protocol: their means would not
    compare.
    """
    if not results:
        raise ParameterError("over_seeds: no evaluations, expected one a seed; give runs of 40_evaluate")
    for place, result in enumerate(results):
        for what, found, expected in (
            ("scenes", sorted(result["ledger"]["scored"]), sorted(results[0]["ledger"]["scored"])),
            ("protocol", result["settings"]["protocol_digest"], results[0]["settings"]["protocol_digest"]),
        ):
            if found != expected:
                raise DataError(f"over_seeds: evaluation {place} has other {what} than evaluation 0, expected the "
                                "same; evaluate all seeds on one protocol")  # fmt: skip
    splits = {
        split: {metric: [result["means"][split].get(metric) for result in results] for metric in means}
        for split, means in results[0]["means"].items()
    }
    means = {split: {name: _mean(values) for name, values in found.items()} for split, found in splits.items()}
    if len(results) == 1:
        return SeedMeans(1, means, {})
    intervals = {split: {name: _ends(values) for name, values in found.items() if None not in values}
                 for split, found in splits.items()}  # fmt: skip
    return SeedMeans(len(results), means, intervals)


def difference_over_seeds(first: Sequence[SceneValues], second: Sequence[SceneValues]) -> Interval:
    """Second method minus first over seeds: Student's t interval of the mean difference, one value a pair of trainings.

    The n-th training of one is paired with the n-th of the other: give both in the order of their seeds. It asks what
    other trainings would show on these scenes; `paired_test` asks what these trainings would show on other scenes.
    Raises ParameterError for fewer than two pairs or different numbers of seeds.
    """
    if len(first) != len(second):
        raise ParameterError(f"difference_over_seeds: {len(first)} seeds against {len(second)}, expected as many; give "
                             "both methods the same seeds, in one order")  # fmt: skip
    pairs = zip(seed_scores(first), seed_scores(second), strict=True)
    return interval_over_seeds([after - before for before, after in pairs])


def _mean(values: Sequence[float | None]) -> float | None:
    return None if None in values else fmean(values)


def _ends(values: Sequence[float]) -> tuple[float, float]:
    interval = interval_over_seeds(values)
    return interval.low, interval.high
