"""Laws of the samplers, and the draws, schedules and orders that were recorded from released code."""

import itertools
import json
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pmgs_lib.data.sampling import SAMPLERS, BoundedSampler, build_sampler, draw_generator, spread_frames
from pmgs_lib.data.sampling.bounded_v2 import farthest_points, released_order
from pmgs_lib.data.sampling.schedule import GapRange
from pmgs_lib.errors import DataError, ParameterError

RE10K_GAPS = GapRange((25, 45), (45, 135), 30_000)
DL3DV_GAPS = GapRange((15, 30), (20, 50), 10_000)
QUICK = settings(max_examples=60, deadline=None)


def walk(frames: int, seed: int = 0) -> torch.Tensor:
    """Camera centres of a path that wanders."""
    return torch.randn(frames, 3, generator=torch.Generator().manual_seed(seed)).cumsum(0)


@pytest.fixture
def recorded(parity):
    return np.load(parity / "depthsplat" / "units_main.npz")


@pytest.fixture
def schedules(parity):
    return json.loads((parity / "depthsplat" / "units_main.json").read_text())


# --- frames spread evenly ---


@pytest.mark.parametrize("first", [0, 4])
@pytest.mark.parametrize("length", [1, 2, 7, 12])
def test_frames_are_different_even_and_hold_both_ends(first, length):
    for count in range(2, length + 2):
        frames = spread_frames(first, first + length, count)
        steps = [after - before for before, after in itertools.pairwise(frames)]
        assert (len(frames), frames[0], frames[-1]) == (count, first, first + length)
        assert 1 <= min(steps) <= max(steps) <= min(steps) + 2


@pytest.mark.parametrize(("first", "last", "count"), [(0, 5, 1), (0, 5, 7), (5, 5, 2), (5, 0, 2)])
def test_what_cannot_be_spread_is_refused(first, last, count):
    with pytest.raises(ParameterError, match=f"{count} frames from {first} to {last}"):
        spread_frames(first, last, count)


# --- recorded from released code ---


@pytest.mark.parametrize(
    ("name", "gaps"), [("bounded_re10k_gap_range", RE10K_GAPS), ("boundedv2_360_gap_range_default", DL3DV_GAPS)]
)
def test_gaps_grow_as_recorded(schedules, name, gaps):
    assert {step: list(gaps.at(int(step))) for step in schedules[name]} == schedules[name]


@pytest.mark.parametrize("count", [2, 3, 4, 6])
def test_farthest_points_are_those_recorded(recorded, count):
    positions = torch.from_numpy(recorded["fps/positions"])
    assert farthest_points(positions, count) == tuple(recorded[f"fps/index_n{count}"])
    sampler = build_sampler("bounded-v2", gap=GapRange.constant(59, 59), views=(count, count), ascending=False)
    context, _ = sampler.sample(60, draw_generator(0, 0, 0), centers=positions)
    assert context == tuple(recorded[f"boundedv2/context_n{count}_fullgap"])
    ascending = build_sampler("bounded-v2", gap=GapRange.constant(59, 59), views=(count, count))
    assert ascending.sample(60, draw_generator(0, 0, 0), centers=positions)[0] == tuple(sorted(context))


def test_the_released_order_is_first_found_then_sorted_then_last_found():
    assert released_order((0, 47, 16, 59, 27, 8)) == (0, 16, 27, 47, 59, 8)
    assert released_order((7, 3)) == (7, 3)


# --- schedules ---


@QUICK
@given(st.integers(1, 40), st.integers(0, 60), st.integers(0, 30), st.integers(0, 90), st.integers(1, 5000))
def test_a_range_never_shrinks_and_ends_where_it_should(low, width, more, wider, steps):
    gaps = GapRange((low, low + width), (low + more, low + width + more + wider), steps)
    seen = [gaps.at(step) for step in sorted({0, 1, steps // 3, steps // 2, steps - 1, steps, steps + 1, 10 * steps})]
    assert seen[0] == gaps.first
    assert seen[-1] == seen[-2] == gaps.last
    assert all(a[0] <= b[0] and a[1] <= b[1] for a, b in itertools.pairwise(seen))
    assert all(a <= b for a, b in seen)


@pytest.mark.parametrize(
    ("first", "last", "steps"), [((5, 4), (6, 9), 1), ((5, 9), (4, 9), 1), ((5, 9), (5, 8), 1), ((-1, 4), (2, 4), 1)]
)
def test_a_range_that_shrinks_is_refused(first, last, steps):
    with pytest.raises(ParameterError, match="GapRange"):
        GapRange(first, last, steps)
    with pytest.raises(ParameterError, match="GapRange"):
        GapRange((1, 2), (1, 2), -1)


# --- farthest points ---


@QUICK
@given(st.integers(1, 30), st.integers(0, 1000), st.data())
def test_farthest_points_are_different_and_each_is_the_farthest_left(points, seed, data):
    count = data.draw(st.integers(1, points))
    places = walk(points, seed)
    chosen = farthest_points(places, count)
    assert len(set(chosen)) == count
    assert int((places - places.mean(0)).square().sum(-1).argmax()) == chosen[0]
    distance = torch.cdist(places.double(), places.double())
    for number in range(1, count):
        to_chosen = distance[:, list(chosen[:number])].amin(1)
        assert to_chosen[chosen[number]] == pytest.approx(to_chosen.max().item(), rel=1e-5)
    assert farthest_points(places, points)[:count] == chosen


def test_points_that_coincide_are_still_different_points():
    assert sorted(farthest_points(torch.zeros(5, 3), 5)) == [0, 1, 2, 3, 4]
    with pytest.raises(ParameterError, match="6 of 5 points"):
        farthest_points(torch.zeros(5, 3), 6)


# --- the bounded samplers ---


@QUICK
@given(st.integers(26, 300), st.integers(0, 50_000), st.integers(0, 10_000), st.integers(0, 9))
def test_bounded_draws_keep_the_range_of_their_step(frames, step, index, beyond):
    sampler = build_sampler("bounded", gap=RE10K_GAPS, targets=4, beyond=beyond)
    low, high = RE10K_GAPS.at(step)
    if frames - 1 < low:
        with pytest.raises(DataError, match=f"s1: {frames} frames are too few for a context gap of {low}"):
            sampler.sample(frames, draw_generator(0, 0, index), "s1", step=step)
        return
    (first, last), target = sampler.sample(frames, draw_generator(0, 0, index), step=step)
    assert 0 <= first < last < frames
    assert low <= last - first <= min(high, frames - 1)
    assert len(target) == 4
    assert all(max(0, first - beyond) <= frame <= min(frames - 1, last + beyond) for frame in target)


def test_bounded_draws_are_uniform_and_may_repeat_and_meet_the_context():
    sampler = build_sampler("bounded", gap=GapRange.constant(2, 5))
    draws = [sampler.sample(9, draw_generator(3, 0, index)) for index in range(6000)]
    gaps = Counter(last - first for (first, last), _ in draws)
    assert set(gaps) == {2, 3, 4, 5}
    assert max(gaps.values()) < 1.15 * min(gaps.values())
    places = Counter(first for (first, last), _ in draws if last - first == 5)
    assert set(places) == set(range(4))
    shares = Counter(frame - first for (first, last), target in draws if last - first == 5 for frame in target)
    assert set(shares) == set(range(6))  # both ends of the span, which are context frames, are in it
    assert max(shares.values()) < 1.2 * min(shares.values())
    assert any(len(set(target)) < 4 for _, target in draws)
    assert any(list(target) != sorted(target) for _, target in draws)


@QUICK
@given(st.integers(12, 200), st.integers(0, 30_000), st.integers(0, 5000))
def test_bounded_v2_draws_are_different_and_within_their_gap(frames, step, index):
    sampler = build_sampler("bounded-v2", gap=DL3DV_GAPS, views=(2, 6), targets=8)
    count = sampler.views_at(step)
    divisor = {2: 3, 3: 2}.get(count, 1)
    low, high = (bound // divisor for bound in DL3DV_GAPS.at(step))
    draw = lambda: sampler.sample(frames, draw_generator(0, 0, index), "s1", step=step, centers=walk(frames))  # noqa: E731
    if frames - 1 < low:
        with pytest.raises(DataError, match="too few"):
            draw()
        return
    context, target = draw()
    assert len(set(context)) == len(context) == count
    assert list(context) == sorted(context)
    assert list(target) == sorted(set(target))
    span = range(min(context), max(context) + 1)
    if count == 2:
        assert low <= context[1] - context[0] <= min(high, frames - 1)
        assert set(target) <= set(span)
        assert len(target) == min(8, len(span))
    assert len(span) <= min(high, frames - 1) + 1
    assert 0 <= min((*context, *target)) <= max((*context, *target)) < frames


def test_the_number_of_views_is_one_for_a_step_and_uniform_over_steps():
    sampler = build_sampler("bounded-v2", gap=DL3DV_GAPS, views=(2, 6))
    counts = Counter(sampler.views_at(step) for step in range(5000))
    assert set(counts) == {2, 3, 4, 5, 6}
    assert max(counts.values()) < 1.2 * min(counts.values())
    for index in range(10):
        assert len(sampler.sample(200, draw_generator(0, 0, index), step=7, centers=walk(200))[0]) == sampler.views_at(
            7
        )
    other = build_sampler("bounded-v2", gap=DL3DV_GAPS, views=(2, 6), seed=1)
    assert [other.views_at(step) for step in range(50)] != [sampler.views_at(step) for step in range(50)]


@pytest.mark.parametrize(("name", "views"), [("bounded", 2), ("bounded-v2", 4)])
def test_the_test_stage_starts_at_the_first_frame_with_the_whole_gap_and_all_targets(name, views):
    options = {"views": (2, views)} if name == "bounded-v2" else {}
    sampler = build_sampler(name, gap=GapRange.constant(5, 20), whole=True, **options)
    context, target = sampler.sample(50, draw_generator(0, 0, 1), centers=walk(50))
    assert target == tuple(range(21))
    assert len(context) == views
    assert max(context) <= 20
    with pytest.raises(DataError, match="20 frames are too few for a context gap of 20"):
        sampler.sample(20, draw_generator(0, 0, 1), centers=walk(20))


@pytest.mark.parametrize("centers", [None, walk(30) * torch.nan, walk(5)], ids=["none", "nan", "few"])
def test_many_views_without_sound_camera_centres_are_refused(centers):
    sampler = build_sampler("bounded-v2", gap=GapRange.constant(20, 20), views=(4, 4))
    with pytest.raises(DataError, match="s1: 4 context views are chosen by camera centres"):
        sampler.sample(30, draw_generator(0, 0, 0), "s1", centers=centers)


# --- the others ---


@QUICK
@given(st.integers(2, 40), st.integers(0, 2000))
def test_arbitrary_draws_are_different_unless_the_released_rule_is_asked_for(frames, index):
    context, target = build_sampler("arbitrary").sample(frames, draw_generator(0, 0, index))
    assert len(set(context)) == 2
    assert len(target) == 4
    assert len(set(target)) == 4 or frames < 4
    assert all(0 <= frame < frames for frame in (*context, *target))


def test_arbitrary_frames_may_repeat_and_may_be_fixed():
    released = build_sampler("arbitrary", distinct=False)
    assert any(len(set(released.sample(3, draw_generator(0, 0, i))[0])) == 1 for i in range(30))
    fixed = build_sampler("arbitrary", fixed_context=(4, 1))
    assert fixed.sample(9, draw_generator(0, 0, 0))[0] == (4, 1)
    assert (
        fixed.sample(9, draw_generator(0, 0, 0))[1] == build_sampler("arbitrary").sample(9, draw_generator(0, 0, 0))[1]
    )
    for sampler, frames in ((fixed, 4), (build_sampler("arbitrary"), 1)):
        with pytest.raises(DataError, match=f"scene: {frames} frames cannot give"):
            sampler.sample(frames, draw_generator(0, 0, 0))


def test_all_and_evaluation_draw_nothing():
    assert build_sampler("all").sample(3, draw_generator(0, 0, 0)) == ((0, 1, 2), (0, 1, 2))
    fixed = build_sampler("evaluation", views={"s1": ((0, 9), (4, 9))})
    assert fixed.sample(10, draw_generator(5, 5, 5), key="s1") == ((0, 9), (4, 9))
    with pytest.raises(DataError, match="has 9 frames, the protocol asks for frame 9"):
        fixed.sample(9, draw_generator(0, 0, 0), key="s1")
    with pytest.raises(DataError, match="gives no frames for key 's2'"):
        fixed.sample(10, draw_generator(0, 0, 0), key="s2")
    with pytest.raises(DataError, match="has no frames"):
        build_sampler("all").sample(0, draw_generator(0, 0, 0))


OPTIONS = {
    "spread": {"min_gap": 2, "max_gap": 6, "targets": 3},
    "bounded": {"gap": GapRange((2, 4), (4, 9), 50)},
    "bounded-v2": {"gap": GapRange((6, 9), (9, 12), 50), "views": (2, 4)},
    "arbitrary": {},
    "all": {},
    "evaluation": {"views": {"s1": ((0, 4), (2,))}},
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_draw_depends_on_its_numbers_and_not_on_what_was_drawn_before(name):
    sampler = build_sampler(name, **OPTIONS[name])
    centers = walk(20)

    def draw(seed, epoch, index, step):
        return sampler.sample(20, draw_generator(seed, epoch, index), step=step, centers=centers, key="s1")

    whole = [draw(1, 0, i, i // 2) for i in range(60)]
    assert [draw(1, 0, i, i // 2) for i in range(40, 60)] == whole[40:]
    assert [draw(1, 0, i, i // 2) for i in reversed(range(60))] == whole[::-1]
    if name not in ("all", "evaluation"):
        assert len(set(whole)) > 30
        assert [draw(2, 0, i, i // 2) for i in range(60)] != whole
        assert [draw(1, 1, i, i // 2) for i in range(60)] != whole


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("bounded", {"gap": GapRange((0, 4), (4, 9), 50)}),
        ("bounded", {"gap": RE10K_GAPS, "targets": 0}),
        ("bounded", {"gap": RE10K_GAPS, "beyond": -1}),
        ("bounded", {}),
        ("bounded-v2", {"gap": DL3DV_GAPS, "views": (1, 4)}),
        ("bounded-v2", {"gap": DL3DV_GAPS, "views": (5, 4)}),
        ("bounded-v2", {"gap": GapRange.constant(4, 9), "views": (6, 6)}),
        ("bounded-v2", {"gap": DL3DV_GAPS, "colour": "red"}),
        ("arbitrary", {"targets": 0}),
        ("boundedv3", {}),
    ],
)
def test_rules_that_cannot_be_kept_are_refused_when_they_are_made(name, options):
    with pytest.raises(ParameterError):
        build_sampler(name, **options)


def test_the_embedded_sampler_is_what_it_was():
    """Frozen: the embedded weights were trained on these draws."""
    sampler = BoundedSampler(3, 9, 4, beyond=2)
    assert sampler.sample(20, draw_generator(7, 1, 3)) == ((6, 13), (5, 6, 9, 15))
