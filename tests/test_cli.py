"""`pmgs`: verbs from a table, arguments from signatures, errors in one line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from pmgs_lib import cli
from pmgs_lib._lazy import load_object
from pmgs_lib.data.config import Config
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


class Wish(Config):
    count: int = Field(description="how many")
    names: tuple[str, ...] = Field((), description="what they are called")
    kind: Literal["a", "b"] | None = Field("a", description="which kind")
    deep_copy: bool = False
    rate: float = Field(0.5, gt=0)


def wishing(source: str, /, *, wish: Wish) -> str:
    """What it wishes."""
    return f"{source}: {wish!r}"


@pytest.fixture
def wishes(monkeypatch, capsys):
    monkeypatch.setattr(cli, "load_object", lambda address: wishing)

    def call(*arguments):
        status = cli.main(["run", *arguments])
        return (status, *capsys.readouterr())

    return call


def test_a_configuration_is_an_option_for_each_field(wishes):
    status, said, _ = wishes("x", "--count", "3", "--names", "p,q", "--kind", "b", "--deep-copy", "--rate", "2")
    assert (status, said) == (0, f"x: {Wish(count=3, names=('p', 'q'), kind='b', deep_copy=True, rate=2.0)!r}\n")
    assert wishes("x", "--count", "3") == (0, f"x: {Wish(count=3)!r}\n", "")


def test_a_field_refuses_its_value_in_one_line(wishes):
    status, said, error = wishes("x", "--count", "3", "--rate", "-1")
    assert (status, said) == (2, "")
    assert error.startswith("pmgs run: options: rate: Input should be greater than 0")
    assert error.count("\n") == 1


def test_a_required_field_is_a_required_option_and_descriptions_are_shown(wishes, capsys):
    for arguments in (["x"], ["x", "--count", "1", "--kind", "c"], ["x", "--count", "1", "--names"]):
        with pytest.raises(SystemExit) as ended:
            wishes(*arguments)
        assert ended.value.code == 2
    capsys.readouterr()
    with pytest.raises(SystemExit):
        wishes("--help")
    said = " ".join(capsys.readouterr().out.split())
    assert "--count COUNT how many --names A,B,... what they are called --kind {a,b} which kind (default: a)" in said


def several(*names: str, rate: float = 0.5) -> str:
    """What it does to all of them."""
    return f"{names} {rate}"


def test_star_arguments_are_one_or_more(monkeypatch, capsys):
    monkeypatch.setattr(cli, "load_object", lambda address: several)
    assert cli.main(["run", "a", "b", "--rate", "2"]) == 0
    assert capsys.readouterr().out == "('a', 'b') 2.0\n"
    with pytest.raises(SystemExit) as ended:
        cli.main(["run"])
    assert ended.value.code == 2
