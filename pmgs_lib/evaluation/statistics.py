"""How sure a number is: intervals over seeds and over scenes, and the paired test of two methods scene by scene.

Scores are maps from scene to value, one map a seed. Several seeds of a scene are averaged first: they are no
independent scenes, and counting each as one would make every p-value too small.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np
from scipy import stats

from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.evaluation.metrics import DEPTH_METRICS, METRICS, MetricInfo
from pmgs_lib.evaluation.results import SCENE_METRICS

LEVEL = 0.95  # of every interval; 1 - LEVEL is the largest p-value that counts
RESAMPLES = 9999
SCALE_ROUNDING = 1e-12  # of the largest value: differences below it come from the order of sums, not from a method

SceneValues = Mapping[str, float]  # scene -> value


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval; `values` are what it is the mean of, in the order given."""

    mean: float
    low: float
    high: float
    level: float
    values: tuple[float, ...]

    @property
    def holds_zero(self) -> bool:
        return self.low <= 0 <= self.high


@dataclass(frozen=True)
class PairedTest:
    """Second method minus first, for one metric, a difference a scene.

    interval: bootstrap over scenes of the mean difference; its `values` are the differences, in the order of `scenes`.
    better, worse, tied: scenes where the second is so, in the metric's own direction.
    p_wilcoxon: signed-rank test, two-sided; None where the scenes that differ are too few for p <= 1 - LEVEL.
    p_holm: the same, corrected over the `family` of metrics tested together. p_t: paired t test, two-sided, to compare.
    rank_correlation: matched pairs, in [-1, 1], positive where the second is better (rank-biserial, Kerby 2014).
    standardised: mean difference over its standard deviation between scenes (Cohen's d_z); None where all are equal.
    reachable: whether the family could have reached significance at all with so many scenes.
    """

    metric: str
    scenes: tuple[str, ...]
    interval: Interval
    better: int
    worse: int
    tied: int
    p_wilcoxon: float | None
    p_t: float | None
    rank_correlation: float
    standardised: float | None
    p_holm: float | None = None
    family: int = 1
    reachable: bool = True

    @property
    def info(self) -> MetricInfo:
        return metric_info(self.metric)


def metric_info(metric: str) -> MetricInfo:
    """Label, unit and direction of a metric. ParameterError for a name that is none."""
    known = METRICS | DEPTH_METRICS
    if metric not in known:
        raise ParameterError(f"statistics: no metric is called {metric!r}, expected one of {', '.join(known)}")
    return known[metric]


def scene_values(result: Mapping[str, Any], metric: str) -> dict[str, float]:
    """One value a scene from an evaluation's entry in `metrics.json`: its own, or the mean over its target views.

    Scenes without a value (no exact depth) are not in the map.
    """
    metric_info(metric)
    found: dict[str, list[float]] = {}
    for row in result["scenes" if metric in SCENE_METRICS else "targets"]:
        if row.get(metric) is not None:
            found.setdefault(row["scene"], []).append(row[metric])
    return {scene: fmean(values) for scene, values in found.items()}


def interval_over_seeds(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Mean of one number a seed with Student's t interval. Raises ParameterError for fewer than two seeds.

    A t interval and no bootstrap: three seeds have ten different resamples, but what training draws at random adds up
    from many small parts and is close to normal.

    >>> interval = interval_over_seeds([26.0, 26.2, 26.4])
    >>> f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
    '26.20 [25.70, 26.70]'
    """
    array = _checked(values, "interval_over_seeds", "seeds", level)
    half = stats.t.ppf((1 + level) / 2, len(array) - 1) * array.std(ddof=1) / math.sqrt(len(array))
    return Interval(float(array.mean()), float(array.mean() - half), float(array.mean() + half), level, tuple(values))


def interval_over_scenes(values: Sequence[float], level: float = LEVEL, *, seed: int = 0) -> Interval:
    """Mean of one number a scene with a BCa bootstrap interval (Efron 1987). ParameterError for fewer than two scenes.

    BCa and not percentiles: a few hard scenes make such numbers skewed, and BCa moves its ends accordingly. Neither
    repairs a small sample: with fewer than about 20 scenes the interval is too narrow (of 95 % intervals over 6 scenes,
    85 to 88 in a hundred hold the true mean), which is why a statement asks the test, too. Values that are all equal
    give an interval without width: nothing in them tells how other scenes would differ.
    """
    array = _checked(values, "interval_over_scenes", "scenes", level)
    mean = float(array.mean())
    if np.ptp(array) <= SCALE_ROUNDING * np.abs(array).max():
        return Interval(mean, mean, mean, level, tuple(values))
    draws = np.random.default_rng(seed)
    # Resamples of the deviations: the interval moves with the values, and its sign turns with theirs.
    found = stats.bootstrap(
        (array - mean,), np.mean, confidence_level=level, n_resamples=RESAMPLES, method="BCa", rng=draws
    )
    low, high = (mean + float(end) for end in found.confidence_interval)
    return Interval(mean, low, high, level, tuple(values))


def mean_of_seeds(seeds: Sequence[SceneValues]) -> dict[str, float]:
    """The mean over seeds for each scene. DataError names the first scene that a seed lacks."""
    if not seeds or not seeds[0]:
        raise ParameterError(f"statistics: {len(seeds)} seeds without a scene, expected scores; give evaluations")
    for place, scores in enumerate(seeds):
        _require_same_scenes(seeds[0], scores, "seed 0", f"seed {place}")
    return {scene: fmean(scores[scene] for scores in seeds) for scene in seeds[0]}


def seed_scores(seeds: Sequence[SceneValues]) -> list[float]:
    """The mean over scenes for each seed: what `interval_over_seeds` takes."""
    mean_of_seeds(seeds)  # refuses seeds of different scenes, whose means would not compare
    return [fmean(scores.values()) for scores in seeds]


def paired_test(
    metric: str, first: Sequence[SceneValues], second: Sequence[SceneValues], *, seed: int = 0
) -> PairedTest:
    """Compare two methods scene by scene on one metric; each is a map from scene to value for every seed.

    The seeds of a scene are averaged first, so the test speaks of other scenes for these trainings, not of other
    trainings. Raises ParameterError for fewer than two scenes, DataError where the scenes of the two differ.
    """
    info = metric_info(metric)
    before, after = mean_of_seeds(first), mean_of_seeds(second)
    _require_same_scenes(before, after, "the first method", "the second")
    scenes = tuple(sorted(before))
    pairs = np.array([(before[scene], after[scene]) for scene in scenes])
    _checked(pairs, f"paired_test of {metric}", "scenes")
    differences = pairs[:, 1] - pairs[:, 0]
    differences[np.abs(differences) <= SCALE_ROUNDING * np.abs(pairs).max(axis=1)] = 0.0
    interval = interval_over_scenes(differences.tolist(), seed=seed)
    gains = differences if info.better == "higher" else -differences
    spread = float(differences.std(ddof=1))
    differ = np.ptp(differences) > SCALE_ROUNDING * np.abs(pairs).max()
    test = PairedTest(
        metric,
        scenes,
        interval,
        better=int((gains > 0).sum()),
        worse=int((gains < 0).sum()),
        tied=int((gains == 0).sum()),
        p_wilcoxon=_wilcoxon(differences),
        p_t=float(stats.ttest_1samp(differences, 0.0).pvalue) if differ else None,
        rank_correlation=_rank_correlation(gains),
        standardised=float(differences.mean()) / spread if differ else None,
    )
    return with_holm([test])[0]


def paired_tests(
    first: Mapping[str, Sequence[SceneValues]], second: Mapping[str, Sequence[SceneValues]], *, seed: int = 0
) -> tuple[PairedTest, ...]:
    """`paired_test` of every metric of `first`, with Holm's correction (1979) over all of them.

    Fix the metrics before looking at the numbers: a metric that cannot be tested counts in the family all the same.
    """
    missing = [metric for metric in first if metric not in second]
    if not first or missing:
        raise ParameterError(
            f"paired_tests: {len(first)} metrics, the second method lacks {missing}; give both the same, at least one"
        )
    return with_holm([paired_test(metric, first[metric], second[metric], seed=seed) for metric in first])


def with_holm(tests: Sequence[PairedTest]) -> tuple[PairedTest, ...]:
    """The tests as one family: corrected p-values, and whether any of them could have become significant."""
    count = len(tests)
    smallest = min(smallest_p(test.better + test.worse) for test in tests)
    p_values = [1.0 if test.p_wilcoxon is None else test.p_wilcoxon for test in tests]
    corrected, running = [1.0] * count, 0.0
    for rank, place in enumerate(np.argsort(p_values, kind="stable")):
        running = max(running, min(1.0, (count - rank) * p_values[place]))
        corrected[place] = running
    return tuple(
        replace(
            test,
            p_holm=None if test.p_wilcoxon is None else corrected[place],
            family=count,
            reachable=count * smallest <= 1 - LEVEL + SCALE_ROUNDING,
        )
        for place, test in enumerate(tests)
    )


def smallest_p(scenes: int) -> float:
    """The smallest two-sided p-value of the signed-rank test with so many scenes that differ: 2 / 2^scenes."""
    return min(1.0, 2.0 ** (1 - scenes))


def scenes_needed(family: int = 1) -> int:
    """How many scenes must differ before so many metrics together can reach significance: 6 for one, 8 for four."""
    return 1 + math.ceil(math.log2(family / (1 - LEVEL)) - SCALE_ROUNDING)


def _wilcoxon(differences: np.ndarray) -> float | None:
    """Tied scenes are left out (Wilcoxon's own treatment); None where too few are left for any significance."""
    differing = differences[differences != 0]
    if smallest_p(len(differing)) > 1 - LEVEL:
        return None
    return float(stats.wilcoxon(differing).pvalue)


def _rank_correlation(gains: np.ndarray) -> float:
    differing = gains[gains != 0]
    if not len(differing):
        return 0.0
    ranks = stats.rankdata(np.abs(differing))
    return float((ranks * np.sign(differing)).sum() / ranks.sum())


def _checked(values: Sequence[float] | np.ndarray, where: str, what: str, level: float = LEVEL) -> np.ndarray:
    array = np.asarray(values, dtype=float)
    if not 0 < level < 1:
        raise ParameterError(f"{where}: level {level}, expected between 0 and 1; 0.95 is usual")
    if not np.isfinite(array).all():
        raise ParameterError(f"{where}: {array[~np.isfinite(array)][0]} among the values of {len(array)} {what}, "
                             "expected finite numbers; leave out what was not scored, in all methods")  # fmt: skip
    if len(array) < 2:
        raise ParameterError(f"{where}: {len(array)} {what}, expected at least 2, one has no spread; evaluate more")
    return array


def _require_same_scenes(first: SceneValues, second: SceneValues, name: str, other: str) -> None:
    lone = sorted(first.keys() ^ second.keys())
    if lone:
        has, lacks = (name, other) if lone[0] in first else (other, name)
        raise DataError(f"statistics: scene {lone[0]} is scored by {has} and not by {lacks} ({len(lone)} such scenes), "
                        "expected the same scenes; evaluate both on one protocol")  # fmt: skip
