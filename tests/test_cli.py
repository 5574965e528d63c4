"""`pmgs`: verbs from a table, arguments from signatures, errors in one line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest

from pmgs_lib import cli
from pmgs_lib._lazy import load_object
from pmgs_lib.errors import DataError, RunError

CALLS = []


def example(
    source: Path,
    count: int,
    other: str | None = None,
    /,
    *,
    rate: float = 0.5,
    deep_copy: bool = False,
    kind: Literal["a", "b"] = "a",
    set_: Sequence[str] = (),
    limit: int | None = None,
) -> str:
    """What it does."""
    CALLS.append((source, count, other, rate, deep_copy, kind, list(set_), limit))
    if count == 1:
        raise RunError("it failed")
    if count == 2:
        raise DataError("it was refused")
    if count == 3:
        raise KeyboardInterrupt
    return "result"


@pytest.fixture
def pmgs(monkeypatch, capsys):
    monkeypatch.setattr(cli, "load_object", lambda address: example)
    CALLS.clear()

    def call(*arguments):
        status = cli.main(["run", *arguments])
        return (status, *capsys.readouterr())

    return call


def test_arguments_and_options_come_from_the_signature(pmgs):
    assert pmgs("x.txt", "7") == (0, "result\n", "")
    options = ["--rate", "2", "--deep-copy", "--kind", "b", "--set", "a=1", "--set", "b=2", "--limit", "3"]
    assert pmgs("x.txt", "7", "more", *options) == (0, "result\n", "")
    assert [
        (Path("x.txt"), 7, None, 0.5, False, "a", [], None),
        (Path("x.txt"), 7, "more", 2.0, True, "b", ["a=1", "b=2"], 3),
    ] == CALLS


def test_errors_are_one_line_and_an_exit_status(pmgs):
    assert pmgs("x", "1") == (1, "", "pmgs run: it failed\n")
    assert pmgs("x", "2") == (2, "", "pmgs run: it was refused\n")
    assert pmgs("x", "3") == (130, "", "pmgs run: interrupted\n")


def test_unknown_verbs_and_values_are_refused(pmgs, capsys):
    assert cli.main(["rnu"]) == 2
    assert "no verb 'rnu', expected one of run, " in capsys.readouterr().err
    for arguments in (["x"], ["x", "many"], ["x", "1", "--kind", "c"]):
        with pytest.raises(SystemExit) as ended:
            pmgs(*arguments)
        assert ended.value.code == 2


def test_the_overview_names_all_verbs(capsys):
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {verb}" in out for verb in cli.VERBS)


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_leads_to_a_documented_function(verb, capsys):
    assert load_object(cli.VERBS[verb][0]).__doc__
    with pytest.raises(SystemExit) as ended:
        cli.main([verb, "--help"])
    assert ended.value.code == 0
    assert "usage: pmgs " in capsys.readouterr().out
