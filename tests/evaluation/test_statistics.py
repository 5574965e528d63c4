"""Intervals and paired tests: against scipy, under swap, in degenerate cases, and by how often they are right."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.evaluation.statements import difference_text, statement
from pmgs_lib.evaluation.statistics import (
    interval_over_scenes,
    interval_over_seeds,
    mean_of_seeds,
    paired_test,
    paired_tests,
    scene_values,
    scenes_needed,
    seed_scores,
    smallest_p,
    with_holm,
)


def scores(values) -> dict[str, float]:
    return {f"scene-{place:03d}": float(value) for place, value in enumerate(values)}


def two_methods(count: int, gain: float, seed: int = 0, spread: float = 0.1):
    draws = np.random.default_rng(seed)
    first = draws.normal(25, 3, count)
    return [scores(first)], [scores(first + gain + draws.normal(0, spread, count))]


def differences(first, second) -> np.ndarray:
    return np.array([second[0][scene] - first[0][scene] for scene in first[0]])


def test_the_seed_interval_is_students():
    values = np.random.default_rng(0).normal(26, 0.3, 4)
    interval = interval_over_seeds(values.tolist())
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), rel=1e-12)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.values == tuple(values)


def test_the_scene_interval_is_scipys_bca():
    values = np.random.default_rng(1).exponential(1, 15)
    draws = np.random.default_rng(5)
    expected = stats.bootstrap((values,), np.mean, method="BCa", n_resamples=9999, rng=draws).confidence_interval
    interval = interval_over_scenes(values.tolist(), seed=5)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert interval == interval_over_scenes(values.tolist(), seed=5)
    assert interval.high - interval.mean > interval.mean - interval.low  # leans to the long tail


@pytest.mark.parametrize("interval_of", [interval_over_seeds, interval_over_scenes])
def test_intervals_move_and_turn_with_their_values(interval_of):
    values = np.random.default_rng(2).exponential(1, 9)
    interval = interval_of(values.tolist())
    moved, turned = interval_of((10 + 3 * values).tolist()), interval_of((-values).tolist())
    # A resample that equals the sample up to the order of its sum may fall on either side of the bootstrap's middle.
    near = {"abs": 1e-3 if interval_of is interval_over_scenes else 1e-9}
    assert (moved.low, moved.high) == pytest.approx((10 + 3 * interval.low, 10 + 3 * interval.high), **near)
    assert (turned.low, turned.high) == pytest.approx((-interval.high, -interval.low), **near)
    narrow = interval_of(values.tolist(), 0.8)
    assert interval.low < narrow.low < narrow.mean < narrow.high < interval.high


@pytest.mark.parametrize("count", [6, 12, 60])
def test_the_paired_tests_are_scipys(count):
    first, second = two_methods(count, 0.05)
    test, delta = paired_test("psnr", first, second), differences(first, second)
    assert test.p_wilcoxon == pytest.approx(stats.wilcoxon(delta).pvalue, rel=1e-12)
    assert test.p_t == pytest.approx(stats.ttest_rel(second_values(second), second_values(first)).pvalue, rel=1e-6)
    assert test.standardised == pytest.approx(delta.mean() / delta.std(ddof=1))
    assert (test.better, test.worse, test.tied) == ((delta > 0).sum(), (delta < 0).sum(), 0)
    assert test.interval.values == pytest.approx(delta)
    assert test.p_holm == test.p_wilcoxon


def second_values(method) -> list[float]:
    return list(method[0].values())


@pytest.mark.parametrize("metric", ["psnr", "lpips"])
def test_swapping_the_methods_turns_every_sign(metric):
    first, second = two_methods(12, 0.1)
    forth, back = paired_test(metric, first, second), paired_test(metric, second, first)
    assert (forth.p_wilcoxon, forth.p_t) == pytest.approx((back.p_wilcoxon, back.p_t))
    assert (forth.better, forth.worse) == (back.worse, back.better)
    assert forth.rank_correlation == pytest.approx(-back.rank_correlation)
    assert (forth.interval.low, forth.interval.high) == pytest.approx((-back.interval.high, -back.interval.low))
    verdicts = {statement(forth, "a", "b").verdict, statement(back, "b", "a").verdict}
    assert verdicts == {"helps", "hurts"}


def test_lower_is_better_where_the_metric_says_so():
    first, second = two_methods(20, -0.5)
    assert statement(paired_test("lpips", first, second), "new", "old").verdict == "helps"
    assert statement(paired_test("psnr", first, second), "new", "old").verdict == "hurts"
    assert paired_test("lpips", first, second).better == paired_test("psnr", first, second).worse == 20
    assert paired_test("lpips", first, second).rank_correlation == 1.0


def test_order_of_scenes_does_not_count():
    first, second = two_methods(8, 0.1)
    shuffled = [dict(reversed(second[0].items()))]
    assert paired_test("psnr", first, shuffled) == paired_test("psnr", first, second)


def test_seeds_are_averaged_before_scenes_are_counted():
    first, second = two_methods(7, 0.1)
    three = [{scene: value + step for scene, value in second[0].items()} for step in (-0.2, 0.0, 0.2)]
    together, once = paired_test("psnr", first * 2, three), paired_test("psnr", first, second)
    assert together.interval.values == pytest.approx(once.interval.values)
    assert together.p_wilcoxon == once.p_wilcoxon
    assert seed_scores(three) == pytest.approx([np.mean(second_values(second)) + step for step in (-0.2, 0, 0.2)])


def test_ties_are_left_out_of_the_test_and_counted():
    first = [scores([20.0] * 10)]
    second = [scores([20.0, 20.0, *(20.1 + 0.1 * step for step in range(7)), 19.99])]
    test = paired_test("psnr", first, second)
    delta = differences(first, second)
    assert (test.better, test.worse, test.tied) == (7, 1, 2)
    assert test.p_wilcoxon == pytest.approx(stats.wilcoxon(delta[delta != 0]).pvalue)
    assert test.rank_correlation == pytest.approx((36 - 2 * 1) / 36)
    assert "7 of 10 scenes (2 tied)" in statement(test, "new", "old").text


def test_two_equal_methods_are_said_to_be_equal():
    first, _ = two_methods(9, 0.0)
    noise = [{scene: value * (1 + 1e-16) for scene, value in first[0].items()}]
    for second in (first, noise):
        test = paired_test("psnr", first, second)
        assert (test.tied, test.p_wilcoxon, test.p_t, test.standardised, test.rank_correlation) == (
            9,
            None,
            None,
            None,
            0,
        )
        assert (test.interval.low, test.interval.high) == (0, 0)
        said = statement(test, "new", "old")
        assert said.verdict == "no difference shown"
        assert said.text == (
            "No difference shown in PSNR between new and old: +0.00 dB [+0.00, +0.00], better in 0 of 9 scenes "
            "(9 tied), equal in every scene, nothing to test"
        )


def test_the_same_gain_in_every_scene_has_no_spread_but_a_sign():
    first = [scores([20, 21, 22, 23, 24, 25, 26])]
    second = [{scene: value + 0.5 for scene, value in first[0].items()}]
    test = paired_test("psnr", first, second)
    assert test.p_t is None
    assert test.p_wilcoxon == pytest.approx(smallest_p(7))
    assert statement(test, "new", "old").verdict == "helps"


@pytest.mark.parametrize("count", range(2, 12))
def test_no_p_value_is_smaller_than_said(count):
    delta = np.arange(1, count + 1) / 10
    assert stats.wilcoxon(delta).pvalue == pytest.approx(smallest_p(count))
    test = paired_test("psnr", [scores(np.zeros(count) + 20)], [scores(20 + delta)])
    assert (test.p_wilcoxon is None) == (count < scenes_needed())
    assert (statement(test, "new", "old").verdict == "helps") == (count >= 6)


@pytest.mark.parametrize(("family", "needed"), [(1, 6), (2, 7), (3, 7), (4, 8), (12, 9)])
def test_a_family_of_metrics_needs_more_scenes(family, needed):
    assert scenes_needed(family) == needed
    metrics = ("psnr", "ssim", "abs_rel", "delta1")[:family]
    for count in (needed - 1, needed) if family <= 4 else ():
        first, second = two_methods(count, 5.0)
        tests = paired_tests(dict.fromkeys(metrics, first), dict.fromkeys(metrics, second))
        assert {test.reachable for test in tests} == {count == needed}
        said = statement(tests[0], "new", "old")
        assert (said.verdict == "helps") == (count == needed)
        assert ("too few to reach p = 0.05" in said.text) == (count < needed)


def test_holm_is_the_step_down_of_its_paper():
    first, second = two_methods(30, 0.0)
    plain = paired_test("psnr", first, second)
    family = [replace(plain, p_wilcoxon=p) for p in (0.01, 0.04, 0.03, 0.005, None)]
    corrected = [test.p_holm for test in with_holm(family)]
    assert corrected[:4] == pytest.approx([0.04, 0.09, 0.09, 0.025])
    assert corrected[4] is None


def test_the_sentence_of_a_report():
    first = [scores([25.0] * 8)]
    second = [scores(25 + np.array([0.3, 0.2, 0.25, 0.1, 0.15, 0.05, 0.12, -0.02]))]
    test = paired_test("psnr", first, second)
    text = statement(test, "PM-Loss", "plain").text
    assert text.startswith("PM-Loss helps PSNR: +0.14 dB [+0.0")
    assert text.endswith("better in 7 of 8 scenes, p = 0.016 (Wilcoxon)")
    assert "worse in 7 of 8 scenes" in statement(paired_test("psnr", second, first), "a", "b").text
    tests = paired_tests({"psnr": first, "ssim": first}, {"psnr": second, "ssim": second})
    assert "p = 0.031 (Wilcoxon, Holm over 2 metrics)" in statement(tests[0], "PM-Loss", "plain").text


def test_a_small_effect_keeps_its_digits():
    first, second = two_methods(10, 1e-4, spread=1e-5)
    text = difference_text(paired_test("abs_rel", first, second))
    assert text == "+0.000095 [+0.000089, +0.000100]"


def test_an_interval_about_zero_is_no_difference():
    first, second = two_methods(40, 0.0, seed=3)
    said = statement(paired_test("psnr", first, second), "new", "old")
    assert said.verdict == "no difference shown"
    assert said.text.startswith("No difference shown in PSNR between new and old: ")


def test_scene_values_come_from_an_evaluations_rows():
    result = {
        "scenes": [{"scene": "a", "overall_m": 0.5}, {"scene": "b", "overall_m": None}, {"scene": "c"}],
        "targets": [{"scene": "a", "psnr": 20.0}, {"scene": "a", "psnr": 22.0}, {"scene": "b", "psnr": 30.0}],
    }
    assert scene_values(result, "psnr") == {"a": 21.0, "b": 30.0}
    assert scene_values(result, "overall_m") == {"a": 0.5}
    with pytest.raises(ParameterError, match="no metric is called 'psrn'"):
        scene_values(result, "psrn")


BASE = {"a": 1.0, "b": 2.0, "c": 3.0}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: interval_over_seeds([1.0]), ParameterError, "interval_over_seeds: 1 seeds, expected at least 2"),
        (lambda: interval_over_scenes([]), ParameterError, "interval_over_scenes: 0 scenes, expected at least 2"),
        (lambda: interval_over_scenes([1.0, math.nan]), ParameterError, "nan among the values of 2 scenes"),
        (lambda: interval_over_seeds([1.0, 2.0], 95.0), ParameterError, r"level 95.0, expected between 0 and 1"),
        (lambda: mean_of_seeds([]), ParameterError, "0 seeds without a scene"),
        (lambda: mean_of_seeds([BASE, {"a": 1.0}]), DataError, r"scene b is scored by seed 0 and not by seed 1 \(2 "),
        (lambda: paired_test("psnr", [BASE], [{**BASE, "d": 1.0}]), DataError, "d is scored by the second and not by"),
        (lambda: paired_test("psnr", [BASE], [BASE | {"a": math.inf}]), ParameterError, "psnr: inf among the values"),
        (lambda: paired_test("psnr", [{"a": 1.0}], [{"a": 2.0}]), ParameterError, "1 scenes, expected at least 2"),
        (lambda: paired_test("nicer", [BASE], [BASE]), ParameterError, "no metric is called 'nicer'"),
        (lambda: paired_tests({}, {}), ParameterError, "0 metrics"),
        (lambda: paired_tests({"psnr": [BASE]}, {}), ParameterError, r"lacks \['psnr'\]"),
    ],
)
def test_what_cannot_be_answered_is_refused(call, error, message):
    with pytest.raises(error, match=message) as fault:
        call()
    assert "\n" not in str(fault.value)


def coverage(interval_of, draw, truth: float, rounds: int) -> float:
    """Share of intervals that hold the true mean."""
    draws = np.random.default_rng(11)
    found = [interval_of(draw(draws).tolist()) for _ in range(rounds)]
    return float(np.mean([interval.low <= truth <= interval.high for interval in found]))


@pytest.mark.prove
def test_intervals_hold_the_truth_as_often_as_they_say():
    """Within three standard errors of 600 rounds; what small samples cost is what the docstring says."""
    assert coverage(interval_over_seeds, lambda d: d.normal(2, 1, 3), 2, 600) == pytest.approx(0.95, abs=0.027)
    assert coverage(interval_over_scenes, lambda d: d.normal(2, 1, 60), 2, 600) == pytest.approx(0.95, abs=0.03)
    assert coverage(interval_over_scenes, lambda d: d.exponential(1, 140), 1, 600) == pytest.approx(0.95, abs=0.03)
    assert 0.82 < coverage(interval_over_scenes, lambda d: d.normal(2, 1, 6), 2, 600) < 0.92


@pytest.mark.prove
def test_no_effect_is_called_one_no_more_often_than_said():
    """Four metrics without an effect: at most 5 in 100 families hold a verdict; with an effect most are found."""
    metrics = ("psnr", "ssim", "abs_rel", "delta1")

    def verdicts(gain: float, seed: int) -> set[str]:
        pairs = {metric: two_methods(12, gain, 10 * seed + place) for place, metric in enumerate(metrics)}
        tests = paired_tests({m: a for m, (a, _) in pairs.items()}, {m: b for m, (_, b) in pairs.items()})
        return {statement(test, "new", "old").verdict for test in tests}

    rounds = 150
    false = sum(verdicts(0.0, seed) != {"no difference shown"} for seed in range(rounds))
    assert false / rounds <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / rounds)
    assert sum("helps" in verdicts(0.15, seed) for seed in range(20)) >= 18
