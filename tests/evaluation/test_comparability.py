"""What may not stand beside a published number says so, and wrong data are refused before anything is computed."""

from dataclasses import dataclass, field

import pytest
import torch

from pmgs_lib.data.protocols import Protocol
from pmgs_lib.data.resize import EXACT, IMAGE_RULES, ImageRule
from pmgs_lib.errors import DataError, ParameterError, RunError
from pmgs_lib.evaluation import evaluate
from pmgs_lib.evaluation.lpips import LpipsUnavailable
from pmgs_lib.evaluation.methods import Method, MethodOutput, NearestInput
from pmgs_lib.suite.tables import Column, ResultRow, results_table

NO_LPIPS = LpipsUnavailable("LPIPS not computed: weights are absent", "put them there")
PSNR = Column("psnr")


class Darker(Method):
    """The truth at 0.9 of its brightness; counts how often it is asked."""

    name = "darker"

    def __init__(self, brightness: float = 0.9) -> None:
        self.brightness, self.calls = brightness, 0

    def __call__(self, example):
        self.calls += 1
        return MethodOutput(example.target.images * self.brightness)


@dataclass
class Shelf:
    """A dataset that can say which scenes it holds and by which image rule it shows them."""

    planes: object
    held: tuple[str, ...]
    images: ImageRule = EXACT
    root: str = "shelf/planes"
    opened: list[str] = field(default_factory=list)

    def stored_key(self, key):
        return key if key in self.held else None

    def example(self, key, *arguments):
        self.opened.append(key)
        return self.planes.example(key, *arguments)


def score(data, protocol, method=None, **options):
    return evaluate(method or Darker(), data, protocol, lpips_network=NO_LPIPS, **options)


def table(*results):
    rows = [ResultRow.from_metrics(result.to_json(), method=f"method {i}") for i, result in enumerate(results)]
    return results_table(rows, [PSNR])


@pytest.fixture
def keys():
    return [f"s{number}" for number in range(12)]


def test_a_whole_result_is_comparable_and_carries_no_mark(dataset, protocol, keys):
    result = score(dataset(), protocol(*keys))
    assert result.settings.comparable
    assert result.to_json()["comparable"] is True
    assert "NOT COMPARABLE" not in table(result).text


def test_every_nth_scene_is_scored_marked_and_never_best(dataset, protocol, keys):
    part = score(dataset(), protocol(*keys).every(4), Darker(0.99))
    whole = [score(dataset(), protocol(*keys), Darker(brightness)) for brightness in (0.9, 0.8)]
    content = part.to_json()
    assert content["ledger"] == {"listed": 3, "scored": ["s0", "s4", "s8"], "skipped": []}
    assert content["comparable"] is False
    assert content["settings"]["not_comparable"] == "every 4th scene"
    shown = table(part, *whole)
    assert "method 0 (NOT COMPARABLE)" in shown.text
    assert "method 0: NOT COMPARABLE: every 4th scene" in shown.text
    best = whole[0].means["overall"]["psnr"]
    assert part.means["overall"]["psnr"] > best
    assert shown.html.count("<b>") == 1
    assert f"<b>{best:.2f}</b>" in shown.html
    assert shown.html.count("NOT COMPARABLE") == 2


def test_data_that_lack_scenes_are_refused_before_anything_is_opened(dataset, protocol, keys):
    data, method = Shelf(dataset(), ("s0", "s5")), Darker()
    with pytest.raises(
        DataError, match=r"lacks 10 of the 12 scenes of protocol planes: \['s1', 's2', 's3', 's4'\] and 6"
    ):
        score(data, protocol(*keys), method)
    assert (data.opened, method.calls) == ([], 0)


def test_the_scenes_that_are_there_may_be_scored_with_the_mark(dataset, protocol, keys):
    result = score(Shelf(dataset(), ("s0", "s5")), protocol(*keys), allow_missing=True)
    ledger = result.to_json()["ledger"]
    assert ledger["scored"] == ["s0", "s5"]
    assert len(ledger["skipped"]) == 10
    assert {entry["reason"] for entry in ledger["skipped"]} == {"absent from the data"}
    assert result.settings.not_comparable == "2 of 12 scenes scored"
    shown = table(result).text
    assert "skipped s1, s2, s3, s4, s6, s7 and 4 more: absent from the data" in shown
    both = score(Shelf(dataset(), ("s0",)), protocol(*keys).every(4), allow_missing=True)
    assert both.settings.not_comparable == "every 4th scene; 1 of 3 scenes scored"
    with pytest.raises(DataError, match="lacks 12 of the 12"):
        score(Shelf(dataset(), ()), protocol(*keys), allow_missing=True)


def test_a_damaged_scene_costs_the_result_its_comparability(dataset, protocol, keys):
    result = score(dataset(damaged=("s3",)), protocol(*keys))
    assert result.settings.not_comparable == "11 of 12 scenes scored"


def test_scenes_listed_without_frames_are_counted_and_cost_nothing(dataset, protocol):
    content = protocol("a", "b").model_dump() | {"unscorable": ("c", "d")}
    whole = Protocol.build(content | {"expected": content["expected"] | {"unscorable": 2}}, "p")
    result = score(Shelf(dataset(), ("a", "b")), whole)
    ledger = result.to_json()["ledger"]
    assert (ledger["listed"], ledger["scored"]) == (4, ["a", "b"])
    assert ledger["skipped"] == [
        {"scene": key, "reason": "the published index lists it without frames"} for key in ("c", "d")
    ]
    assert result.settings.comparable


def test_data_opened_by_another_image_rule_are_refused(dataset, protocol):
    wrong = Shelf(dataset(), ("a",), images=IMAGE_RULES["pm-loss"])
    with pytest.raises(
        ParameterError, match=r"protocol planes: .*'pm-loss'.* expected .*'exact'.*images=protocol.images"
    ):
        score(wrong, protocol("a"))
    assert wrong.opened == []
    named = protocol("a").model_copy(update={"image_rule": "pm-loss"})
    assert score(wrong, named).settings.comparable


@pytest.mark.parametrize(("near", "far", "name"), [(0.5, 10.0, "near"), (1.0, 200.0, "far")])
def test_data_opened_with_another_depth_range_are_refused(dataset, protocol, near, far, name):
    other = protocol("a").model_copy(update={"near": near, "far": far})
    with pytest.raises(
        ParameterError,
        match=rf"{name} of scene 'a' is (1|10), protocol planes wants {near if name == 'near' else far:g}",
    ):
        score(dataset(), other)
    assert score(dataset(), protocol("a").model_copy(update={"near": 1.0, "far": 10.0})).settings.comparable


@pytest.fixture
def published(protocol):
    """Targets as published protocols have them: all frames of the span, context frames among them."""
    views = {"context": (0, 2, 4), "inside": (1, 3), "outside": (5,), "at_context": (0, 4)}
    content = protocol("a", "b").model_dump()
    return Protocol.build(
        content | {"views": views, "expected": {"scenes": 2, "inside": 4, "outside": 2, "at_context": 4}}, "p"
    )


def test_targets_at_context_frames_are_scored_and_told_apart(dataset, published):
    result = score(dataset(), published)
    frame = result.to_frame()
    assert list(zip(frame["view"], frame.split, strict=True))[:5] == [
        (1, "inside"),
        (3, "inside"),
        (5, "outside"),
        (0, "at_context"),
        (4, "at_context"),
    ]
    # Published rows average over all targets of a scene, context frames included.
    assert result.means["overall"]["psnr"] == pytest.approx(frame.groupby("scene").psnr.mean().mean())
    for split in ("inside", "outside", "at_context"):
        expected = frame[frame.split == split].groupby("scene").psnr.mean().mean()
        assert result.means[split]["psnr"] == pytest.approx(expected)
    rows = [ResultRow.from_metrics(result.to_json())]
    assert "at context" in results_table(rows, [Column("psnr", "at_context")]).text


def test_means_of_a_protocol_without_such_targets_name_none(dataset, protocol):
    assert set(score(dataset(), protocol("a")).means) == {"overall", "inside", "outside"}


def test_a_context_frame_that_is_copied_has_no_finite_psnr_and_is_said_to_be_left_out(dataset, published):
    result = score(dataset(), published, NearestInput())
    frame = result.to_frame()
    assert frame[frame.split == "at_context"].psnr.isna().all()
    assert frame[frame.split == "at_context"].ssim.min() > 0.999
    others = frame[frame.split != "at_context"].groupby("scene").psnr.mean().mean()
    assert result.means["overall"]["psnr"] == pytest.approx(others)
    assert list(result.missing["psnr"].values()) == [2]
    assert "copied exactly" in table(result).text


def test_an_infinite_psnr_elsewhere_still_stops(dataset, published):
    with pytest.raises(RunError, match="psnr is inf"):
        score(dataset(), published, Darker(1.0))


def test_not_a_number_at_a_context_frame_still_stops(dataset, published):
    class Blind(Darker):
        def __call__(self, example):
            color = example.target.images.clone() * 0.9
            color[3] = torch.nan
            return MethodOutput(color)

    with pytest.raises(RunError, match="a, view 0: psnr is nan"):
        score(dataset(), published, Blind())
