"""Several trainings of one method: means and intervals over seeds, differences by pairs, and what is said of them."""

import numpy as np
import pytest
from scipy import stats

from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.evaluation import difference_over_seeds, over_seeds, paired_tests
from pmgs_lib.evaluation.statements import count_sentence, pairing_sentence, seed_sentence, sentences, statement


def evaluation(psnr: float, *, scenes=("a", "b"), digest: str = "1", lpips: float | None = None) -> dict:
    means = {"psnr": psnr, "lpips": lpips}
    return {
        "means": {"overall": means, "inside": {"psnr": psnr + 1, "lpips": None}},
        "ledger": {"scored": list(scenes)},
        "settings": {"protocol_digest": digest},
    }


def test_means_and_intervals_are_students_of_every_split():
    values = [25.1, 25.9, 25.4]
    together = over_seeds([evaluation(value) for value in values])
    assert together.seeds == 3
    assert together.means["overall"]["psnr"] == pytest.approx(np.mean(values))
    assert together.means["inside"]["psnr"] == pytest.approx(np.mean(values) + 1)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert together.intervals["overall"]["psnr"] == pytest.approx((expected.low, expected.high))


def test_the_order_of_seeds_does_not_matter():
    values = [25.1, 25.9, 25.4]
    first, turned = (over_seeds([evaluation(v) for v in order]) for order in (values, values[::-1]))
    assert first.means["overall"]["psnr"] == pytest.approx(turned.means["overall"]["psnr"], abs=1e-12)
    assert first.intervals["overall"]["psnr"] == pytest.approx(turned.intervals["overall"]["psnr"], abs=1e-12)


def test_one_seed_has_no_interval():
    together = over_seeds([evaluation(25.0)])
    assert (together.means["overall"]["psnr"], together.intervals) == (25.0, {})


def test_a_number_that_one_seed_lacks_is_none_of_the_mean():
    together = over_seeds([evaluation(25.0, lpips=0.1), evaluation(26.0)])
    assert together.means["overall"] == {"psnr": 25.5, "lpips": None}
    assert set(together.intervals["overall"]) == {"psnr"}


@pytest.mark.parametrize(("other", "what"), [({"scenes": ("a", "c")}, "scenes"), ({"digest": "2"}, "protocol")])
def test_evaluations_that_do_not_compare_are_refused(other, what):
    with pytest.raises(DataError, match=f"evaluation 1 has other {what} than evaluation 0"):
        over_seeds([evaluation(25.0), evaluation(26.0, **other)])


def test_nothing_is_refused():
    with pytest.raises(ParameterError, match="no evaluations, expected one a seed"):
        over_seeds([])


def trainings(*scores: tuple[float, float]) -> list[dict[str, float]]:
    return [{"a": float(first), "b": float(second)} for first, second in scores]


class TestDifferences:
    def test_pairs_of_trainings_are_a_paired_t_interval(self):
        first, second = trainings((1, 2), (3, 5), (2, 2)), trainings((2, 2), (5, 6), (2, 5))
        found = difference_over_seeds(first, second)
        before, after = ([np.mean(list(s.values())) for s in side] for side in (first, second))
        expected = stats.ttest_rel(after, before).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
        assert found.values == pytest.approx(np.subtract(after, before))

    def test_swapped_it_changes_sign(self):
        first, second = trainings((1, 2), (3, 5)), trainings((2, 2), (5, 6.5))
        found, swapped = difference_over_seeds(first, second), difference_over_seeds(second, first)
        assert (found.mean, found.low, found.high) == pytest.approx((-swapped.mean, -swapped.high, -swapped.low))

    def test_what_all_trainings_of_a_pair_share_cancels(self):
        """A hard seed is hard for both arms: pairing by seed takes it out, two separate intervals would not."""
        shared, gain = np.array([0.0, 5.0, -4.0]), np.array([0.9, 1.0, 1.1])
        first = trainings(*((s, s) for s in shared))
        second = trainings(*((s, s) for s in shared + gain))
        found = difference_over_seeds(first, second)
        assert found.low > 0.7
        assert found.high < 1.3

    def test_other_numbers_of_seeds_are_refused(self):
        with pytest.raises(ParameterError, match="2 seeds against 1, expected as many"):
            difference_over_seeds(trainings((1, 2), (2, 3)), trainings((1, 2)))
        with pytest.raises(ParameterError, match="expected at least 2"):
            difference_over_seeds(trainings((1, 2)), trainings((1, 2)))


def overall(gains) -> tuple:
    """The test of overall_m, lower is better, where the second method gains so much in each scene."""
    first = {f"s{place}": 1.0 for place in range(len(gains))}
    second = {scene: 1.0 - gain for scene, gain in zip(first, gains, strict=True)}
    return paired_tests({"overall_m": [first]}, {"overall_m": [second]})[0]


class TestSentences:
    @pytest.mark.parametrize(
        ("gains", "sentence"),
        [
            ([-0.1, -0.2, -0.3], "With PM-Loss, Overall is better in none of the 3 scenes."),
            ([0.1, 0.2, 0.3], "With PM-Loss, Overall is better in all 3 scenes."),
            ([0.1, -0.2, 0.0], "With PM-Loss, Overall is better in 1 of the 3 scenes, 1 tied."),
        ],
    )
    def test_counts_are_a_sentence(self, gains, sentence):
        assert count_sentence(overall(gains), "PM-Loss") == sentence

    def test_it_says_what_is_paired_and_that_seeds_are_no_scenes(self):
        test = overall([0.1, -0.2, 0.3])
        assert pairing_sentence(test, "new", "old", 3) == (
            "Paired scene by scene, new minus old, each the mean over its 3 trainings; n = 3 scenes, however many "
            "trainings."
        )
        assert pairing_sentence(test, "new", "old", 1).endswith("each one training; n = 3 scenes.")

    def test_more_seeds_are_no_more_scenes(self):
        first = [{f"s{place}": 20.0 + seed for place in range(6)} for seed in range(5)]
        second = [{scene: value + 1 + 0.1 * int(scene[1:]) for scene, value in scores.items()} for scores in first]
        (one,) = paired_tests({"psnr": first[:1]}, {"psnr": second[:1]})
        (five,) = paired_tests({"psnr": first}, {"psnr": second})
        assert len(five.interval.values) == len(five.scenes) == 6
        assert five.p_wilcoxon == one.p_wilcoxon == pytest.approx(2 / 2**6)

    @pytest.mark.parametrize(
        ("second", "end"),
        [
            (((0.9, 0.9), (0.89, 0.89)), "all 2 have one sign, and the interval does not hold zero."),
            (((0.9, 0.9), (0.5, 0.5)), "all 2 have one sign, and the interval holds zero: other seeds may turn its "),
            (((0.9, 0.9), (1.2, 1.2)), "they differ in sign, and the interval holds zero: other seeds may turn its "),
        ],
    )
    def test_seeds_have_their_own_sentence(self, second, end):
        found = difference_over_seeds(trainings((1, 1), (1, 1)), trainings(*second))
        said = seed_sentence("overall_m", found, "PM-Loss", "plain")
        assert said.startswith("Over 2 pairs of trainings with one seed each, PM-Loss minus plain in Overall is ")
        assert "(95 % interval, Student's t, n = 2); " in said
        assert end in said

    def test_together_they_are_three_or_four(self):
        test, found = (
            overall([0.1, -0.2, 0.3]),
            difference_over_seeds(trainings((1, 1), (2, 2)), trainings((1, 2), (2, 3))),
        )
        alone = sentences(test, "new", "old")
        assert alone == (
            count_sentence(test, "new"),
            f"{statement(test, 'new', 'old').text}.",
            pairing_sentence(test, "new", "old", 1),
        )
        several = sentences(test, "new", "old", seeds=2, difference=found)
        assert several[3] == seed_sentence("overall_m", found, "new", "old")
        assert all(said[0].isupper() and said.endswith(".") and not said.endswith("..") for said in several)
