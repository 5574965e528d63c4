"""The account adds up, or there is no account."""

import json

import pytest

from pmgs_lib.errors import RunError
from pmgs_lib.evaluation.ledger import Ledger


def test_scored_and_skipped_make_up_the_listed():
    ledger = Ledger.of(["a", "b", "c"])
    ledger.score("a")
    ledger.skip("c", "pose of frame 3 is NaN")
    ledger.score("b")
    assert json.loads(json.dumps(ledger.close().to_json())) == {
        "listed": 3,
        "scored": ["a", "b"],
        "skipped": [{"scene": "c", "reason": "pose of frame 3 is NaN"}],
    }


def test_a_forgotten_scene_is_named():
    ledger = Ledger.of(["a", "b", "c"])
    ledger.score("b")
    for act in (ledger.close, ledger.to_json):
        with pytest.raises(RunError, match="1 scored \\+ 0 skipped != 3 listed; without an entry: a, c"):
            act()


@pytest.mark.parametrize("first", ["score", "skip"])
@pytest.mark.parametrize("second", ["score", "skip"])
def test_no_scene_is_entered_twice(first, second):
    ledger = Ledger.of(["a"])
    enter = {"score": ledger.score, "skip": lambda key: ledger.skip(key, "no depth")}
    enter[first]("a")
    with pytest.raises(RunError, match="scene a is entered already"):
        enter[second]("a")


def test_an_unlisted_scene_is_refused():
    with pytest.raises(RunError, match="scene z is not among the 1 listed"):
        Ledger.of(["a"]).score("z")


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_a_skip_needs_a_reason(reason):
    with pytest.raises(RunError, match="without a reason"):
        Ledger.of(["a"]).skip("a", reason)


def test_a_scene_listed_twice_is_refused():
    with pytest.raises(RunError, match="listed twice: a"):
        Ledger.of(["a", "b", "a"])
