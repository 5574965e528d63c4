"""Laws of evenly spread frames."""

import itertools

import pytest

from pmgs_lib.data.sampling import spread_frames
from pmgs_lib.errors import ParameterError


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
