"""What paired tests and intervals over seeds let one say about a method, in sentences for a report."""

import math
from dataclasses import dataclass
from typing import Literal

from pmgs_lib.evaluation.metrics import MetricInfo
from pmgs_lib.evaluation.statistics import LEVEL, Interval, PairedTest, metric_info, scenes_needed

Verdict = Literal["helps", "hurts", "no difference shown"]


@dataclass(frozen=True)
class Statement:
    """The verdict of a paired test and its sentence."""

    verdict: Verdict
    text: str


def statement(test: PairedTest, method: str, baseline: str) -> Statement:
    """The sentence for the report: `method` was the second of the test, `baseline` the first.

    "helps" or "hurts" takes both a corrected p-value of at most 1 - LEVEL and an interval on one side of zero; else
    "no difference shown", which says nothing about there being none.
    """
    label = test.info.label
    if not _is_shown(test):
        text = f"No difference shown in {label} between {method} and {baseline}: {_evidence(test, 'better')}"
        return Statement("no difference shown", text)
    if (test.interval.mean > 0) == (test.info.better == "higher"):
        return Statement("helps", f"{method} helps {label}: {_evidence(test, 'better')}")
    return Statement("hurts", f"{method} hurts {label}: {_evidence(test, 'worse')}")


def sentences(
    test: PairedTest, method: str, baseline: str, *, seeds: int = 1, difference: Interval | None = None
) -> tuple[str, ...]:
    """All that is to be said of a metric: in how many scenes, the statement, what is paired, and what seeds show.

    seeds: trainings of each method; difference: over them, of `evaluation.seeds.difference_over_seeds`, where there is
    more than one.
    """
    said = (
        count_sentence(test, method),
        f"{statement(test, method, baseline).text}.",
        pairing_sentence(test, method, baseline, seeds),
    )
    return said if difference is None else (*said, seed_sentence(test.metric, difference, method, baseline))


def count_sentence(test: PairedTest, method: str) -> str:
    """In how many scenes the method is better: "With PM-Loss, Overall is better in none of the 6 scenes"."""
    count, tied = len(test.scenes), f", {test.tied} tied" if test.tied else ""
    where = {0: f"none of the {count}", count: f"all {count}"}.get(test.better, f"{test.better} of the {count}")
    return f"With {method}, {test.info.label} is better in {where} scenes{tied}."


def pairing_sentence(test: PairedTest, method: str, baseline: str, seeds: int) -> str:
    """What the test pairs, and its n. seeds: trainings of each method."""
    value = f"the mean over its {seeds} trainings" if seeds > 1 else "one training"
    rest = ", however many trainings" if seeds > 1 else ""
    return f"Paired scene by scene, {method} minus {baseline}, each {value}; n = {len(test.scenes)} scenes{rest}."


def seed_sentence(metric: str, difference: Interval, method: str, baseline: str) -> str:
    """What other trainings would show. difference: of `evaluation.seeds.difference_over_seeds`."""
    info, count = metric_info(metric), len(difference.values)
    signs = {value > 0 for value in difference.values}
    agree = f"all {count} have one sign" if len(signs) == 1 else "they differ in sign"
    sure = "does not hold zero" if not difference.holds_zero else "holds zero: other seeds may turn its sign"
    return (
        f"Over {count} pairs of trainings with one seed each, {method} minus {baseline} in {info.label} is "
        f"{_difference(difference, info)} ({100 * difference.level:g} % interval, Student's t, n = {count}); {agree}, "
        f"and the interval {sure}."
    )


def difference_text(test: PairedTest) -> str:
    """Mean difference with its interval: "+0.12 dB [+0.03, +0.21]"."""
    return _difference(test.interval, test.info)


def _difference(interval: Interval, info: MetricInfo) -> str:
    size = max(abs(interval.mean), interval.high - interval.low)
    # Small effects need more decimals than scores do, or they would all read 0.00.
    digits = max(info.digits, 1 - math.floor(math.log10(size))) if size > 0 else info.digits
    mean, low, high = (f"{value:+.{digits}f}" for value in (interval.mean, interval.low, interval.high))
    return f"{mean}{f' {info.unit}' if info.unit else ''} [{low}, {high}]"


def _is_shown(test: PairedTest) -> bool:
    return test.p_holm is not None and test.p_holm <= 1 - LEVEL and not test.interval.holds_zero


def _evidence(test: PairedTest, side: Literal["better", "worse"]) -> str:
    count = test.better if side == "better" else test.worse
    tied = f" ({test.tied} tied)" if test.tied else ""
    return f"{difference_text(test)}, {side} in {count} of {len(test.scenes)} scenes{tied}, {_test_text(test)}"


def _test_text(test: PairedTest) -> str:
    differing = test.better + test.worse
    how = f"Wilcoxon, Holm over {test.family} metrics" if test.family > 1 else "Wilcoxon"
    if not differing:
        return "equal in every scene, nothing to test"
    if test.p_holm is None or not test.reachable:
        return (
            f"not tested: {differing} differing scenes are too few to reach p = {1 - LEVEL:.2f} ({how}), "
            f"{scenes_needed(test.family)} are needed"
        )
    return f"{'p < 0.001' if test.p_holm < 0.001 else f'p = {test.p_holm:.3f}'} ({how})"
