"""Parameters are checked by name and kind before anything starts."""

import pytest

from pmgs_lib.errors import ParameterError
from pmgs_lib.suite.parameters import check_values, read_schema


def notebook(source, tag="parameters"):
    return {"cells": [{"cell_type": "code", "source": source, "metadata": {"tags": [tag]}}]}


SCHEMA = read_schema(
    notebook(
        "'''kept'''\nlr: float = 1e-3  # comment\nsteps: int = 20\nname: str = 'a'\nflag: bool = True\n"
        "frames: list[int] = [1, 2]\nlabels: dict[str, list[float]] = {}\nmode: Literal['fast', 'exact'] = 'fast'\n"
        "weights: str | None = None\nlimit: float | str = 'none'"
    ),
    "n.ipynb",
)


def test_schema_keeps_order_kinds_and_defaults():
    assert list(SCHEMA) == ["lr", "steps", "name", "flag", "frames", "labels", "mode", "weights", "limit"]
    assert (SCHEMA["frames"].kind, SCHEMA["frames"].default) == ("list[int]", [1, 2])


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("lr", "1e-4", 1e-4), ("lr", 2, 2.0), ("steps", 3, 3), ("frames", [], []),
        ("labels", {"a": ["1e-1", 2]}, {"a": [0.1, 2.0]}), ("mode", "exact", "exact"), ("weights", None, None),
        ("weights", "w", "w"), ("limit", "1e-2", 0.01), ("limit", "off", "off"),
    ],
)  # fmt: skip
def test_fitting_values_pass(name, value, expected):
    checked = check_values(SCHEMA, {name: value}, "run")[name]
    assert checked == expected
    assert type(checked) is type(expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", "20"), ("steps", 20.0), ("steps", True), ("lr", "fast"), ("lr", True), ("lr", "nan"),
        ("lr", float("inf")), ("lr", None), ("name", 1), ("flag", 1), ("flag", "true"), ("frames", [1, "2"]),
        ("frames", (1, 2)), ("frames", "12"),
        ("labels", {1: [2.0]}), ("mode", "slow"), ("mode", 1), ("weights", 1), ("name", None),
    ],
)  # fmt: skip
def test_other_kinds_are_refused(name, value):
    with pytest.raises(ParameterError, match=rf"^run: parameter `{name}` = .*, expected .*; correct its value$"):
        check_values(SCHEMA, {name: value}, "run")


def test_a_misspelt_name_gets_the_near_one():
    with pytest.raises(ParameterError, match=r"^run: no parameter `stpes` in the notebook; did you mean `steps`\?$"):
        check_values(SCHEMA, {"stpes": 1}, "run")
    with pytest.raises(ParameterError, match="parameters are: lr, steps"):
        check_values(SCHEMA, {"zzz": 1}, "run")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("steps = 20", "expected `name: kind = literal`"),
        ("steps: int", "expected `name: kind = literal`"),
        ("import os", "`import os` in the parameters cell"),
        ("half: int = 10 // 2", "expected a literal"),
        ("path: Path = 'x'", "has kind `Path`"),
        ("pair: tuple[int, int] = (1, 2)", "has kind"),
        ("steps: int = 'x'", "is no int"),
        ("steps: int = 1\nsteps: int = 2", "set twice"),
        ("steps: int = (", "line 1"),
    ],
)
def test_a_cell_that_is_no_schema_is_refused(source, message):
    with pytest.raises(ParameterError, match=r"^n.ipynb: ") as fault:
        read_schema(notebook(source), "n.ipynb")
    assert message in str(fault.value)


def test_exactly_one_parameters_cell():
    with pytest.raises(ParameterError, match="0 cells are tagged"):
        read_schema(notebook("a: int = 1", tag="other"), "n.ipynb")
    twice = {"cells": notebook("a: int = 1")["cells"] * 2}
    with pytest.raises(ParameterError, match="2 cells are tagged"):
        read_schema(twice, "n.ipynb")
